use std::collections::VecDeque;

use super::Session;
use crate::stats::Traffic;

/// The writer thread: what waits becomes one batch, as far as the transport takes it at once.
pub(super) fn run(session: &Session) {
    let mut batch = VecDeque::new();
    while session.outbox.take(&mut batch, |queue| session.transport.portion(queue)) {
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
