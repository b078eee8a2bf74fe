//! The only callers of the transport's `send` and `try_send`: the writer thread, and threads that write
//! directly.

use std::cell::Cell;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::outbox::Admission;
use super::{Session, Thread, panicked, report};
use crate::error::{Error, Result};
use crate::guarded::{drop_guarded, guarded};
use crate::observation::Direction;
use crate::protocol::Packet;
use crate::sync::{Mutex, lock, thread_local};
use crate::transport::{Progress, TransportError, Written};

/// The writer thread. It starts when a packet has to wait for the first time.
#[derive(Default)]
pub(super) struct Writer(Mutex<WriterThread>);

#[derive(Default)]
enum WriterThread {
    #[default]
    NotStarted,
    Running(Thread),
    /// The thread has been joined, or never started, and no other one starts.
    Ended,
}

impl Writer {
    /// Starts the thread. If that fails, the session ends.
    fn start(&self, session: &Arc<Session>) {
        let mut thread = lock(&self.0);
        if !matches!(*thread, WriterThread::NotStarted) {
            return;
        }
        match session.spawn("eio-writer", |session| run(&session)) {
            Ok(started) => *thread = WriterThread::Running(started),
            Err(e) => {
                drop(thread);
                session.fail(TransportError::Failed(e));
            }
        }
    }

    /// Joins the writer thread, which ends when the outbox is closed.
    pub(super) fn join(&self) {
        let thread = mem::replace(&mut *lock(&self.0), WriterThread::Ended);
        if let WriterThread::Running(thread) = thread {
            let _ = thread.join();
        }
    }
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
        session.writer.start(session);
    }
    Ok(())
}

/// Writes a packet from the calling thread, which has the turn.
fn write_direct(session: &Session, mut packet: Packet) -> Result<Admission> {
    // A packet that is refused, because the reader is at work, is logged by the writer once more.
    report(session, Direction::Sent, [&packet]);
    let message = packet.is_message();
    let tried = guarded(|| session.transport.try_send(&mut packet, session));
    match tried.unwrap_or_else(|panic| Err(TransportError::Failed(panicked(panic)))) {
        Ok(done) => Ok(session.outbox.direct_done(done, packet)),
        Err(e) => refuse(session, message, e),
    }
}

/// Ends the session because the packet that has the turn cannot be written. The turn is kept, so that nothing
/// else is written.
pub(super) fn refuse(session: &Session, message: bool, error: TransportError) -> Result<Admission> {
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
        report(session, Direction::Sent, &batch);
        let sent = guarded(|| session.transport.send(&mut batch, &mut spent, &**session));
        if let Err(e) = sent.unwrap_or_else(|panic| Err(TransportError::Failed(panicked(panic)))) {
            session.fail(e);
        }
        session.outbox.batch_done();
        // Behind the turn and the end, as the messages are the user's: their destructors may do anything.
        batch.drain(..).chain(spent.drain(..)).for_each(drop_guarded);
    }
}
