use std::collections::VecDeque;
use std::mem::swap;
use std::time::Instant;

use crate::protocol::Packet;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, Signal, lock, now};

/// Messages that were received and not yet given to their handler, in wire order, and the right to receive.
///
/// Only the holder of that right (the intake) calls `Transport::recv`: the reader, or the watchdog in its
/// place. The intake is a flag and not a lock, as it is held while the transport waits.
pub(super) struct Inbox {
    limit: usize,
    /// The memory of the messages that no handler has been given yet: those of the queue and of the reader's batch.
    bytes: AtomicUsize,
    /// The client has closed: nothing is delivered any more. Set for good.
    muted: AtomicBool,
    /// The stand-in does not read, because the inbox is full.
    paused: AtomicBool,
    state: Mutex<InboxState>,
    /// Notified for the reader when there are messages, the intake or the end; for the stand-in when there is room or
    /// the reader is back.
    changed: Signal,
}

struct InboxState {
    queue: VecDeque<Packet>,
    /// Somebody has the intake.
    receiving: bool,
    /// The reader has nothing to deliver, and waits for the stand-in.
    reader_waits: bool,
    receive: Receive,
}

/// How long packets are received.
#[derive(Clone, Copy, PartialEq)]
enum Receive {
    Unbounded,
    /// The session is closing or broken.
    Until(Instant),
    /// The session is over. What is queued is delivered, unless the inbox is muted.
    Over,
}

impl Receive {
    fn is_overdue(self) -> bool {
        matches!(self, Receive::Until(by) if now() >= by)
    }

    fn deadline(self) -> Option<Instant> {
        if let Receive::Until(by) = self { Some(by) } else { None }
    }
}

/// What the stand-in does next.
pub(super) enum StandIn {
    Receive,
    /// See whether anything moves: the inbox is full.
    CheckProgress,
    /// End the session, which is closing or broken for too long.
    Overdue,
    /// Give the intake back.
    Done,
}

/// What the reader does next.
pub(super) enum Next {
    Deliver,
    Receive,
    /// End the session, which is closing or broken for too long.
    Overdue,
    End,
}

impl Inbox {
    pub(super) fn new(limit: usize) -> Self {
        Inbox {
            limit,
            bytes: AtomicUsize::new(0),
            muted: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            state: Mutex::new(InboxState {
                queue: VecDeque::new(),
                receiving: false,
                reader_waits: false,
                receive: Receive::Unbounded,
            }),
            changed: Signal::default(),
        }
    }

    /// Fills the reader's batch, which is empty, or hands the reader the intake.
    ///
    /// The wait has no bound but a close's, as the stand-in's own wait is bounded by the server's silence.
    pub(super) fn next(&self, batch: &mut VecDeque<Packet>) -> Next {
        let mut state = lock(&self.state);
        loop {
            if !state.queue.is_empty() {
                swap(&mut state.queue, batch);
                return Next::Deliver;
            }
            if state.receive == Receive::Over {
                return Next::End;
            }
            if state.receive.is_overdue() {
                return Next::Overdue;
            }
            if !state.receiving {
                state.receiving = true;
                return Next::Receive;
            }
            state.reader_waits = true;
            self.changed.notify_all_held(&state);
            let deadline = state.receive.deadline();
            state = self.changed.wait(state, deadline);
            state.reader_waits = false;
        }
    }

    /// Takes a message of the reader's batch out of the inbox: its handler is given it now. False if it must not be.
    pub(super) fn deliver(&self, message: &Packet) -> bool {
        self.bytes.fetch_sub(message.memory(), Ordering::SeqCst);
        // Pairs with `stand_in`: either this thread sees that it pauses, or the stand-in sees the room.
        if self.paused.load(Ordering::SeqCst) {
            self.changed.notify_all(lock(&self.state));
        }
        !self.muted()
    }

    /// True if nothing is delivered any more.
    pub(super) fn muted(&self) -> bool {
        self.muted.load(Ordering::Acquire)
    }

    /// Claims the intake for the watchdog, if nobody has it.
    pub(super) fn claim(&self) -> bool {
        let mut state = lock(&self.state);
        let claimed = state.receive != Receive::Over && !state.receiving && !state.reader_waits;
        state.receiving |= claimed;
        claimed
    }

    /// Appends what the holder of the intake has received.
    pub(super) fn push(&self, messages: &mut VecDeque<Packet>) {
        let mut state = lock(&self.state);
        if self.muted() {
            messages.clear();
        }
        self.bytes.fetch_add(messages.iter().map(Packet::memory).sum(), Ordering::SeqCst);
        state.queue.append(messages);
    }

    /// Gives the intake back.
    pub(super) fn release(&self) {
        let mut state = lock(&self.state);
        state.receiving = false;
        self.changed.notify_all(state);
    }

    /// Decides what the stand-in does between two receives. It is done when the reader is at leisure again or the
    /// session over. While the inbox is full it waits until `look`: TCP pushes back on the server.
    pub(super) fn stand_in(&self, look: Instant) -> StandIn {
        let mut state = lock(&self.state);
        loop {
            if state.receive == Receive::Over || state.reader_waits {
                return StandIn::Done;
            }
            if state.receive.is_overdue() {
                return StandIn::Overdue;
            }
            self.paused.store(true, Ordering::SeqCst);
            // A muted inbox keeps nothing, and so is never full.
            let full = self.bytes.load(Ordering::SeqCst) >= self.limit && !self.muted();
            if full && now() < look {
                state = self.changed.wait(state, Some(look));
            }
            self.paused.store(false, Ordering::SeqCst);
            if !full {
                return StandIn::Receive;
            }
            if now() >= look {
                return StandIn::CheckProgress;
            }
        }
    }

    /// The memory of everything in it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bounds the receiving: the session is closing or broken.
    pub(super) fn receive_until(&self, by: Instant) {
        let mut state = lock(&self.state);
        if state.receive == Receive::Unbounded {
            state.receive = Receive::Until(by);
        }
        self.changed.notify_all(state);
    }

    /// Ends all delivery: the client closes, or was refused by its connect handler.
    pub(super) fn mute(&self) {
        let mut state = lock(&self.state);
        self.muted.store(true, Ordering::Release);
        let dropped: usize = state.queue.drain(..).map(|packet| packet.memory()).sum();
        self.bytes.fetch_sub(dropped, Ordering::SeqCst);
        self.changed.notify_all(state);
    }

    /// Ends the receiving. What is queued is delivered if `deliver` says so and the client has not closed.
    pub(super) fn close(&self, deliver: bool) {
        if !deliver {
            self.mute();
        }
        let mut state = lock(&self.state);
        state.receive = Receive::Over;
        self.changed.notify_all(state);
    }
}
