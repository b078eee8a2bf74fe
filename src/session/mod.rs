//! A session: one Engine.IO connection over one transport. This file has its parts, its start, and `send`.
//!
//! ```text
//! user threads ── send ──> outbox ──(writer)──> Transport::send ──> socket
//!                             ▲  pong                                  │
//! handlers <── inbox <──(reader)── receive packet <── Transport::recv ─┘
//!                             │
//!                         liveness <──(watchdog): deadline, stand-in reader
//! ```
//!
//! The transport moves packets. The outbox holds packets that wait to be written, and the inbox holds
//! messages that wait for a handler. Three threads work on them: the reader receives and runs the handlers,
//! the writer writes, and the watchdog receives in the reader's place while a handler runs. The writer and
//! the watchdog start when they are first needed.
//!
//! Lock order: a thread that holds one of the session's locks (life, outbox, inbox, writer, watchdog) takes
//! no other lock, and calls neither the transport nor user code. There is one exception: a late thread starts
//! while its own lock is held. A transport may hold a lock of its own while it reports progress, and the
//! report takes the outbox's lock.

mod inbox;
mod late_thread;
mod ledger;
mod life;
mod line;
mod liveness;
mod outbox;
mod reader;
mod watchdog;
mod writer;

#[cfg(all(test, not(shuttle)))]
mod races;
#[cfg(all(test, not(shuttle)))]
mod tests;

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use log::Level;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::event::Reason;
use crate::guarded::guarded;
use crate::logger::{Logger, log};
use crate::observation::{Direction, PacketInfo, PacketObserver};
use crate::protocol::{Handshake, Packet, payload};
use crate::stats::{Counters, Stats};
use crate::sync::{AtomicBool, thread, thread_local};
use crate::transport::{Transport, TransportError, TransportKind};

use inbox::Inbox;
use late_thread::LateThread;
use life::Life;
use liveness::Liveness;
use outbox::{Admission, Outbox, Parcel};
use watchdog::Watchdog;

pub(crate) use outbox::WhenFull;

/// A thread that belongs to the session.
pub(crate) type Thread = thread::JoinHandle<()>;

thread_local! {
    /// The id of the client that this thread works for.
    static OWNER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// True on the threads of that client's sessions: there the handlers run, and destructors of the user's
/// messages.
pub(crate) fn is_thread_of(owner: usize) -> bool {
    OWNER.with(Cell::get) == Some(owner)
}

/// A function that a listener calls before each step that may take long, such as running a handler or waiting
/// for one. The first call starts the watchdog.
pub(crate) type BeforeHandler<'a> = &'a mut dyn FnMut();

/// The receiver of a session's events. All methods are called on the reader thread, in the order in which
/// they stand here.
pub(crate) trait Listener: Send + 'static {
    /// Called when the connection is up. `false` refuses the connection: it then delivers no messages.
    fn connected(&mut self, before: BeforeHandler<'_>) -> bool;
    /// Called with text and binary messages. The listener takes all of them, one after the other.
    fn messages(&mut self, packets: &mut dyn Iterator<Item = Packet>, before: BeforeHandler<'_>);
    /// Called when the connection is over.
    fn ended(&mut self, ending: Ending);
    /// Called when the session's other threads have ended too.
    fn finished(&mut self);
}

/// Why and how a connection ended.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) reason: Reason,
    pub(crate) error: Option<Arc<Error>>,
    /// The number of messages that were accepted but not written.
    pub(crate) unsent: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct SessionOptions {
    /// The id of the client, for [`is_thread_of`].
    pub(crate) owner: usize,
    /// In bytes.
    pub(crate) outbox_limit: usize,
    /// In bytes.
    pub(crate) inbox_limit: usize,
    /// The time that a close has to write the queued packets and to see the server close.
    pub(crate) close_timeout: Duration,
    pub(crate) counters: Arc<Counters>,
    pub(crate) logger: Logger,
    /// Sees every packet. With an observer, all packets go through the writer thread: a direct write may be
    /// refused and repeated, and each packet is shown once.
    pub(crate) observer: Option<Arc<dyn PacketObserver>>,
}

pub(crate) struct Session {
    transport: Box<dyn Transport>,
    handshake: Handshake,
    options: SessionOptions,
    life: Life,
    liveness: Arc<Liveness>,
    outbox: Outbox,
    inbox: Inbox,
    /// The writer, which starts when a packet has to wait for the first time.
    writer: LateThread,
    watchdog: Watchdog,
    /// Set when a packet that the server has no reason to send was logged at warn.
    unexpected_told: AtomicBool,
}

impl Session {
    /// Makes a session over a connected transport. `early` holds the packets that came with the handshake.
    pub(crate) fn new(
        transport: Box<dyn Transport>,
        handshake: Handshake,
        mut early: VecDeque<Packet>,
        options: SessionOptions,
    ) -> Arc<Self> {
        // A POST is waited for.
        let direct = transport.kind() == TransportKind::WebSocket && options.observer.is_none();
        let session = Arc::new(Session {
            life: Life::new(),
            liveness: Arc::new(Liveness::new(&handshake, transport.activity().clone(), Moment::now())),
            outbox: Outbox::new(options.outbox_limit, direct),
            inbox: Inbox::new(options.inbox_limit),
            writer: LateThread::default(),
            watchdog: Watchdog::default(),
            unexpected_told: AtomicBool::new(false),
            transport,
            handshake,
            options,
        });
        reader::accept(&session, &mut early);
        session
    }

    /// Starts the reader, and returns its thread. The other threads start when they are needed.
    pub(crate) fn start(self: &Arc<Self>, listener: Box<dyn Listener>) -> Result<Thread> {
        let started = self.spawn("eio-reader", move |session| reader::run(session, listener));
        if started.is_err() {
            self.end(Reason::TransportError, None);
        }
        started
    }

    fn spawn(self: &Arc<Self>, name: &str, run: impl FnOnce(Arc<Self>) + Send + 'static) -> Result<Thread> {
        let session = self.clone();
        let run = move || {
            OWNER.with(|owner| owner.set(Some(session.options.owner)));
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

    /// Sends a message: from the calling thread if the connection is idle, through the writer thread
    /// otherwise.
    #[inline]
    pub(crate) fn send(self: &Arc<Self>, packet: Packet, when_full: WhenFull) -> Result<()> {
        self.check(&packet)?;
        self.give(Parcel::One(packet), when_full)
    }

    /// Sends messages through the writer thread, with no other message between them. If one of them is
    /// refused, none is sent.
    pub(crate) fn send_all(self: &Arc<Self>, mut packets: Vec<Packet>, when_full: WhenFull) -> Result<()> {
        if packets.len() < 2 {
            return packets.pop().map_or(Ok(()), |packet| self.send(packet, when_full));
        }
        packets.iter().try_for_each(|packet| self.check(packet))?;
        if self.is_open() && self.liveness.is_silent(Moment::now()) {
            self.fail(TransportError::Silent);
        }
        self.give(Parcel::Group(packets), when_full)
    }

    #[inline]
    fn give(self: &Arc<Self>, parcel: Parcel, when_full: WhenFull) -> Result<()> {
        // The writer thread cannot wait for itself, in a destructor of the user's.
        let when_full = if writer::is_writer() { WhenFull::Exceed } else { when_full };
        match self.outbox.admit(parcel, when_full)? {
            Admission::Queued => Ok(()),
            // The reader may not have noticed the silence yet if the machine has just woken from sleep.
            Admission::Direct(_) if self.liveness.is_silent(Moment::now()) => {
                writer::refuse(self, true, TransportError::Silent).map(drop)
            }
            admission => writer::write(self, admission),
        }
    }

    /// Refuses a message that this connection cannot carry.
    #[inline]
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

    pub(crate) fn flush(&self, timeout: Duration) -> Result<()> {
        self.outbox.flush(timeout, || self.watchdog.stand_in())
    }

    /// True if a sender waits for room, or a thread waits for a flush.
    #[cfg(shuttle)]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.outbox.is_waited_for()
    }

    /// Fills in the values that belong to this connection alone.
    pub(crate) fn fill(&self, stats: &mut Stats) {
        stats.outbox_bytes = self.outbox.bytes();
        stats.inbox_bytes = self.inbox.bytes();
        stats.last_ping = self.liveness.since_ping(Moment::now());
    }
}

/// Logs each packet and shows it to the observer. The level is checked once for all of them, because every
/// message comes through here.
fn report<'a>(
    session: &Session,
    direction: Direction,
    packets: impl IntoIterator<Item = &'a Packet> + Clone,
) {
    let logger = &session.options.logger;
    if logger.enabled(Level::Debug) {
        let what = match direction {
            Direction::Sent => "sending",
            Direction::Received => "received",
        };
        for packet in packets.clone() {
            log!(logger, Debug, "{what} {} ({} bytes)", packet.kind_name(), packet.frame_len());
            log!(logger, Trace, "{what} {packet:?}");
        }
    }
    if let Some(observer) = &session.options.observer {
        packets.into_iter().for_each(|packet| observer.packet(direction, &PacketInfo::of(packet)));
    }
}

/// The error for a panic: a bug in this crate or in a dependency, or in code that the user has passed to one.
fn panicked(panic: String) -> Error {
    Error::connection(format!("a thread of the connection {panic}"))
}
