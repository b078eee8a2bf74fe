//! One connection: what its threads share, how it starts, and the one place where it ends.
//!
//! ```text
//! user threads ── send ──> outbox ──(writer)──> Transport::send ──> socket
//!                             ▲  pong                                  │
//! handlers <── inbox <──(reader)── receive packet <── Transport::recv ─┘
//!                             │
//!                  (watchdog): the reader's stand-in while a handler runs
//! ```
//!
//! Lock order: none of the locks of a session (outbox, inbox, ending, writer, watchdog, heartbeat) is held while
//! another is taken, and none while the transport or user code runs.

mod inbox;
mod outbox;
mod reader;
mod watchdog;
mod writer;

#[cfg(test)]
mod races;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::Level;

use crate::error::{Error, Result};
use crate::event::Reason;
use crate::guarded::guarded;
use crate::logger::{Logger, log};
use crate::protocol::{Handshake, Packet, payload};
use crate::stats::{Counters, Stats, Traffic};
use crate::sync::{Signal, lock};
use crate::transport::{Transport, TransportError, TransportKind, TrySend};

use inbox::Inbox;
use outbox::{Admission, Given, Outbox};
use watchdog::Watchdog;
use writer::Writer;

pub(crate) use outbox::WhenFull;
pub(crate) use reader::is_reader_of;

/// How long the server's last words are waited for when nothing can be written any more. What it said before that is here,
/// or in the answer to a poll.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One of a session's.
type Thread = JoinHandle<()>;

/// The user's world, as a session sees it. Called on the reader thread only, in this order.
pub(crate) trait World: Send + 'static {
    /// The connection is up. False ends it.
    fn connected(&mut self) -> bool;
    fn message(&mut self, packet: Packet);
    /// It is over.
    fn ended(&mut self, ending: Ending);
    /// The session's other threads have ended too. So many messages were accepted and not written.
    fn left(&mut self, unsent: usize);
    /// The session is gone.
    fn finished(&mut self);
}

/// Why and how a connection ended.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) reason: Reason,
    pub(crate) error: Option<Arc<Error>>,
}

#[derive(Debug, Clone)]
pub(crate) struct SessionOptions {
    /// Bytes.
    pub(crate) outbox_limit: usize,
    /// Bytes.
    pub(crate) inbox_limit: usize,
    /// How long a disconnect may take to write what is queued and to see the server close.
    pub(crate) close_timeout: Duration,
    pub(crate) counters: Arc<Counters>,
    pub(crate) logger: Logger,
}

pub(crate) struct Session {
    transport: Box<dyn Transport>,
    handshake: Handshake,
    options: SessionOptions,
    outbox: Outbox,
    inbox: Inbox,
    writer: Writer,
    watchdog: Watchdog,
    started: Instant,
    /// When the last ping came: written by the holder of the intake, read by the watchdog.
    last_ping: Mutex<Option<Instant>>,
    ending: Mutex<EndingState>,
    /// The reader has finished.
    finished: Signal,
}

#[derive(Default)]
struct EndingState {
    /// Written once, by the first who has a reason.
    ending: Option<Ending>,
    /// Why nothing can be written.
    failed_write: Option<Arc<Error>>,
    torn_down: bool,
    /// All threads but the reader have ended, and the disconnect handler has run.
    finished: bool,
}

impl Session {
    /// A session over a transport that is connected. `early` are the packets that came with the handshake.
    pub(crate) fn new(
        transport: Box<dyn Transport>,
        handshake: Handshake,
        mut early: VecDeque<Packet>,
        options: SessionOptions,
    ) -> Arc<Self> {
        let session = Arc::new(Session {
            transport,
            outbox: Outbox::new(options.outbox_limit),
            inbox: Inbox::new(options.inbox_limit),
            writer: Writer::default(),
            watchdog: Watchdog::default(),
            started: Instant::now(),
            last_ping: Mutex::new(None),
            ending: Mutex::new(EndingState::default()),
            finished: Signal::default(),
            handshake,
            options,
        });
        session.accept(&mut early);
        session
    }

    /// Starts the watchdog and the reader. The writer starts when something has to wait.
    pub(crate) fn start(self: &Arc<Self>, world: Box<dyn World>, owner: usize) -> Result<()> {
        let started = self
            .spawn("eio-watchdog", |session| watchdog::run(&session))
            .and_then(|watchdog| self.spawn("eio-reader", move |s| reader::run(s, world, watchdog, owner)));
        if started.is_err() {
            self.end(Reason::TransportError, None);
        }
        started.map(drop)
    }

    fn spawn(self: &Arc<Self>, name: &str, run: impl FnOnce(Arc<Self>) + Send + 'static) -> Result<Thread> {
        let session = self.clone();
        let run = move || {
            let panicking = Arc::downgrade(&session);
            if let (Err(panic), Some(session)) = (guarded(|| run(session)), panicking.upgrade()) {
                session.end(Reason::TransportError, Some(panicked(panic)));
            }
        };
        let spawned = thread::Builder::new().name(name.into()).spawn(run);
        spawned.map_err(|e| Error::connection_from("cannot start a thread for the connection", e))
    }

    pub(crate) fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    pub(crate) fn transport_kind(&self) -> TransportKind {
        self.transport.kind()
    }

    fn silence(&self) -> Duration {
        self.handshake.ping_interval() + self.handshake.ping_timeout()
    }

    /// Sends a message: at once on an idle connection, through the writer under load.
    pub(crate) fn send(self: &Arc<Self>, packet: Packet, when_full: WhenFull) -> Result<()> {
        self.check(&packet)?;
        match self.outbox.admit(packet)? {
            Admission::Direct(_) if self.expired() => {
                self.end(Reason::PingTimeout, Some(self.silent()));
                Err(Error::SocketIsClosed)
            }
            Admission::Full(_) if when_full == WhenFull::Fail => Err(Error::QueueFull),
            Admission::Full(packet) => self.outbox.wait_for_room(packet, || self.watchdog.stand_in()),
            admission => self.write(admission),
        }
    }

    /// Does what the outbox says.
    fn write(self: &Arc<Self>, mut admission: Admission) -> Result<()> {
        if let Admission::Direct(packet) = admission {
            admission = self.write_direct(packet)?;
        }
        if matches!(admission, Admission::First) {
            self.writer.start(self);
        }
        Ok(())
    }

    /// Refuses what this connection cannot carry.
    fn check(&self, packet: &Packet) -> Result<()> {
        let size = match self.transport.kind() {
            TransportKind::Polling => {
                if matches!(packet, Packet::Text(text) if text.contains(payload::SEPARATOR)) {
                    return Err(Error::Separator);
                }
                packet.payload_len()
            }
            TransportKind::WebSocket => packet.frame_len(),
        };
        match self.handshake.max_payload() {
            Some(max) if size > max => Err(Error::MessageTooLarge { size, max }),
            _ => Ok(()),
        }
    }

    /// The server has been silent for too long, though nobody has noticed yet: the machine slept.
    fn expired(&self) -> bool {
        self.transport.heard().elapsed() > self.silence() && !self.inbox.paused()
    }

    fn write_direct(self: &Arc<Self>, packet: Packet) -> Result<Admission> {
        self.log_packets("sending", [&packet]);
        let (traffic, given) = (Traffic::of([&packet]), Given::of(&packet));
        match self.transport.try_send(packet) {
            Ok(written) => {
                if !matches!(written, TrySend::Refused(_)) {
                    self.options.counters.sent.add(traffic);
                }
                Ok(self.outbox.written_direct(written, given))
            }
            Err(e) => {
                // The turn stays taken: nothing can be written any more.
                self.write_failed(e);
                Err(Error::SocketIsClosed)
            }
        }
    }

    /// A pong that came in the midst of a batch.
    fn take_pong(&self) -> Option<Packet> {
        let pong = self.outbox.take_pong()?;
        self.log_packets("sending", [&pong]);
        self.options.counters.sent.add(Traffic::of([&pong]));
        Some(pong)
    }

    pub(crate) fn flush(&self, timeout: Duration) -> Result<()> {
        self.outbox.flush(timeout, || self.watchdog.stand_in())
    }

    /// Receives once, for whoever holds the intake: messages go to the inbox, everything else is done here.
    /// `packets` is empty before and after; it spares an allocation.
    fn receive(self: &Arc<Self>, packets: &mut VecDeque<Packet>) {
        match self.transport.recv(packets, self.silence()) {
            Ok(()) => self.accept(packets),
            Err(e) => self.fail(e),
        }
    }

    fn accept(self: &Arc<Self>, packets: &mut VecDeque<Packet>) {
        self.options.counters.received.add(Traffic::of(&*packets));
        self.log_packets("received", &*packets);
        let (mut pong, mut closed) = (None, false);
        packets.retain(|packet| {
            // What follows a close does not count.
            let message = !closed && self.accept_packet(packet, &mut pong);
            closed |= *packet == Packet::Close;
            message
        });
        self.outbox.received();
        self.inbox.push(packets);
        if let Some(pong) = pong {
            // What cannot be written ends the session by itself.
            let _ = self.write(self.outbox.admit_pong(pong));
        }
        if closed {
            self.end(Reason::ServerDisconnect, None);
        }
    }

    /// True for a message. `pong` is the answer to the last ping.
    fn accept_packet(&self, packet: &Packet, pong: &mut Option<Packet>) -> bool {
        match packet {
            Packet::Text(_) | Packet::Binary(_) => return true,
            Packet::Ping(data) => {
                *lock(&self.last_ping) = Some(Instant::now());
                *pong = Some(Packet::Pong(data.clone()));
            }
            Packet::Close | Packet::Noop => {}
            Packet::Open(_) | Packet::Pong(_) | Packet::Upgrade => {
                log!(self.options.logger, Warn, "unexpected packet from the server: {}", packet.kind_name());
            }
        }
        false
    }

    fn log_packets<'a>(&self, what: &str, packets: impl IntoIterator<Item = &'a Packet>) {
        // Once for all of them: it is on the way of every message.
        if self.options.logger.enabled(Level::Debug) {
            packets.into_iter().for_each(|packet| self.log_packet(what, packet));
        }
    }

    fn log_packet(&self, what: &str, packet: &Packet) {
        log!(self.options.logger, Debug, "{what} {} ({} bytes)", packet.kind_name(), packet.frame_len());
        log!(self.options.logger, Trace, "{what} {packet:?}");
    }

    /// Nothing can be written any more. What the server said before that is still received, and may be the reason.
    fn write_failed(&self, error: TransportError) {
        let TransportError::Failed(cause) = error else { return self.fail(error) };
        {
            let mut state = lock(&self.ending);
            if state.ending.is_some() {
                drop(state);
                return self.tear_down();
            }
            state.failed_write.get_or_insert(Arc::new(cause));
        }
        self.outbox.close();
        let by = Instant::now() + LAST_WORDS.min(self.options.close_timeout);
        self.inbox.ending(by);
        self.watchdog.closing(by);
    }

    /// Ends the session for what the transport met.
    fn fail(&self, error: TransportError) {
        match error {
            TransportError::Closed => self.tear_down(),
            TransportError::Silent => self.end(Reason::PingTimeout, Some(self.silent())),
            TransportError::ClosedByServer(error) => self.end(Reason::ServerDisconnect, Some(error)),
            TransportError::Failed(error) => self.end(Reason::TransportError, Some(error)),
        }
    }

    /// What to say of a server that has been silent for too long.
    fn silent(&self) -> Error {
        let what = match *lock(&self.last_ping) {
            Some(_) => "waiting for the server's next ping",
            None => {
                "waiting for the server's first ping; does it speak Engine.IO v3, where pings are the client's?"
            }
        };
        Error::Timeout { what }
    }

    /// Ends the session. The first reason stays.
    fn end(&self, reason: Reason, error: Option<Error>) {
        self.claim_ending(reason, error);
        self.tear_down();
    }

    fn claim_ending(&self, reason: Reason, error: Option<Error>) {
        let mut state = lock(&self.ending);
        if state.ending.is_none() {
            // What broke first tells more than what followed from it.
            let first = state.failed_write.clone().filter(|_| reason == Reason::TransportError);
            state.ending = Some(Ending { reason, error: first.or(error.map(Arc::new)) });
        }
    }

    /// Closes gracefully: no more messages are accepted, those that were are written, then the server is told.
    /// Returns at once; the watchdog or the reader ends what takes longer than the close timeout. A stand-in does when it
    /// has next received something, which a silent server's ping timeout bounds.
    pub(crate) fn close(self: &Arc<Self>, reason: Reason) {
        if lock(&self.ending).failed_write.is_some() {
            // Nobody can be told, and the reason is another.
            return self.tear_down();
        }
        self.claim_ending(reason, None);
        let by = Instant::now() + self.options.close_timeout;
        let last = self.outbox.finish();
        self.inbox.closing(by);
        self.watchdog.closing(by);
        let _ = self.write(last);
    }

    /// Closes without writing what is queued.
    pub(crate) fn abort(&self, reason: Reason) {
        self.end(reason, None);
        // If the server was first, what it has sent is dropped now, as by `close`.
        self.inbox.closing(Instant::now());
    }

    /// The end, whatever the reason, and every thread follows: the one place for it.
    pub(crate) fn tear_down(&self) {
        let deliver = {
            let mut state = lock(&self.ending);
            if std::mem::replace(&mut state.torn_down, true) {
                return;
            }
            match &state.ending {
                Some(ending) => !ending.reason.is_own(),
                // The transport was closed, and nobody said why.
                None => true,
            }
        };
        self.outbox.close();
        self.inbox.close(deliver);
        self.transport.close();
        self.watchdog.stop();
    }

    /// Nothing can be sent any more, and that was not our doing; or it has been torn down.
    pub(crate) fn is_over(&self) -> bool {
        let state = lock(&self.ending);
        state.torn_down || state.failed_write.is_some()
    }

    fn ending(&self) -> Ending {
        let state = lock(&self.ending);
        let broken = || Ending { reason: Reason::TransportError, error: state.failed_write.clone() };
        state.ending.clone().unwrap_or_else(broken)
    }

    fn finish(&self) {
        let mut state = lock(&self.ending);
        state.finished = true;
        self.finished.notify_all(state);
    }

    /// Waits until the disconnect handler has run and the threads have ended; false after the deadline.
    pub(crate) fn wait_finished(&self, deadline: Option<Instant>) -> bool {
        let mut state = lock(&self.ending);
        while !state.finished {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            state = self.finished.wait_until(state, deadline);
        }
        true
    }

    /// When the next ping is due, by what has come so far.
    fn ping_due(&self) -> Instant {
        // Before the first one: now, as some servers send it right away.
        lock(&self.last_ping).map_or(self.started, |last| last + self.handshake.ping_interval())
    }

    /// Adds to the client's counters what is this connection's alone.
    pub(crate) fn fill(&self, stats: &mut Stats) {
        stats.outbox_bytes = self.outbox.bytes();
        stats.inbox_bytes = self.inbox.bytes();
        stats.last_ping = lock(&self.last_ping).map(|last| last.elapsed());
    }

    /// Messages that were accepted and never written, of a session that is over or is being torn down.
    pub(crate) fn unsent(&self) -> usize {
        self.outbox.unsent()
    }
}

/// A bug, here or in a dependency, or in code that the user has given to one: the connection ends, and tells.
fn panicked(panic: String) -> Error {
    Error::connection(format!("a thread of the connection {panic}"))
}
