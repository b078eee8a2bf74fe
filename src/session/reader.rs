use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use super::inbox::Next;
use super::{Ending, Session, Thread, World, panicked};
use crate::event::Reason;
use crate::guarded::guarded;
use crate::logger::log;

thread_local! {
    /// The client whose reader this thread is.
    static OWNER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// True on the reader threads of that client, which is where its handlers run.
pub(crate) fn is_reader_of(owner: usize) -> bool {
    OWNER.get() == Some(owner)
}

/// The reader thread: connect, every message in order, disconnect.
pub(super) fn run(session: Arc<Session>, mut world: Box<dyn World>, watchdog: Thread, owner: usize) {
    OWNER.set(Some(owner));
    // The world is told the end whatever happens here.
    if let Err(panic) = guarded(|| deliver(&session, world.as_mut())) {
        session.end(Reason::TransportError, Some(panicked(panic)));
    }
    let ending = session.ending();
    log_end(&session, &ending);
    world.ended(ending);
    // Both have been told to end.
    session.writer.join();
    let _ = watchdog.join();
    let unsent = session.unsent();
    if unsent > 0 {
        log!(session.options.logger, Warn, "{unsent} message(s) were not sent before the connection ended");
    }
    world.left(unsent);
    session.finish();
    // The world may go on for long, with other connections.
    drop(session);
    world.finished();
}

fn log_end(session: &Session, ending: &Ending) {
    let reason = &ending.reason;
    match &ending.error {
        Some(error) if matches!(reason, Reason::TransportError | Reason::PingTimeout) => {
            log!(session.options.logger, Warn, "disconnected: {reason}: {error:?}");
        }
        _ => log!(session.options.logger, Info, "disconnected: {reason}"),
    }
}

/// Connect, and messages until there will be no more.
fn deliver(session: &Arc<Session>, world: &mut dyn World) {
    if !world.connected() {
        // The user's own code refuses the connection.
        session.close(Reason::ClientDisconnect);
    }
    let (mut batch, mut received) = (VecDeque::new(), VecDeque::new());
    loop {
        match session.inbox.next(&mut batch) {
            // If a handler waits for the thread that waits for room, nobody receives.
            Next::Deliver if session.outbox.is_waited_for() => session.watchdog.stand_in(),
            Next::Deliver => {}
            Next::Receive => {
                session.receive(&mut received);
                session.inbox.release();
            }
            Next::Overdue => session.tear_down(),
            Next::End => return,
        }
        while let Some(packet) = batch.pop_front() {
            if session.inbox.muted() {
                batch.clear();
                break;
            }
            world.message(packet);
        }
        if session.outbox.bytes() > 0 {
            // The handlers' answers go out while the next messages come: without it, on a busy CPU, both sides wait
            // for each other by turns.
            std::thread::yield_now();
        }
    }
}
