//! A transport for unit tests of the session: the test plays the server.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{SendError, Transport, TransportError, TransportKind, TrySend, Urgent};
use crate::protocol::Packet;
use crate::stats::Traffic;
use crate::sync::{Signal, lock};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct State {
    incoming: VecDeque<Result<Packet, TransportError>>,
    sent: VecDeque<Packet>,
    /// The server does not read: `send` blocks.
    stalled: bool,
    closed: bool,
    /// The server closes its side when it is sent a close.
    polite: bool,
    /// `try_send` writes a part of its packet only; it is here then.
    halves: bool,
    half: Option<Packet>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Signal,
}

/// The client's side.
pub(crate) struct Fake(Arc<Shared>);

/// The server's side.
#[derive(Clone)]
pub(crate) struct Server(Arc<Shared>);

/// A connected pair. The server closes when it is told to, unless made rude.
pub(crate) fn pair() -> (Fake, Server) {
    let shared = Arc::new(Shared::default());
    lock(&shared.state).polite = true;
    (Fake(shared.clone()), Server(shared))
}

impl Server {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.0.state);
        let result = change(&mut state);
        self.0.changed.notify_all(state);
        result
    }

    pub(crate) fn send(&self, packets: impl IntoIterator<Item = Packet>) {
        self.change(|state| state.incoming.extend(packets.into_iter().map(Ok)));
    }

    pub(crate) fn fail(&self, error: TransportError) {
        self.change(|state| state.incoming.push_back(Err(error)));
    }

    pub(crate) fn stall(&self, stalled: bool) {
        self.change(|state| state.stalled = stalled);
    }

    /// Takes only a part of what is written directly from now on.
    pub(crate) fn halve(&self) {
        self.change(|state| state.halves = true);
    }

    pub(crate) fn be_rude(&self) {
        self.change(|state| state.polite = false);
    }

    /// Packets that the client has not received yet.
    pub(crate) fn unread(&self) -> usize {
        lock(&self.0.state).incoming.len()
    }

    /// The next packet that the client sends.
    pub(crate) fn receive(&self) -> Packet {
        let deadline = Instant::now() + PATIENCE;
        let mut state = lock(&self.0.state);
        loop {
            if let Some(packet) = state.sent.pop_front() {
                return packet;
            }
            assert!(Instant::now() < deadline, "the client sent nothing");
            state = self.0.changed.wait_until(state, Some(deadline));
        }
    }

    pub(crate) fn sent(&self) -> Vec<Packet> {
        lock(&self.0.state).sent.drain(..).collect()
    }
}

impl State {
    fn accept(&mut self, packet: Packet) {
        if packet == Packet::Close && self.polite {
            self.incoming.push_back(Err(TransportError::ClosedByServer(crate::Error::connection("bye"))));
        }
        self.sent.push_back(packet);
    }
}

impl Transport for Fake {
    fn kind(&self) -> TransportKind {
        TransportKind::WebSocket
    }

    fn recv(&self, packets: &mut VecDeque<Packet>, silence: Duration) -> Result<(), TransportError> {
        let deadline = Instant::now() + silence;
        let mut state = lock(&self.0.state);
        loop {
            if state.closed {
                return Err(TransportError::Closed);
            }
            match state.incoming.pop_front() {
                Some(Ok(packet)) => {
                    packets.push_back(packet);
                    return Ok(());
                }
                Some(Err(e)) => return Err(e),
                None if Instant::now() >= deadline => return Err(TransportError::Silent),
                None => state = self.0.changed.wait_until(state, Some(deadline)),
            }
        }
    }

    fn send(&self, batch: &mut VecDeque<Packet>, urgent: Urgent<'_>) -> Result<(), SendError> {
        let mut state = lock(&self.0.state);
        while state.stalled && !state.closed {
            state = self.0.changed.wait(state);
        }
        if state.closed {
            let lost = Traffic::of(&batch.drain(..).chain(state.half.take()).collect::<Vec<_>>());
            return Err(SendError { cause: TransportError::Closed, lost });
        }
        if let Some(packet) = state.half.take() {
            state.accept(packet);
        }
        if !batch.is_empty() {
            urgent().into_iter().for_each(|packet| batch.push_front(packet));
        }
        batch.drain(..).for_each(|packet| state.accept(packet));
        self.0.changed.notify_all(state);
        Ok(())
    }

    fn try_send(&self, packet: Packet) -> Result<TrySend, TransportError> {
        let mut state = lock(&self.0.state);
        if state.closed {
            return Err(TransportError::Closed);
        }
        if state.stalled {
            return Ok(TrySend::Refused(packet));
        }
        if state.halves {
            state.half = Some(packet);
            return Ok(TrySend::Unflushed);
        }
        state.accept(packet);
        self.0.changed.notify_all(state);
        Ok(TrySend::Sent)
    }

    fn close(&self) {
        let mut state = lock(&self.0.state);
        state.closed = true;
        self.0.changed.notify_all(state);
    }

    fn heard(&self) -> Instant {
        Instant::now()
    }

    fn written(&self) -> Option<Instant> {
        None
    }
}
