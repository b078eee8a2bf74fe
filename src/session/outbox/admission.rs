//! The way into the outbox: whether a message is accepted, whether its sender waits for room, and which
//! thread writes it.

use std::time::Duration;

use super::{Outbox, OutboxState, Phase};
use crate::error::{Error, Result};
use crate::protocol::Packet;
use crate::session::line::Ticket;
use crate::sync::{MutexGuard, Ordering, has_passed, lock};

/// The time since the last write after which a sender writes its message itself. A message that comes sooner
/// is taken for a part of a stream, and goes through the writer, which batches, unless it may be the answer
/// to a message that was received since. Measured: with 3 µs, a ping-pong is written directly, and a stream
/// of messages in batches; with 10 µs, a ping-pong is batched as well.
const QUIET: Duration = Duration::from_micros(3);

/// The choice of a sender when the outbox is full.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum WhenFull {
    Wait,
    Fail,
    /// Accept the packets regardless of the limit.
    Exceed,
}

/// The packets of one call of `send` or `send_all`. The outbox accepts all of them or none.
pub(in crate::session) enum Parcel {
    One(Packet),
    /// Packets that stay next to each other in the queue. The writer writes them.
    Group(Vec<Packet>),
}

impl Parcel {
    /// The memory that the packets take, in bytes.
    fn memory(&self) -> usize {
        match self {
            Parcel::One(packet) => packet.memory(),
            // The sum saturates, because clones of one large `Bytes` may add up to more than the memory.
            Parcel::Group(packets) => packets.iter().map(Packet::memory).fold(0, usize::saturating_add),
        }
    }
}

/// The next step of a thread that has given packets to the outbox.
pub(in crate::session) enum Admission {
    /// Nothing is left to do: the writer writes the packets.
    Queued,
    /// Start the writer, because these packets are the first that have to wait.
    First,
    /// Write the packet now. The caller has the turn until [`Outbox::direct_done`].
    Direct(Packet),
    /// Wait in line, because the outbox is full.
    Full(Parcel, Ticket),
}

impl Outbox {
    /// Accepts messages, or returns the error that refuses them.
    #[inline]
    pub(in crate::session) fn admit(&self, parcel: Parcel, when_full: WhenFull) -> Result<Admission> {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return Err(Error::SocketIsClosed);
        }
        let full = !state.line.is_empty() || !self.has_room(&state, parcel.memory());
        if full && when_full != WhenFull::Exceed {
            if when_full == WhenFull::Fail {
                return Err(Error::QueueFull);
            }
            let ticket = state.line.join();
            state.waiting += 1;
            return Ok(Admission::Full(parcel, ticket));
        }
        match parcel {
            Parcel::One(packet) if self.is_to_write_directly(&state) => {
                self.expects_answer.store(false, Ordering::Relaxed);
                state.accept(&packet);
                state.writing = true;
                Ok(Admission::Direct(packet))
            }
            parcel => Ok(self.push(state, parcel)),
        }
    }

    /// Waits in line for room and queues the messages. The end of the connection ends the wait.
    pub(in crate::session) fn wait_for_room(&self, parcel: Parcel, ticket: Ticket) -> Result<Admission> {
        let memory = parcel.memory();
        let waits = |state: &OutboxState| {
            let first = state.line.is_turn_of(&ticket);
            state.phase == Phase::Open && !(first && self.has_room(state, memory))
        };
        let mut state = self.room.wait_while(lock(&self.state), None, waits);
        state.waiting -= 1;
        if state.phase != Phase::Open {
            return Err(Error::SocketIsClosed);
        }
        state.line.advance();
        // The next one in line may have room as well.
        self.room.notify_all_held(&state);
        Ok(self.push(state, parcel))
    }

    /// Accepts a pong, which goes ahead of everything that waits. It replaces a pong that still waits: only
    /// the last ping needs an answer, and a server that pings without reading must not fill the memory.
    pub(in crate::session) fn admit_pong(&self, pong: Packet) -> Admission {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::CloseWritten | Phase::Closed) {
            return Admission::Queued;
        }
        if self.can_write(&state) {
            state.writing = true;
            return Admission::Direct(pong);
        }
        state.pong = Some(pong);
        self.wake_writer(state)
    }

    /// Refuses messages from now on, and queues `Packet::Close` behind those that wait. If nothing waits and
    /// the caller is `ready` to write the close, the caller does so; otherwise the writer does. A `patient`
    /// caller also writes it over a transport that may have to wait.
    pub(in crate::session) fn queue_close(&self, ready: bool, patient: bool) -> Admission {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return Admission::Queued;
        }
        state.phase = Phase::Closing;
        self.room.notify_all_held(&state);
        if ready && (patient && state.idle() || self.can_write(&state)) {
            state.accept(&Packet::Close);
            state.writing = true;
            return Admission::Direct(Packet::Close);
        }
        self.push(state, Parcel::One(Packet::Close))
    }

    /// True if messages of that memory fit. An empty outbox has room for a message or a group of any size.
    fn has_room(&self, state: &OutboxState, memory: usize) -> bool {
        state.bytes == 0 || state.bytes.saturating_add(memory) <= self.limit
    }

    /// True if the calling thread may write its packet itself.
    fn can_write(&self, state: &OutboxState) -> bool {
        self.direct && state.idle()
    }

    /// True if the calling thread should write its message itself, because no batch is to be expected.
    fn is_to_write_directly(&self, state: &OutboxState) -> bool {
        self.can_write(state)
            && !self.batching.load(Ordering::Relaxed)
            && (self.expects_answer.load(Ordering::Relaxed) || has_passed(QUIET, state.last_write))
    }

    #[inline]
    fn push(&self, mut state: MutexGuard<'_, OutboxState>, parcel: Parcel) -> Admission {
        match parcel {
            Parcel::One(packet) => state.push(packet),
            Parcel::Group(packets) => packets.into_iter().for_each(|packet| state.push(packet)),
        }
        self.wake_writer(state)
    }

    /// Wakes the writer if no thread has the turn. At the end of its own turn, the writer looks for work
    /// itself.
    #[inline]
    pub(super) fn wake_writer(&self, mut state: MutexGuard<'_, OutboxState>) -> Admission {
        if !std::mem::replace(&mut state.has_writer, true) {
            return Admission::First;
        }
        if !state.writing {
            self.work.notify_one(state);
        }
        Admission::Queued
    }
}
