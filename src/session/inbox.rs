//! The inbox: received messages that wait for a handler, and the right to receive more.

use std::collections::VecDeque;
use std::mem::swap;
use std::time::Instant;

use crate::protocol::Packet;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, Signal, lock, now};

/// The messages that were received and not yet given to a handler, in the server's order, and the right to
/// receive.
///
/// Only the holder of that right (the intake) receives from the transport: the reader, or the watchdog as its
/// stand-in while a handler runs. The intake is a flag and not a lock, because it is held while the transport
/// waits.
pub(super) struct Inbox {
    /// The size in bytes at which reading stops.
    limit: usize,
    /// The memory of the messages that no handler has been given yet, in the queue and in the reader's batch.
    bytes: AtomicUsize,
    /// Set for good when the client closes: nothing is delivered any more.
    muted: AtomicBool,
    /// Set while the stand-in does not read, because the inbox is full.
    paused: AtomicBool,
    state: Mutex<InboxState>,
    /// Notified when there are messages, a free intake or the end (the reader waits for these), and when
    /// there is room or the reader is back (the stand-in waits for these).
    changed: Signal,
}

struct InboxState {
    queue: VecDeque<Packet>,
    /// Set while a thread has the intake.
    receiving: bool,
    /// Set while the reader has nothing to deliver and waits for the stand-in.
    reader_waits: bool,
    receive: Receive,
}

/// The time in which packets are received.
#[derive(Clone, Copy, PartialEq)]
enum Receive {
    Unbounded,
    /// The session is closing or broken.
    Until(Instant),
    /// The session is over. Queued messages are delivered, unless the inbox is muted.
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

/// The next step of the stand-in.
pub(super) enum StandIn {
    Receive,
    /// Check whether the connection makes progress, because the inbox is full.
    CheckProgress,
    /// End the session, which is closing or broken for too long.
    Overdue,
    /// Give the intake back.
    Done,
}

/// The next step of the reader.
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

    /// Moves the queued messages into the reader's batch, which is empty, or gives the reader the intake.
    ///
    /// The wait for the stand-in is bounded by a close's deadline, and otherwise by the time that the
    /// stand-in itself waits for a silent server.
    pub(super) fn next(&self, batch: &mut VecDeque<Packet>) -> Next {
        let mut state = lock(&self.state);
        loop {
            if !state.queue.is_empty() {
                swap(&mut state.queue, batch);
                return Next::Deliver;
            }
            // A stand-in at work comes first, as it may have received something.
            if state.receive == Receive::Over && !state.receiving {
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

    /// Takes a message of the reader's batch out of the inbox, because its handler is called now. Returns
    /// false if it must not be delivered.
    #[inline]
    pub(super) fn deliver(&self, message: &Packet) -> bool {
        self.bytes.fetch_sub(message.memory(), Ordering::SeqCst);
        // This pairs with `stand_in`: either this thread sees that the stand-in pauses, or the stand-in sees
        // the room.
        if self.paused.load(Ordering::SeqCst) {
            self.changed.notify_all(lock(&self.state));
        }
        !self.muted()
    }

    /// True if nothing is delivered any more.
    pub(super) fn muted(&self) -> bool {
        self.muted.load(Ordering::Acquire)
    }

    /// Claims the intake for the stand-in. Returns false if another thread has it or the reader waits for it.
    pub(super) fn claim(&self) -> bool {
        let mut state = lock(&self.state);
        let claimed = state.receive != Receive::Over && !state.receiving && !state.reader_waits;
        state.receiving |= claimed;
        claimed
    }

    /// Appends the messages that the holder of the intake has received.
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

    /// Decides the stand-in's next step after a receive. It is done when the reader waits for messages again
    /// or the session is over. While the inbox is full, it waits until `look` at most, and TCP holds the
    /// server back.
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
            // A muted inbox keeps no messages, so it is never full.
            let full = self.bytes.load(Ordering::SeqCst) >= self.limit && !self.muted();
            if full && now() < look {
                let until = state.receive.deadline().map_or(look, |by| by.min(look));
                state = self.changed.wait(state, Some(until));
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

    /// The memory of all messages in the inbox, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Sets the deadline for receiving, because the session is closing or broken.
    pub(super) fn receive_until(&self, by: Instant) {
        let mut state = lock(&self.state);
        if state.receive == Receive::Unbounded {
            state.receive = Receive::Until(by);
        }
        self.changed.notify_all(state);
    }

    /// The deadline for receiving, in a session that is closing or broken.
    pub(super) fn deadline(&self) -> Option<Instant> {
        lock(&self.state).receive.deadline()
    }

    /// Ends all delivery, because the client closes or its connect handler has refused the connection.
    pub(super) fn mute(&self) {
        let mut state = lock(&self.state);
        self.muted.store(true, Ordering::Release);
        let dropped: usize = state.queue.drain(..).map(|packet| packet.memory()).sum();
        self.bytes.fetch_sub(dropped, Ordering::SeqCst);
        self.changed.notify_all(state);
    }

    /// Ends receiving. Queued messages are delivered only if `deliver` is set and the client has not closed.
    pub(super) fn close(&self, deliver: bool) {
        if !deliver {
            self.mute();
        }
        let mut state = lock(&self.state);
        state.receive = Receive::Over;
        self.changed.notify_all(state);
    }
}
