use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::protocol::Packet;
use crate::sync::{Signal, lock};
use crate::transport::TrySend;

/// A sender that follows a write this closely goes through the writer, which batches, unless it may be answering what
/// has come since. Measured: it gives a ping-pong the direct way and a stream of messages the batched one; 10 µs would
/// batch a ping-pong as well.
const QUIET: Duration = Duration::from_micros(3);

/// How long the writer may take to come back from a transport that is closed. Only user code in an HTTP agent takes time.
const RETURN: Duration = Duration::from_secs(1);

/// How many packets the writer takes at most at once, so that senders are let in again meanwhile.
const BATCH: usize = 4096;

/// What waits to be written, in order, bounded by bytes.
///
/// Whoever writes holds the turn (`writing`): on an idle connection the thread that has a packet, else the writer, for
/// a batch. The lock is never held while anything is written.
pub(super) struct Outbox {
    limit: usize,
    /// Messages have come since something was written directly.
    answering: AtomicBool,
    state: Mutex<State>,
    /// For the writer: there is work, or the end.
    work: Signal,
    /// For senders and `flush`: something was written, or the end.
    room: Signal,
}

struct State {
    queue: VecDeque<Packet>,
    /// Goes ahead of all that is not written yet, what the writer has taken included.
    pong: Option<Packet>,
    /// What the queue, the batch and `unflushed` take in memory.
    bytes: usize,
    /// Somebody has the turn.
    writing: bool,
    /// What the writer has taken, while it has the turn.
    batch: Option<Batch>,
    /// The transport accepted it and has not written it in full.
    unflushed: Option<Given>,
    /// How many packets were written, or are lost. Not pongs, which overtake others.
    done: u64,
    last_write: Instant,
    phase: Phase,
    /// The writer thread was started, or is about to be.
    has_writer: bool,
    /// Threads that wait for room, or for everything to be written.
    waiting: usize,
    /// Messages that will never be written.
    unsent: usize,
}

impl State {
    /// Nothing is being written, and nothing waits: behind a packet that is written in part the writer comes next, so
    /// that nothing piles up in the transport.
    fn idle(&self) -> bool {
        self.queue.is_empty() && self.pong.is_none() && !self.writing && self.unflushed.is_none()
    }

    /// What `done` will be when everything that was accepted so far is written.
    fn accepted(&self) -> u64 {
        let turn = match &self.batch {
            Some(batch) => batch.packets,
            None => usize::from(self.writing),
        };
        self.done + (turn + usize::from(self.unflushed.is_some()) + self.queue.len()) as u64
    }

    /// What was written so far is all that will be.
    fn is_over(&self) -> bool {
        self.phase == Phase::Closed && self.batch.is_none()
    }

    /// At the end of a turn: whether that wrote the close.
    fn said(&mut self) {
        if self.phase == Phase::Closing && self.queue.back() != Some(&Packet::Close) {
            self.phase = Phase::Said;
            self.pong = None;
        }
    }
}

struct Batch {
    since: Instant,
    packets: usize,
    bytes: usize,
}

/// A packet that is the transport's now.
#[derive(Clone, Copy)]
pub(super) struct Given {
    message: bool,
    bytes: usize,
}

impl Given {
    pub(super) fn of(packet: &Packet) -> Self {
        Given { message: packet.is_message(), bytes: packet.memory() }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Open,
    /// `Packet::Close` has its place behind all messages.
    Closing,
    /// It is written, and nothing follows.
    Said,
    Closed,
}

/// Whether a sender waits for room.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum WhenFull {
    Wait,
    Fail,
}

/// What is to be done with a packet.
pub(super) enum Admission {
    /// Nothing: the writer will write it.
    Queued,
    /// It is the first that has to wait: start the writer.
    First,
    /// Write it now; the turn is the caller's until [`Outbox::written_direct`].
    Direct(Packet),
    /// Wait: the outbox is full. Comes once, so that the caller can see to it that the wait ends.
    Full(Packet),
}

impl Outbox {
    pub(super) fn new(limit: usize) -> Self {
        Outbox {
            limit,
            answering: AtomicBool::new(false),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                pong: None,
                bytes: 0,
                writing: false,
                batch: None,
                unflushed: None,
                done: 0,
                last_write: Instant::now(),
                phase: Phase::Open,
                has_writer: false,
                waiting: 0,
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
        if state.idle() && (self.answering.load(Ordering::Relaxed) || state.last_write.elapsed() > QUIET) {
            self.answering.store(false, Ordering::Relaxed);
            state.writing = true;
            return Ok(Admission::Direct(packet));
        }
        Ok(self.push(state, packet))
    }

    /// What is sent next may be an answer.
    pub(super) fn received(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }

    /// Waits for room, and queues the message. The wait ends with the connection at the latest.
    pub(super) fn wait_for_room(&self, packet: Packet, receive: impl FnOnce()) -> Result<()> {
        let full = |state: &State| state.phase == Phase::Open && !self.has_room(state, &packet);
        let state = self.wait_while(full, None, receive);
        if state.phase != Phase::Open {
            return Err(Error::SocketIsClosed);
        }
        // Something waited already, so that there is a writer.
        self.push(state, packet);
        Ok(())
    }

    /// Waits while that holds, until the deadline.
    ///
    /// If this is a handler, nobody receives, and the server may be waiting for that before it reads. `receive` sees to
    /// it, and the reader does when it goes to a handler later on.
    fn wait_while(
        &self,
        holds: impl Fn(&State) -> bool,
        deadline: Option<Instant>,
        receive: impl FnOnce(),
    ) -> MutexGuard<'_, State> {
        lock(&self.state).waiting += 1;
        receive();
        let mut state = lock(&self.state);
        while holds(&state) && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            state = self.room.wait_until(state, deadline);
        }
        state.waiting -= 1;
        state
    }

    /// Somebody waits until more is written.
    pub(super) fn is_waited_for(&self) -> bool {
        lock(&self.state).waiting > 0
    }

    /// A message above the limit has to itself.
    fn has_room(&self, state: &State, packet: &Packet) -> bool {
        state.bytes == 0 || state.bytes + packet.memory() <= self.limit
    }

    fn push(&self, mut state: MutexGuard<'_, State>, packet: Packet) -> Admission {
        state.bytes += packet.memory();
        state.queue.push_back(packet);
        self.wake_writer(state)
    }

    /// The writer looks for work by itself when its turn ends.
    fn wake_writer(&self, mut state: MutexGuard<'_, State>) -> Admission {
        let idle = !state.writing;
        let first = !std::mem::replace(&mut state.has_writer, true);
        if first {
            return Admission::First;
        }
        if idle {
            self.work.notify_one(state);
        }
        Admission::Queued
    }

    /// Gives back the turn of [`Admission::Direct`], with what became of the packet.
    pub(super) fn written_direct(&self, written: TrySend, given: Given) -> Admission {
        let mut state = lock(&self.state);
        state.writing = false;
        state.last_write = Instant::now();
        match written {
            TrySend::Sent => state.done += 1,
            TrySend::Unflushed | TrySend::Refused(_) if state.phase == Phase::Closed => {
                state.unsent += usize::from(given.message);
            }
            TrySend::Unflushed => {
                state.bytes += given.bytes;
                state.unflushed = Some(given);
            }
            TrySend::Refused(pong @ Packet::Pong(_)) => {
                state.done += 1;
                state.pong = Some(pong);
            }
            TrySend::Refused(packet) => {
                state.bytes += packet.memory();
                // Others may have queued theirs meanwhile.
                state.queue.push_front(packet);
            }
        }
        state.said();
        self.room.notify_all_held(&state);
        if state.idle() || state.phase == Phase::Closed { Admission::Queued } else { self.wake_writer(state) }
    }

    /// A pong goes ahead of everything that waits: it must not come too late because of it. One that still waits
    /// is replaced, as the last ping is the one to answer: a server that pings and does not read must not fill the
    /// memory.
    pub(super) fn admit_pong(&self, pong: Packet) -> Admission {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::Said | Phase::Closed) {
            return Admission::Queued;
        }
        if state.idle() {
            state.writing = true;
            return Admission::Direct(pong);
        }
        state.pong = Some(pong);
        self.wake_writer(state)
    }

    /// For the writer, in the midst of a batch.
    pub(super) fn take_pong(&self) -> Option<Packet> {
        lock(&self.state).pong.take()
    }

    /// Refuses messages from now on; `Packet::Close` follows those that wait.
    pub(super) fn finish(&self) -> Admission {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return Admission::Queued;
        }
        state.phase = Phase::Closing;
        self.room.notify_all_held(&state);
        if state.idle() {
            state.writing = true;
            return Admission::Direct(Packet::Close);
        }
        self.push(state, Packet::Close)
    }

    /// Ends it: what waits is not written any more.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.phase = Phase::Closed;
        state.pong = None;
        let queued = state.queue.drain(..).filter(Packet::is_message).count();
        // Of a packet written directly nobody else keeps count.
        let unflushed = state.unflushed.take().is_some_and(|given| given.message);
        state.unsent += queued + usize::from(unflushed);
        self.room.notify_all_held(&state);
        self.work.notify_all(state);
    }

    /// How many messages were accepted and not written, once the connection is over or is being torn down: waits for the
    /// writer's count.
    pub(super) fn unsent(&self) -> usize {
        self.wait_while(|state| !state.is_over(), Some(Instant::now() + RETURN), || {}).unsent
    }

    /// For the writer: waits for work and moves it into `batch`; false at the end. An empty batch is work too.
    ///
    /// No bound: an idle connection has nothing to write. `close` ends the wait.
    pub(super) fn take(&self, batch: &mut VecDeque<Packet>) -> bool {
        let mut state = lock(&self.state);
        while state.phase != Phase::Closed && (state.writing || state.idle()) {
            state = self.work.wait(state);
            drop(state);
            std::thread::yield_now();
            state = lock(&self.state);
        }
        if state.phase == Phase::Closed {
            return false;
        }
        state.writing = true;
        let unflushed = state.unflushed.take();
        if state.queue.len() <= BATCH {
            // The writer's buffer and the queue change places: neither allocates.
            std::mem::swap(&mut state.queue, batch);
        } else {
            batch.extend(state.queue.drain(..BATCH));
        }
        state.batch = Some(Batch {
            since: Instant::now(),
            packets: batch.len() + usize::from(unflushed.is_some()),
            bytes: batch.iter().map(Packet::memory).sum::<usize>() + unflushed.map_or(0, |given| given.bytes),
        });
        if let Some(pong) = state.pong.take() {
            batch.push_front(pong);
        }
        true
    }

    /// Ends the writer's turn, with how many messages of the batch are lost.
    pub(super) fn written(&self, lost: usize) {
        let mut state = lock(&self.state);
        state.writing = false;
        state.last_write = Instant::now();
        state.unsent += lost;
        if let Some(batch) = state.batch.take() {
            state.bytes -= batch.bytes;
            state.done += batch.packets as u64;
        }
        state.said();
        self.room.notify_all(state);
    }

    /// Since when the writer has been at its batch; `None` while it has none.
    pub(super) fn batch_since(&self) -> Option<Instant> {
        lock(&self.state).batch.as_ref().map(|batch| batch.since)
    }

    /// What it holds, in bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.state).bytes
    }

    /// Waits until everything is written that was accepted before.
    pub(super) fn flush(&self, timeout: Duration, receive: impl FnOnce()) -> Result<()> {
        let mut state = lock(&self.state);
        let all = state.accepted();
        if state.done < all {
            drop(state);
            let waits = |state: &State| state.done < all && !state.is_over();
            state = self.wait_while(waits, Instant::now().checked_add(timeout), receive);
        }
        // A loss is counted before the connection is over.
        if state.unsent > 0 {
            return Err(Error::SocketIsClosed);
        }
        if state.done < all && !state.is_over() {
            Err(Error::Timeout { what: "writing what was sent" })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_written_directly_however_close_it_follows() {
        let outbox = Outbox::new(1000);
        for _ in 0..1000 {
            outbox.received();
            let packet = Packet::Text("answer".into());
            let given = Given::of(&packet);
            assert!(matches!(outbox.admit(packet), Ok(Admission::Direct(_))));
            outbox.written_direct(TrySend::Sent, given);
        }
    }
}
