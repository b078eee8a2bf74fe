use std::collections::VecDeque;
use std::mem::swap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::protocol::Packet;
use crate::sync::{Signal, lock};

/// Messages that were received and not yet given to the reader, in wire order, and the right to receive.
///
/// Only the holder of that right (the intake) calls `Transport::recv`: the reader, or the watchdog in its
/// place. It is a flag and not a lock, as it is held while the transport waits.
pub(super) struct Inbox {
    limit: usize,
    /// The client has closed: what was received is not delivered any more. Set with `state.end`, read for each
    /// message without the lock.
    muted: AtomicBool,
    state: Mutex<State>,
    /// For the reader: messages, the intake, or the end. For the stand-in: room, or the reader is back.
    changed: Signal,
}

struct State {
    queue: VecDeque<Packet>,
    /// What the queue and the reader's batch take in memory.
    bytes: usize,
    /// How much of `bytes` the reader has.
    with_reader: usize,
    /// Somebody has the intake.
    receiving: bool,
    /// The reader has nothing to deliver, and waits for the stand-in.
    reader_waits: bool,
    /// Reading has stopped because the inbox is full.
    paused: bool,
    end: End,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Open,
    /// Nothing can be written: receiving goes on until then, as the server may have said why.
    Ending(Instant),
    /// The client closes: receiving goes on until the server has closed too, or until then.
    Closing(Instant),
    /// What is queued is still delivered.
    Drained,
    /// Nothing is delivered any more.
    Dropped,
}

/// What the stand-in does next.
pub(super) enum StandIn {
    Receive,
    /// The inbox is full, and it is time to see whether anything moves.
    Full,
    /// The close has taken too long.
    Overdue,
    /// The intake is given back.
    Done,
}

/// What the reader does next.
pub(super) enum Next {
    Deliver,
    Receive,
    /// The close has taken too long.
    Overdue,
    End,
}

impl Inbox {
    pub(super) fn new(limit: usize) -> Self {
        Inbox {
            limit,
            muted: AtomicBool::new(false),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                bytes: 0,
                with_reader: 0,
                receiving: false,
                reader_waits: false,
                paused: false,
                end: End::Open,
            }),
            changed: Signal::default(),
        }
    }

    /// For the reader, whose batch is empty: fills it, or hands it the intake.
    ///
    /// No bound but a close's: the stand-in's own wait is bounded by the server's silence.
    pub(super) fn next(&self, batch: &mut VecDeque<Packet>) -> Next {
        let mut state = lock(&self.state);
        state.bytes -= state.with_reader;
        state.with_reader = 0;
        loop {
            if state.end == End::Dropped {
                state.bytes = 0;
                state.queue.clear();
            }
            if !state.queue.is_empty() {
                swap(&mut state.queue, batch);
                state.with_reader = state.bytes;
                if state.paused {
                    self.changed.notify_all(state);
                }
                return Next::Deliver;
            }
            match state.end {
                End::Drained | End::Dropped => return Next::End,
                End::Ending(by) | End::Closing(by) if Instant::now() >= by => return Next::Overdue,
                End::Open | End::Ending(_) | End::Closing(_) if !state.receiving => {
                    state.receiving = true;
                    return Next::Receive;
                }
                End::Open | End::Ending(_) | End::Closing(_) => {}
            }
            state.reader_waits = true;
            self.changed.notify_all_held(&state);
            state = match state.end {
                End::Ending(by) | End::Closing(by) => self.changed.wait_until(state, Some(by)),
                _ => self.changed.wait(state),
            };
            state.reader_waits = false;
        }
    }

    /// True when messages of the reader's batch must not be delivered any more.
    pub(super) fn muted(&self) -> bool {
        self.muted.load(Ordering::Acquire)
    }

    /// For the watchdog: the intake, if the reader does not have it.
    pub(super) fn claim(&self) -> bool {
        let mut state = lock(&self.state);
        let open = matches!(state.end, End::Open | End::Ending(_) | End::Closing(_));
        let claimed = open && !state.receiving && !state.reader_waits;
        state.receiving |= claimed;
        claimed
    }

    /// Appends what the holder of the intake has received.
    pub(super) fn push(&self, messages: &mut VecDeque<Packet>) {
        let mut state = lock(&self.state);
        // Something has come: from now on the server's silence counts again.
        state.paused = false;
        if matches!(state.end, End::Closing(_)) {
            messages.clear();
        }
        state.bytes += messages.iter().map(Packet::memory).sum::<usize>();
        state.queue.append(messages);
    }

    /// Gives the intake back.
    pub(super) fn release(&self) {
        let mut state = lock(&self.state);
        state.receiving = false;
        self.changed.notify_all(state);
    }

    /// For the stand-in, between two receives: it is done when the reader is at leisure again or the connection
    /// over. Waits until `look` while the inbox is full: then TCP pushes back on the server.
    pub(super) fn stand_in(&self, look: Instant) -> StandIn {
        let mut state = lock(&self.state);
        loop {
            let over = matches!(state.end, End::Drained | End::Dropped);
            if over || state.reader_waits {
                state.receiving = false;
                state.paused = false;
                self.changed.notify_all(state);
                return StandIn::Done;
            }
            match state.end {
                End::Ending(by) | End::Closing(by) if Instant::now() >= by => return StandIn::Overdue,
                // What comes is not kept.
                End::Closing(_) => return StandIn::Receive,
                _ if state.bytes < self.limit => return StandIn::Receive,
                _ => {}
            }
            state.paused = true;
            if Instant::now() >= look {
                return StandIn::Full;
            }
            state = self.changed.wait_until(state, Some(look));
        }
    }

    /// True while reading has stopped by our own choice.
    pub(super) fn paused(&self) -> bool {
        lock(&self.state).paused
    }

    /// What it holds, in bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.state).bytes
    }

    /// Nothing can be written any more.
    pub(super) fn ending(&self, by: Instant) {
        let mut state = lock(&self.state);
        if state.end == End::Open {
            state.end = End::Ending(by);
        }
        self.changed.notify_all(state);
    }

    /// The client closes: nothing more is delivered.
    pub(super) fn closing(&self, by: Instant) {
        let mut state = lock(&self.state);
        if matches!(state.end, End::Open | End::Ending(_)) {
            state.end = End::Closing(by);
            state.queue.clear();
            state.bytes = state.with_reader;
        }
        self.muted.store(true, Ordering::Release);
        self.changed.notify_all(state);
    }

    /// Ends it; `deliver` says whether what is queued still reaches the handlers. It does not once the client has
    /// closed: some of it may be gone by now.
    pub(super) fn close(&self, deliver: bool) {
        let mut state = lock(&self.state);
        let deliver = deliver && !self.muted();
        state.end = if deliver { End::Drained } else { End::Dropped };
        self.muted.store(!deliver, Ordering::Release);
        self.changed.notify_all(state);
    }
}
