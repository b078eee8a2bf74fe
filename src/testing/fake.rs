//! A fake transport for unit tests of the session: the test plays the server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Moment;
use crate::error::Error;
use crate::net::{LastActivity, TimeLeft};
use crate::protocol::Packet;
use crate::sync::{Mutex, Signal, after, lock};
use crate::transport::{Progress, Transport, TransportError, TransportKind, TrySend, Written};

/// The time after which a test gives up waiting for an event.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Line {
    incoming: VecDeque<Result<Packet, TransportError>>,
    sent: VecDeque<Packet>,
    /// Set while the server does not read, so that `send` blocks.
    stalled: bool,
    closed: bool,
    /// Set if the server closes its side when it gets a close packet.
    polite: bool,
    /// Set if `try_send` writes only a part of its packet, which is then in `half`.
    halves: bool,
    half: Option<Packet>,
    /// Set when nothing can be written any more.
    broken: bool,
    /// Set if the server has no last words when nothing can be written any more.
    silenced: bool,
    /// The number of messages that the client has received.
    taken: usize,
    /// The number of packets that the client has written by `try_send`.
    direct: usize,
}

struct Shared {
    line: Mutex<Line>,
    changed: Signal,
    activity: Arc<LastActivity>,
}

/// The client's side of the connection.
pub(crate) struct Fake(Arc<Shared>);

/// The server's side of the connection, which the test controls.
#[derive(Clone)]
pub(crate) struct Server(Arc<Shared>);

/// Makes a connected pair. The server answers a close packet by closing, unless it is made rude.
pub(crate) fn pair() -> (Fake, Server) {
    let line = Mutex::new(Line { polite: true, ..Line::default() });
    let shared =
        Arc::new(Shared { line, changed: Signal::default(), activity: Arc::new(LastActivity::new()) });
    (Fake(shared.clone()), Server(shared))
}

impl Server {
    fn change<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        let mut line = lock(&self.0.line);
        let result = change(&mut line);
        self.0.changed.notify_all(line);
        result
    }

    pub(crate) fn send(&self, packets: impl IntoIterator<Item = Packet>) {
        self.change(|line| line.incoming.extend(packets.into_iter().map(Ok)));
    }

    pub(crate) fn fail(&self, error: TransportError) {
        self.change(|line| line.incoming.push_back(Err(error)));
    }

    /// Makes the server stop or resume reading.
    pub(crate) fn stall(&self, stalled: bool) {
        self.change(|line| line.stalled = stalled);
    }

    /// Makes direct writes write only a part of their packet from now on.
    pub(crate) fn halve(&self) {
        self.change(|line| line.halves = true);
    }

    /// Makes all writes fail from now on.
    pub(crate) fn break_writes(&self) {
        self.change(|line| line.broken = true);
    }

    /// Makes all writes fail from now on, as after a POST that fails with status 500.
    #[cfg(shuttle)]
    pub(crate) fn break_writes_for_good(&self) {
        self.change(|line| (line.broken, line.silenced) = (true, true));
    }

    /// Makes the server ignore a close packet.
    pub(crate) fn be_rude(&self) {
        self.change(|line| line.polite = false);
    }

    /// The number of packets that the client has not received yet.
    pub(crate) fn unread(&self) -> usize {
        lock(&self.0.line).incoming.len()
    }

    /// Waits until the client has received everything or has closed.
    #[cfg(shuttle)]
    pub(crate) fn wait_until_read(&self) {
        let unread = |line: &Line| !line.incoming.is_empty() && !line.closed;
        drop(self.0.changed.wait_while(lock(&self.0.line), None, unread));
    }

    /// Waits until the client has written its close or has closed.
    #[cfg(shuttle)]
    pub(crate) fn wait_until_closed(&self) {
        let open = |line: &Line| !line.sent.contains(&Packet::Close) && !line.closed;
        drop(self.0.changed.wait_while(lock(&self.0.line), None, open));
    }

    /// The number of packets that the client has written by `try_send`.
    pub(crate) fn direct(&self) -> usize {
        lock(&self.0.line).direct
    }

    /// The number of messages that the client has received.
    #[cfg(shuttle)]
    pub(crate) fn taken(&self) -> usize {
        lock(&self.0.line).taken
    }

    /// True if the client has sent that packet.
    #[cfg(shuttle)]
    pub(crate) fn has(&self, packet: &Packet) -> bool {
        lock(&self.0.line).sent.contains(packet)
    }

    /// Waits for the next packet from the client.
    pub(crate) fn receive(&self) -> Packet {
        let nothing = |line: &Line| line.sent.is_empty();
        let mut line = self.0.changed.wait_while(lock(&self.0.line), Some(after(PATIENCE)), nothing);
        line.sent.pop_front().expect("the client sends something")
    }

    /// The packets that the client has sent and that nobody has taken.
    #[cfg(shuttle)]
    pub(crate) fn written(&self) -> Vec<Packet> {
        lock(&self.0.line).sent.iter().cloned().collect()
    }

    /// Takes all packets that the client has sent.
    pub(crate) fn sent(&self) -> Vec<Packet> {
        lock(&self.0.line).sent.drain(..).collect()
    }
}

impl Line {
    /// Takes a packet from the client. It reports the write under the lock, so that a written packet is known
    /// as such at once.
    fn accept(&mut self, packet: Packet, progress: &dyn Progress) {
        if packet == Packet::Close && self.polite {
            self.incoming.push_back(Err(TransportError::ClosedByServer(Error::connection("bye"))));
        }
        progress.written(Written::of(&packet));
        self.sent.push_back(packet);
    }

    fn check_writable(&self) -> Result<(), TransportError> {
        if self.closed {
            return Err(TransportError::Closed);
        }
        if self.broken {
            let error = Error::connection("nothing can be written");
            return Err(TransportError::Unwritable { error, last_words: !self.silenced });
        }
        Ok(())
    }
}

impl Transport for Fake {
    fn kind(&self) -> TransportKind {
        TransportKind::WebSocket
    }

    fn recv(&self, packets: &mut VecDeque<Packet>, server: &Arc<dyn TimeLeft>) -> Result<(), TransportError> {
        let mut line = lock(&self.0.line);
        loop {
            if line.closed {
                return Err(TransportError::Closed);
            }
            match line.incoming.pop_front() {
                Some(Ok(packet)) => {
                    self.0.activity.mark_received(Moment::now());
                    line.taken += usize::from(packet.is_message());
                    packets.push_back(packet);
                    self.0.changed.notify_all(line);
                    return Ok(());
                }
                Some(Err(e)) => return Err(e),
                None => {}
            }
            let left = server.time_left();
            if left.is_zero() {
                return Err(TransportError::Silent);
            }
            line = self.0.changed.wait(line, Some(after(left)));
        }
    }

    fn recv_rest(&self, _: &mut VecDeque<Packet>) -> bool {
        false
    }

    fn send(
        &self,
        batch: &mut VecDeque<Packet>,
        _: &mut Vec<Bytes>,
        progress: &dyn Progress,
    ) -> Result<(), TransportError> {
        let stalled = |line: &Line| line.stalled && !line.closed;
        let mut line = self.0.changed.wait_while(lock(&self.0.line), progress.deadline(), stalled);
        line.check_writable()?;
        if line.stalled {
            let error = Error::Timeout { what: "writing" };
            return Err(TransportError::Unwritable { error, last_words: false });
        }
        if let Some(packet) = line.half.take() {
            line.accept(packet, progress);
        }
        if !batch.is_empty() {
            progress.urgent().into_iter().for_each(|packet| batch.push_front(packet));
        }
        batch.drain(..).for_each(|packet| line.accept(packet, progress));
        self.0.changed.notify_all(line);
        Ok(())
    }

    fn try_send(&self, packet: &mut Packet, progress: &dyn Progress) -> Result<TrySend, TransportError> {
        let mut line = lock(&self.0.line);
        line.check_writable()?;
        if line.stalled {
            return Ok(TrySend::Refused);
        }
        if line.halves {
            line.half = Some(packet.clone());
            return Ok(TrySend::Unflushed);
        }
        line.direct += 1;
        line.accept(packet.clone(), progress);
        self.0.changed.notify_all(line);
        Ok(TrySend::Sent)
    }

    fn close(&self) {
        let mut line = lock(&self.0.line);
        line.closed = true;
        self.0.changed.notify_all(line);
    }

    fn activity(&self) -> &Arc<LastActivity> {
        &self.0.activity
    }

    fn send_is_bounded(&self) -> bool {
        true
    }
}
