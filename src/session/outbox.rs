use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ledger::{Ledger, Line, Ticket};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::guarded::drop_guarded;
use crate::protocol::Packet;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, Signal, has_passed, lock, now, thread};
use crate::transport::{TrySend, Written};

/// A sender that follows a write this closely goes through the writer, which batches, unless it may be answering what
/// has come since. Measured: it gives a ping-pong the direct way and a stream of messages the batched one; 10 µs would
/// batch a ping-pong as well.
const QUIET: Duration = Duration::from_micros(3);

/// The most packets that the writer takes at once.
const BATCH: usize = 4096;

/// What waits to be written, in order and bounded by bytes, and the ledger of what became of every message.
///
/// Whoever writes holds the turn (`writing`): on an idle connection the thread that has a packet, else the writer, for
/// a batch. The lock is never held while anything is written.
pub(super) struct Outbox {
    limit: usize,
    /// Messages have come since something was written directly.
    answering: AtomicBool,
    state: Mutex<OutboxState>,
    /// Notified when the writer has work, or the outbox closes.
    work: Signal,
    /// Notified when something was written, a waiting sender had its turn, or the outbox closes.
    room: Signal,
}

struct OutboxState {
    ledger: Ledger,
    queue: VecDeque<Packet>,
    /// Goes ahead of everything that is not written yet, what the writer has taken included.
    pong: Option<Packet>,
    /// The memory of all packets that were accepted and not written.
    bytes: usize,
    /// Somebody has the turn.
    writing: bool,
    /// When the writer took the batch that it is writing.
    batch_since: Option<Moment>,
    /// The transport accepted a packet and has not written it in full.
    unflushed: bool,
    last_write: Instant,
    phase: Phase,
    /// The writer thread was started, or is about to be.
    has_writer: bool,
    /// The number of threads that wait for room, or for something to be written.
    waiting: usize,
    line: Line,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Open,
    /// `Packet::Close` has its place behind all messages.
    Closing,
    /// The close is written, and nothing follows it.
    CloseWritten,
    Closed,
}

/// Whether a sender waits for room.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum WhenFull {
    Wait,
    Fail,
}

/// What the caller of the outbox does next.
pub(super) enum Admission {
    /// Nothing: the writer writes the packet.
    Queued,
    /// Start the writer: this packet is the first that has to wait.
    First,
    /// Write the packet now; the turn is the caller's until [`Outbox::direct_done`].
    Direct(Packet),
    /// Wait in line: the outbox is full.
    Full(Packet, Ticket),
}

impl OutboxState {
    /// True if nothing is being written, and nothing waits. A packet that is written in part is the writer's to finish,
    /// so that nothing piles up in the transport.
    fn idle(&self) -> bool {
        self.queue.is_empty() && self.pong.is_none() && !self.writing && !self.unflushed
    }

    /// Gives the message the next number.
    fn accept(&mut self, packet: &Packet) {
        self.ledger.accept(u64::from(packet.is_message()));
        self.bytes += packet.memory();
    }

    /// Ends a turn, which may have written the close.
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
    pub(super) fn new(limit: usize) -> Self {
        Outbox {
            limit,
            answering: AtomicBool::new(false),
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
        }
    }

    /// Takes a message, or tells why not.
    pub(super) fn admit(&self, packet: Packet, when_full: WhenFull) -> Result<Admission> {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return Err(Error::SocketIsClosed);
        }
        if !state.line.is_empty() || !self.has_room(&state, &packet) {
            if when_full == WhenFull::Fail {
                return Err(Error::QueueFull);
            }
            let ticket = state.line.join();
            state.waiting += 1;
            return Ok(Admission::Full(packet, ticket));
        }
        if state.idle() && (self.answering.load(Ordering::Relaxed) || has_passed(QUIET, state.last_write)) {
            self.answering.store(false, Ordering::Relaxed);
            state.accept(&packet);
            state.writing = true;
            return Ok(Admission::Direct(packet));
        }
        Ok(self.push(state, packet))
    }

    /// Records that messages have come: what is sent next may be an answer.
    pub(super) fn received(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }

    /// Waits in line for room, and queues the message. The wait ends with the connection at the latest.
    pub(super) fn wait_for_room(&self, packet: Packet, ticket: Ticket) -> Result<Admission> {
        let waits = |state: &OutboxState| {
            let first = state.line.is_turn_of(&ticket);
            state.phase == Phase::Open && !(first && self.has_room(state, &packet))
        };
        let mut state = self.room.wait_while(lock(&self.state), None, waits);
        state.waiting -= 1;
        if state.phase != Phase::Open {
            return Err(Error::SocketIsClosed);
        }
        state.line.advance();
        // The next one in line may have room as well.
        self.room.notify_all_held(&state);
        Ok(self.push(state, packet))
    }

    /// True if a thread waits until more is written.
    pub(super) fn is_waited_for(&self) -> bool {
        lock(&self.state).waiting > 0
    }

    /// A message above the limit waits for an empty outbox.
    fn has_room(&self, state: &OutboxState, packet: &Packet) -> bool {
        state.bytes == 0 || state.bytes + packet.memory() <= self.limit
    }

    fn push(&self, mut state: MutexGuard<'_, OutboxState>, packet: Packet) -> Admission {
        state.accept(&packet);
        state.queue.push_back(packet);
        self.wake_writer(state)
    }

    /// Wakes the writer if it sleeps; at the end of a turn it looks for work by itself.
    fn wake_writer(&self, mut state: MutexGuard<'_, OutboxState>) -> Admission {
        if !std::mem::replace(&mut state.has_writer, true) {
            return Admission::First;
        }
        if !state.writing {
            self.work.notify_one(state);
        }
        Admission::Queued
    }

    /// Records what the transport has written.
    pub(super) fn written(&self, written: Written) {
        let mut state = lock(&self.state);
        if state.ledger.write(written.traffic.messages) {
            state.bytes -= written.memory;
            self.room.notify_all(state);
        }
    }

    /// Takes a message back that a failed direct write has refused; false if it counts as unsent already.
    pub(super) fn withdraw(&self, message: bool) -> bool {
        lock(&self.state).ledger.withdraw(u64::from(message))
    }

    /// Gives back the turn of [`Admission::Direct`]. A packet that the transport refused waits in front of all others.
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
        self.room.notify_all_held(&state);
        let admission = if state.idle() || state.phase == Phase::Closed {
            drop(state);
            Admission::Queued
        } else {
            self.wake_writer(state)
        };
        // Behind the lock and the turn, as the message is the user's.
        drop_guarded(leftover);
        admission
    }

    /// Takes a pong, which goes ahead of everything that waits. A pong that still waits is replaced: the last ping is
    /// the one to answer, and a server that pings and does not read must not fill the memory.
    pub(super) fn admit_pong(&self, pong: Packet) -> Admission {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::CloseWritten | Phase::Closed) {
            return Admission::Queued;
        }
        if state.idle() {
            state.writing = true;
            return Admission::Direct(pong);
        }
        state.pong = Some(pong);
        self.wake_writer(state)
    }

    /// Gives a pong to the writer, in the midst of a batch.
    pub(super) fn take_pong(&self) -> Option<Packet> {
        lock(&self.state).pong.take()
    }

    /// Refuses messages from now on; `Packet::Close` follows those that wait. Unless it may be written `directly`, the
    /// close is left to the writer.
    pub(super) fn finish(&self, directly: bool) -> Admission {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return Admission::Queued;
        }
        state.phase = Phase::Closing;
        self.room.notify_all_held(&state);
        if directly && state.idle() {
            state.accept(&Packet::Close);
            state.writing = true;
            return Admission::Direct(Packet::Close);
        }
        self.push(state, Packet::Close)
    }

    /// Closes the outbox: nothing more is written. Returns what was queued, to be dropped without a lock.
    pub(super) fn close(&self) -> VecDeque<Packet> {
        let mut state = lock(&self.state);
        state.phase = Phase::Closed;
        state.pong = None;
        let unwritten = std::mem::take(&mut state.queue);
        self.room.notify_all_held(&state);
        self.work.notify_all(state);
        unwritten
    }

    /// Closes the ledger: what is not known to be written is unsent, whoever is still out in a system call.
    pub(super) fn freeze(&self) {
        let mut state = lock(&self.state);
        state.ledger.freeze();
        self.room.notify_all(state);
    }

    /// The number of messages that were accepted and not written.
    pub(super) fn unsent(&self) -> usize {
        // A count of messages that are in this process's memory fits.
        usize::try_from(lock(&self.state).ledger.unsent()).unwrap_or(usize::MAX)
    }

    /// Waits for work and moves it into the writer's `batch`, which is empty; false at the end. An empty batch is work
    /// as well.
    ///
    /// The wait has no bound, as an idle connection has nothing to write. `close` ends it.
    pub(super) fn take(&self, batch: &mut VecDeque<Packet>) -> bool {
        let mut state = lock(&self.state);
        while state.phase != Phase::Closed && (state.writing || state.idle()) {
            state = self.work.wait(state, None);
            drop(state);
            thread::yield_now();
            state = lock(&self.state);
        }
        if state.phase == Phase::Closed {
            return false;
        }
        state.writing = true;
        state.unflushed = false;
        state.batch_since = Some(Moment::now());
        if state.queue.len() <= BATCH {
            // The writer's buffer and the queue change places: neither allocates.
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
        self.room.notify_all(state);
    }

    /// When the writer took the batch that it is writing; `None` while it has none.
    pub(super) fn batch_since(&self) -> Option<Moment> {
        lock(&self.state).batch_since
    }

    /// The memory of everything that is not written, in bytes.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.state).bytes
    }

    /// Waits until the messages are written that were accepted before the call. `receive` runs before a wait: in a
    /// handler nobody receives, and the server may be waiting for that before it reads.
    pub(super) fn flush(&self, timeout: Duration, receive: impl FnOnce()) -> Result<()> {
        let mut state = lock(&self.state);
        let last = state.ledger.last();
        let waits = |state: &OutboxState| !state.ledger.is_written(last) && !state.ledger.is_frozen();
        if waits(&state) {
            state.waiting += 1;
            drop(state);
            receive();
            state = self.room.wait_while(lock(&self.state), now().checked_add(timeout), waits);
            state.waiting -= 1;
        }
        if state.ledger.is_written(last) {
            Ok(())
        } else if state.ledger.is_frozen() {
            Err(Error::SocketIsClosed)
        } else {
            Err(Error::Timeout { what: "writing what was sent" })
        }
    }
}
