use std::collections::VecDeque;

use super::Session;

/// The writer thread: everything that waits becomes one batch.
pub(super) fn run(session: &Session) {
    let mut batch = VecDeque::new();
    while session.outbox.take(&mut batch) {
        for packet in &batch {
            session.log_packet("sending", packet);
        }
        let sent = session.transport.send(&mut batch);
        session.outbox.written(sent.as_ref().map_or_else(|e| e.lost, |()| 0));
        if let Err(e) = sent {
            session.fail(e.cause);
        }
    }
}
