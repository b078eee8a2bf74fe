use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::protocol::Packet;
use crate::sync::{Signal, lock};
use crate::transport::TrySend;

/// A sender that follows a write this closely goes through the writer, which batches. Measured: it gives a
/// ping-pong the direct way and a stream of messages the batched one; 10 µs would batch a ping-pong as well.
const QUIET: Duration = Duration::from_micros(3);

/// What waits to be written, in order, bounded by bytes.
///
/// Whoever writes holds the turn (`writing`): the writer for a batch, or a sender for a packet on an idle
/// connection. The lock is never held while anything is written.
pub(super) struct Outbox {
    limit: usize,
    state: Mutex<State>,
    /// For the writer: there is work, or the end.
    work: Signal,
    /// For senders and `flush`: something was written, or the end.
    room: Signal,
}

struct State {
    queue: VecDeque<Packet>,
    /// What the queue and the batch in flight take in memory.
    bytes: usize,
    /// How much of `bytes` is in flight.
    in_flight: usize,
    /// Somebody has the turn.
    writing: bool,
    /// Since when the writer has it, if it does.
    batch_since: Option<Instant>,
    /// The transport accepted a packet that it has not written in full.
    unflushed: bool,
    last_write: Instant,
    phase: Phase,
    /// Messages that will never be written.
    unsent: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Open,
    /// `Packet::Close` is queued, nothing else follows.
    Closing,
    Closed,
}

/// Whether a sender waits for room.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum WhenFull {
    Wait,
    Fail,
}

/// What a sender has to do with its packet.
pub(super) enum Admission {
    /// Nothing: the writer will write it.
    Queued,
    /// Write it now; the turn is the sender's until [`Outbox::written_direct`].
    Direct(Packet),
    /// Wait: the outbox is full. Comes once, so that the caller can see to it that the wait ends.
    Full(Packet),
}

/// What the outbox takes for a packet in memory.
fn cost(packet: &Packet) -> usize {
    size_of::<Packet>() + packet.frame_len()
}

impl Outbox {
    pub(super) fn new(limit: usize) -> Self {
        Outbox {
            limit,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                bytes: 0,
                in_flight: 0,
                writing: false,
                batch_since: None,
                unflushed: false,
                last_write: Instant::now(),
                phase: Phase::Open,
                unsent: 0,
            }),
            work: Signal::default(),
            room: Signal::default(),
        }
    }

    /// Takes a message, or says why not.
    pub(super) fn admit(&self, packet: Packet) -> Result<Admission> {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return Err(Error::SocketIsClosed);
        }
        if !self.has_room(&state, &packet) {
            return Ok(Admission::Full(packet));
        }
        // Behind a packet that is written in part the writer comes next: nothing may pile up in the transport.
        let idle = state.queue.is_empty() && !state.writing && !state.unflushed;
        if idle && state.last_write.elapsed() > QUIET {
            state.writing = true;
            return Ok(Admission::Direct(packet));
        }
        self.push(state, packet);
        Ok(Admission::Queued)
    }

    /// Waits for room, and queues the message. The wait ends with the connection at the latest.
    pub(super) fn wait_for_room(&self, packet: Packet) -> Result<()> {
        let mut state = lock(&self.state);
        while state.phase == Phase::Open && !self.has_room(&state, &packet) {
            state = self.room.wait(state);
        }
        if state.phase != Phase::Open {
            return Err(Error::SocketIsClosed);
        }
        self.push(state, packet);
        Ok(())
    }

    /// A message above the limit has to itself.
    fn has_room(&self, state: &State, packet: &Packet) -> bool {
        state.bytes == 0 || state.bytes + cost(packet) <= self.limit
    }

    fn push(&self, mut state: MutexGuard<'_, State>, packet: Packet) {
        state.bytes += cost(&packet);
        state.queue.push_back(packet);
        self.wake_writer(state);
    }

    /// The writer looks for work by itself when its turn ends.
    fn wake_writer(&self, state: MutexGuard<'_, State>) {
        let idle = !state.writing;
        // Else the writer would wake only to wait for the lock.
        drop(state);
        if idle {
            self.work.notify_one();
        }
    }

    /// Gives back the turn of [`Admission::Direct`], with what became of the packet.
    pub(super) fn written_direct(&self, written: TrySend) {
        let mut state = lock(&self.state);
        state.writing = false;
        state.last_write = Instant::now();
        match written {
            TrySend::Sent => {}
            TrySend::Unflushed | TrySend::Refused(_) if state.phase == Phase::Closed => state.unsent += 1,
            TrySend::Unflushed => state.unflushed = true,
            TrySend::Refused(packet) => {
                state.bytes += cost(&packet);
                // Others may have queued theirs meanwhile.
                state.queue.push_front(packet);
            }
        }
        if state.unflushed || !state.queue.is_empty() {
            self.work.notify_one();
        }
        self.room.notify_all();
    }

    /// Puts a pong ahead of everything that waits: it must not come too late because of it. One that still waits
    /// there is replaced, as the last ping is the one to answer: a server that pings and does not read must not
    /// fill the memory.
    pub(super) fn push_pong(&self, pong: Packet) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Closed {
            return;
        }
        if let Some(Packet::Pong(_)) = state.queue.front() {
            state.bytes -= state.queue.pop_front().as_ref().map_or(0, cost);
        }
        state.bytes += cost(&pong);
        state.queue.push_front(pong);
        self.wake_writer(state);
    }

    /// Refuses messages from now on; `Packet::Close` follows those that wait.
    pub(super) fn finish(&self) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
            self.push(state, Packet::Close);
            self.room.notify_all();
        }
    }

    /// Ends it: what waits is not written any more.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.phase = Phase::Closed;
        let queued = state.queue.drain(..).filter(Packet::is_message).count();
        // Of a packet written directly nobody else keeps count.
        state.unsent += queued + usize::from(std::mem::take(&mut state.unflushed));
        drop(state);
        self.work.notify_all();
        self.room.notify_all();
    }

    /// How many messages were accepted and not written, once nobody writes any more.
    pub(super) fn unsent(&self) -> usize {
        lock(&self.state).unsent
    }

    /// For the writer: waits for work and moves as much into `batch` as `portion` says; false at the end. An empty
    /// batch is work too.
    ///
    /// No bound: an idle connection has nothing to write. `close` ends the wait.
    pub(super) fn take(
        &self,
        batch: &mut VecDeque<Packet>,
        portion: impl FnOnce(&VecDeque<Packet>) -> usize,
    ) -> bool {
        let mut state = lock(&self.state);
        while state.phase != Phase::Closed && (state.writing || (state.queue.is_empty() && !state.unflushed))
        {
            state = self.work.wait(state);
            drop(state);
            std::thread::yield_now();
            state = lock(&self.state);
        }
        if state.phase == Phase::Closed {
            return false;
        }
        state.writing = true;
        state.batch_since = Some(Instant::now());
        state.unflushed = false;
        let count = portion(&state.queue);
        if count == state.queue.len() {
            // The writer's buffer and the queue change places: neither allocates.
            std::mem::swap(&mut state.queue, batch);
        } else {
            batch.extend(state.queue.drain(..count));
        }
        state.in_flight = batch.iter().map(cost).sum();
        true
    }

    /// Ends the writer's turn, with how many messages of the batch are lost.
    pub(super) fn written(&self, lost: usize) {
        let mut state = lock(&self.state);
        state.writing = false;
        state.batch_since = None;
        state.last_write = Instant::now();
        state.unsent += lost;
        state.bytes -= state.in_flight;
        state.in_flight = 0;
        self.room.notify_all();
    }

    /// Since when the writer has been at its batch; `None` while it has none.
    pub(super) fn batch_since(&self) -> Option<Instant> {
        lock(&self.state).batch_since
    }

    /// What it holds, in bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.state).bytes
    }

    /// Waits until everything that was accepted is written.
    pub(super) fn flush(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = lock(&self.state);
        while state.phase != Phase::Closed && (state.writing || state.unflushed || !state.queue.is_empty()) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Error::Timeout { what: "writing what was sent" });
            }
            state = self.room.wait_until(state, deadline);
        }
        if state.phase == Phase::Closed && state.unsent > 0 { Err(Error::SocketIsClosed) } else { Ok(()) }
    }
}
