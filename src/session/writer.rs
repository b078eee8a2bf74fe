//! The only callers of the transport's `send` and `try_send`: the writer thread, and threads that write
//! directly.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::outbox::Admission;
use super::{Session, panicked, report};
use crate::error::{Error, Result};
use crate::guarded::{drop_guarded, guarded};
use crate::observation::Direction;
use crate::protocol::Packet;
use crate::sync::thread_local;
use crate::transport::{Progress, TransportError, Written};

/// The kind of thread that closes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closer {
    /// The thread then waits for the end of the session, so it may block while it writes the close.
    Waiting,
    /// The thread has other work, so it writes the close only if it need not wait.
    Leaving,
    /// The thread may be ending, so it writes nothing.
    Ending,
}

/// The transport's calls back while it writes.
impl Progress for Session {
    fn written(&self, written: Written) {
        self.outbox.written(written, || self.options.counters.sent.add(written.traffic));
    }

    fn urgent(&self) -> Option<Packet> {
        let pong = self.outbox.take_pong()?;
        report(self, Direction::Sent, [&pong]);
        Some(pong)
    }

    fn deadline(&self) -> Option<Instant> {
        self.close_deadline()
    }
}

/// Carries out the outbox's decision about packets.
pub(super) fn write(session: &Arc<Session>, mut admission: Admission) -> Result<()> {
    if let Admission::Full(parcel, ticket) = admission {
        // If this thread runs a handler, the reader receives nothing, and the server may not read before its
        // own messages are received.
        session.watchdog.stand_in();
        admission = session.outbox.wait_for_room(parcel, ticket)?;
    }
    if let Admission::Direct(packet) = admission {
        admission = write_direct(session, packet)?;
    }
    if matches!(admission, Admission::First) {
        session.writer.start(session, "eio-writer", run);
    }
    Ok(())
}

/// Closes the outbox for messages, and writes the close or leaves that to the writer thread.
pub(super) fn write_close(session: &Arc<Session>, closer: Closer) -> Result<()> {
    // The calling thread must not block without a time limit. A write to a websocket has no limit if the
    // socket is not ready, and neither has the user's code.
    let is_bounded = session.transport.send_is_bounded() && !session.transport.send_runs_user_code();
    let patient = closer == Closer::Waiting && is_bounded && session.options.observer.is_none();
    match session.outbox.queue_close(closer != Closer::Ending, patient) {
        Admission::Direct(close) if patient => {
            write_batch(session, &mut VecDeque::from([close]), &mut Vec::new());
            Ok(())
        }
        admission => write(session, admission),
    }
}

/// Writes a packet from the calling thread, which has the turn.
fn write_direct(session: &Arc<Session>, mut packet: Packet) -> Result<Admission> {
    // A packet that is refused, because the reader is at work, is logged by the writer once more.
    report(session, Direction::Sent, [&packet]);
    let message = packet.is_message();
    let tried = guarded(|| session.transport.try_send(&mut packet, &**session));
    match tried.unwrap_or_else(|panic| Err(TransportError::Failed(panicked(panic)))) {
        Ok(done) => Ok(session.outbox.direct_done(done, packet)),
        Err(e) => refuse(session, message, e),
    }
}

/// Ends the session because the packet that has the turn cannot be written. The turn is kept, so that nothing
/// else is written.
pub(super) fn refuse(session: &Arc<Session>, message: bool, error: TransportError) -> Result<Admission> {
    let refused = session.outbox.withdraw(message);
    session.fail(error);
    // A message that counts as unsent was accepted, so its sender gets `Ok`.
    if refused { Err(Error::SocketIsClosed) } else { Ok(Admission::Queued) }
}

thread_local! {
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

/// True on the writer thread of a session.
pub(super) fn is_writer() -> bool {
    IS_WRITER.with(Cell::get)
}

/// Runs the writer thread: it takes everything that waits as one batch, and writes it.
fn run(session: &Arc<Session>) {
    IS_WRITER.with(|is_writer| is_writer.set(true));
    let (mut batch, mut spent) = (VecDeque::new(), Vec::new());
    while session.outbox.take(&mut batch) {
        write_batch(session, &mut batch, &mut spent);
    }
}

/// Writes a batch from the calling thread, which has the turn. `spent` is empty before and after the call; it
/// is passed in to spare an allocation.
fn write_batch(session: &Arc<Session>, batch: &mut VecDeque<Packet>, spent: &mut Vec<Bytes>) {
    report(session, Direction::Sent, &*batch);
    let sent = guarded(|| session.transport.send(batch, spent, &**session));
    if let Err(e) = sent.unwrap_or_else(|panic| Err(TransportError::Failed(panicked(panic)))) {
        session.fail(e);
    }
    session.outbox.batch_done();
    // The messages are dropped last, when the turn is over and a failure is recorded: they are the user's,
    // and their destructors may do anything.
    batch.drain(..).filter_map(Packet::into_binary).chain(spent.drain(..)).for_each(drop_guarded);
}
