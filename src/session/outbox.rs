//! The outbox: packets that wait to be written, and the turn of the thread that writes them.

mod admission;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::line::Line;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::guarded::drop_guarded;
use crate::protocol::Packet;
use crate::sync::{AtomicBool, Mutex, Ordering, Signal, lock, now, thread};
use crate::transport::{TrySend, Written};

pub(crate) use admission::WhenFull;
pub(super) use admission::{Admission, Parcel};

/// The most packets that the writer takes at once.
const BATCH: usize = 4096;

/// The number of packets below which a woken writer first yields, because the sender may be about to queue
/// more. A write costs as much as queuing many small packets.
const FEW: usize = 16;

/// The packets that wait to be written, in order and limited by their memory, and the count of accepted and
/// written messages.
///
/// Only the thread that holds the turn (`writing`) may write: on an idle connection it is the thread that has
/// a packet, otherwise the writer thread, for one batch. The lock is never held while anything is written.
pub(super) struct Outbox {
    limit: usize,
    /// The transport can write without waiting.
    direct: bool,
    /// Set when packets have arrived since the last direct write, so that the next message may be an answer.
    expects_answer: AtomicBool,
    /// Set while the reader delivers several messages, whose answers the writer writes together.
    batching: AtomicBool,
    state: Mutex<OutboxState>,
    /// Notified when the writer has work, or the outbox closes.
    work: Signal,
    /// Notified when the outbox is at most half full, a waiting sender has got its room, or the outbox
    /// closes.
    room: Signal,
    /// Notified when something was written, or the session is over.
    progress: Signal,
}

struct OutboxState {
    ledger: Ledger,
    queue: VecDeque<Packet>,
    /// The pong that is still to be written. It goes ahead of every other packet that is not written yet,
    /// including those in the writer's batch.
    pong: Option<Packet>,
    /// The memory of all packets that were accepted but not written.
    bytes: usize,
    /// Set while a thread has the turn.
    writing: bool,
    /// The time at which the writer took the batch that it is writing.
    batch_since: Option<Moment>,
    /// Set when the transport has accepted a packet without writing all of it.
    unflushed: bool,
    last_write: Instant,
    phase: Phase,
    /// Set when the writer thread was started, or is about to be.
    has_writer: bool,
    /// The number of threads that wait for room, or for something to be written.
    waiting: usize,
    /// The senders that wait for room.
    line: Line,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Open,
    /// `Packet::Close` is queued behind all messages, or is being written.
    Closing,
    /// The close is written, and nothing follows it.
    CloseWritten,
    Closed,
}

impl OutboxState {
    /// True if nothing is being written and nothing waits. A packet that is written in part counts as
    /// waiting: the writer finishes it, so that nothing piles up in the transport.
    fn idle(&self) -> bool {
        self.queue.is_empty() && self.pong.is_none() && !self.writing && !self.unflushed
    }

    /// Counts a packet and its memory as accepted.
    #[inline]
    fn accept(&mut self, packet: &Packet) {
        self.ledger.accept(u64::from(packet.is_message()));
        self.bytes += packet.memory();
    }

    /// Accepts a packet and queues it.
    #[inline]
    fn push(&mut self, packet: Packet) {
        self.accept(&packet);
        self.queue.push_back(packet);
    }

    /// Ends a turn, in which the close may have been written.
    fn end_turn(&mut self) {
        self.writing = false;
        self.last_write = now();
        if self.phase == Phase::Closing && self.queue.back() != Some(&Packet::Close) {
            self.phase = Phase::CloseWritten;
            self.pong = None;
        }
    }
}

impl Outbox {
    pub(super) fn new(limit: usize, direct: bool) -> Self {
        Outbox {
            limit,
            direct,
            expects_answer: AtomicBool::new(false),
            batching: AtomicBool::new(false),
            state: Mutex::new(OutboxState {
                ledger: Ledger::default(),
                queue: VecDeque::new(),
                pong: None,
                bytes: 0,
                writing: false,
                batch_since: None,
                unflushed: false,
                last_write: now(),
                phase: Phase::Open,
                has_writer: false,
                waiting: 0,
                line: Line::default(),
            }),
            work: Signal::default(),
            room: Signal::default(),
            progress: Signal::default(),
        }
    }

    /// Records that packets have arrived, so that the next message may be an answer.
    pub(super) fn expect_answer(&self) {
        self.expects_answer.store(true, Ordering::Relaxed);
    }

    /// Records whether the reader delivers several messages, whose answers are to be written together.
    pub(super) fn batch_answers(&self, batching: bool) {
        self.batching.store(batching, Ordering::Relaxed);
    }

    /// True if a thread waits for room or for a flush.
    pub(super) fn is_waited_for(&self) -> bool {
        lock(&self.state).waiting > 0
    }

    /// Records packets that the transport has written, and calls `count` unless the session is over.
    pub(super) fn written(&self, written: Written, count: impl FnOnce()) {
        let mut state = lock(&self.state);
        if state.ledger.write(written.traffic.messages) {
            // Before a `flush` can return.
            count();
            state.bytes -= written.memory;
            self.progress.notify_all_held(&state);
            // Waiting senders are woken when the outbox is half empty, and not after every POST.
            if state.bytes <= self.limit / 2 {
                self.room.notify_all(state);
            }
        }
    }

    /// Takes back a message that a failed direct write has refused. Returns false if the message counts as
    /// unsent already.
    pub(super) fn withdraw(&self, message: bool) -> bool {
        lock(&self.state).ledger.withdraw(u64::from(message))
    }

    /// Gives back the turn of [`Admission::Direct`]. A packet that the transport has refused waits in front
    /// of all others.
    pub(super) fn direct_done(&self, done: TrySend, packet: Packet) -> Admission {
        let mut state = lock(&self.state);
        let mut leftover = None;
        match (done, packet) {
            (TrySend::Refused, pong @ Packet::Pong(_)) if state.phase != Phase::Closed => {
                state.pong = Some(pong);
            }
            (TrySend::Refused, packet) if state.phase != Phase::Closed => state.queue.push_front(packet),
            (_, packet) => leftover = Some(packet),
        }
        state.unflushed = done == TrySend::Unflushed;
        state.end_turn();
        let admission = if state.idle() || state.phase == Phase::Closed {
            drop(state);
            Admission::Queued
        } else {
            self.wake_writer(state)
        };
        // The message belongs to the user, so it is dropped without the lock and the turn.
        drop_guarded(leftover);
        admission
    }

    /// Takes out the pong that waits, for a writer in the middle of a batch.
    pub(super) fn take_pong(&self) -> Option<Packet> {
        lock(&self.state).pong.take()
    }

    /// Closes the outbox: nothing more is written. Returns the queued packets, which the caller drops without
    /// a lock.
    pub(super) fn close(&self) -> VecDeque<Packet> {
        let mut state = lock(&self.state);
        state.phase = Phase::Closed;
        state.pong = None;
        let unwritten = std::mem::take(&mut state.queue);
        self.room.notify_all_held(&state);
        self.work.notify_all(state);
        unwritten
    }

    /// Freezes the count: a message that is not known to be written is unsent from now on, even if a thread
    /// is still writing it.
    pub(super) fn freeze(&self) {
        let mut state = lock(&self.state);
        state.ledger.freeze();
        state.bytes = 0;
        self.progress.notify_all_held(&state);
        self.room.notify_all(state);
    }

    /// Sets the number of written messages that the end of the connection may destroy.
    pub(super) fn set_unconfirmed(&self, messages: u64) {
        lock(&self.state).ledger.set_unconfirmed(messages);
    }

    /// The number of messages that were accepted but not written.
    pub(super) fn unsent(&self) -> usize {
        // The messages are in this process's memory, so their number fits.
        usize::try_from(lock(&self.state).ledger.unsent()).unwrap_or(usize::MAX)
    }

    /// Waits for work and moves it into the writer's `batch`, which is empty. The batch stays empty if there
    /// is only an unfinished packet in the transport. Returns false when the outbox is closed.
    ///
    /// The wait has no bound, because an idle connection has nothing to write. `close` ends it.
    pub(super) fn take(&self, batch: &mut VecDeque<Packet>) -> bool {
        let mut state = lock(&self.state);
        while state.phase != Phase::Closed && (state.writing || state.idle()) {
            state = self.work.wait(state, None);
            if state.queue.len() < FEW {
                drop(state);
                thread::yield_now();
                state = lock(&self.state);
            }
        }
        if state.phase == Phase::Closed {
            return false;
        }
        state.writing = true;
        state.unflushed = false;
        state.batch_since = Some(Moment::now());
        if state.queue.len() <= BATCH {
            // The writer's buffer and the queue are swapped, so that neither allocates.
            std::mem::swap(&mut state.queue, batch);
        } else {
            batch.extend(state.queue.drain(..BATCH));
        }
        if let Some(pong) = state.pong.take() {
            batch.push_front(pong);
        }
        true
    }

    /// Ends the writer's turn.
    pub(super) fn batch_done(&self) {
        let mut state = lock(&self.state);
        state.batch_since = None;
        state.end_turn();
    }

    /// The time at which the writer took the batch that it is writing; `None` while it has none.
    pub(super) fn batch_since(&self) -> Option<Moment> {
        lock(&self.state).batch_since
    }

    /// The memory of all packets that are not written, in bytes.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.state).bytes
    }

    /// Waits until all messages that were accepted before the call are written. Runs `receive` before it
    /// waits: if the caller is a handler, the reader receives nothing, and the server may not read before its
    /// own messages are received.
    pub(super) fn flush(&self, timeout: Duration, receive: impl FnOnce()) -> Result<()> {
        let mut state = lock(&self.state);
        let last = state.ledger.last();
        let waits = |state: &OutboxState| !state.ledger.is_written(last) && !state.ledger.is_frozen();
        if waits(&state) {
            state.waiting += 1;
            drop(state);
            receive();
            state = self.progress.wait_while(lock(&self.state), now().checked_add(timeout), waits);
            state.waiting -= 1;
        }
        if state.ledger.is_written(last) {
            Ok(())
        } else if state.ledger.is_frozen() {
            Err(Error::SocketIsClosed)
        } else {
            Err(Error::Timeout { what: "writing the queued messages" })
        }
    }
}
