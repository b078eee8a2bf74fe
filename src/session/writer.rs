use std::collections::VecDeque;

use super::Session;
use crate::stats::Traffic;

/// The writer thread: everything that waits becomes one batch.
pub(super) fn run(session: &Session) {
    let mut batch = VecDeque::new();
    while session.outbox.take(&mut batch) {
        session.log_packets("sending", &batch);
        let traffic = Traffic::of(&batch);
        match session.transport.send(&mut batch) {
            Ok(()) => {
                // Before `flush` can return.
                session.options.counters.sent.add(traffic);
                session.outbox.written(0);
            }
            Err(e) => {
                session.outbox.written(e.lost);
                session.fail(e.cause);
            }
        }
    }
}
