//! How packets travel. The session knows this trait and none of the transports.

mod polling;
mod websocket;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Add;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::net::{LastActivity, TimeLeft};
use crate::protocol::Packet;
use crate::stats::Traffic;

pub(crate) use polling::{Polling, PollingLimits};
pub(crate) use websocket::{WebSocket, WebSocketSettings};

/// A way to carry packets.
///
/// # Examples
///
/// ```
/// use engineio::TransportKind;
///
/// assert_eq!(TransportKind::WebSocket.to_string(), "websocket");
/// assert_eq!("polling".parse(), Ok(TransportKind::Polling));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// HTTP long polling.
    Polling,
    /// A websocket.
    WebSocket,
}

impl TransportKind {
    /// The name in URLs and in the handshake: `polling` or `websocket`.
    pub fn as_str(self) -> &'static str {
        match self {
            TransportKind::Polling => "polling",
            TransportKind::WebSocket => "websocket",
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a transport.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a transport; use \"polling\" or \"websocket\"")]
pub struct UnknownTransport {
    name: String,
}

impl FromStr for TransportKind {
    type Err = UnknownTransport;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "polling" => Ok(TransportKind::Polling),
            "websocket" => Ok(TransportKind::WebSocket),
            _ => Err(UnknownTransport { name: name.into() }),
        }
    }
}

/// The most packets that one `recv` takes before it hands on what they brought, and about the most bytes: memory
/// that is used again at once is cheaper than more of it.
const BURST: usize = 256;
const BURST_BYTES: usize = 128 * 1024;

/// A connected transport.
///
/// `recv` and `send` run at the same time on different threads; neither is called by two threads at once.
pub(crate) trait Transport: Send + Sync {
    fn kind(&self) -> TransportKind;

    /// Blocks until packets have come, and appends them. Fails with `Silent` when a read has found nothing and the
    /// server has no time left.
    fn recv(&self, packets: &mut VecDeque<Packet>, server: &Arc<dyn TimeLeft>) -> Result<(), TransportError>;

    /// Appends packets that had been received when the transport was closed, and were not handed on; false if there are
    /// none.
    fn recv_rest(&self, packets: &mut VecDeque<Packet>) -> bool;

    /// Blocks until the whole batch is written. After a [`Packet::Close`] nothing more is written, and `recv` ends soon.
    /// An empty batch writes what [`TrySend::Unflushed`] left. After an error the batch holds what was not given to the
    /// system.
    ///
    /// The wait has no bound of its own: a slow peer is not a dead one. `close` ends it.
    fn send(&self, batch: &mut VecDeque<Packet>, progress: &dyn Progress) -> Result<(), TransportError>;

    /// Writes a packet if that can be done without waiting. Only for when no `send` is running. What is left in
    /// `packet` is the caller's to drop, unless it was refused.
    fn try_send(&self, packet: &mut Packet, progress: &dyn Progress) -> Result<TrySend, TransportError>;

    /// Ends `recv` and `send` at once, on whatever thread they are.
    fn close(&self);

    /// When the sockets of the connection were last used.
    fn activity(&self) -> &Arc<LastActivity>;

    /// True if `send` ends by itself when the server reads nothing.
    fn send_is_bounded(&self) -> bool;
}

/// What a transport tells while it writes.
pub(crate) trait Progress: Sync {
    /// These packets are written: flushed to the system, or confirmed by the answer to a POST. It is called before
    /// `recv` can bring an answer to them, and so maybe under a lock of the transport's.
    fn written(&self, written: Written);

    /// A packet that goes ahead of what is left of the batch. It is asked for as often as the server may have been
    /// waited for.
    fn urgent(&self) -> Option<Packet>;
}

/// Packets that were written together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Written {
    pub(crate) traffic: Traffic,
    /// The memory that the outbox counts for them, in bytes. It counts none for pongs, of which it keeps one.
    pub(crate) memory: usize,
}

impl Written {
    pub(crate) fn of(packet: &Packet) -> Self {
        let memory = if matches!(packet, Packet::Pong(_)) { 0 } else { packet.memory() };
        Written { traffic: Traffic::of([packet]), memory }
    }
}

impl Add for Written {
    type Output = Written;

    fn add(self, other: Written) -> Written {
        Written { traffic: self.traffic + other.traffic, memory: self.memory + other.memory }
    }
}

/// What became of a packet given to [`Transport::try_send`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TrySend {
    Sent,
    /// Accepted, but not written in full: `send` must be called, be it with nothing.
    Unflushed,
    /// The packet is as it was.
    Refused,
}

/// Why a transport carries nothing any more.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// This side has closed it.
    Closed,
    /// The server has been silent for too long.
    Silent,
    /// The server said goodbye.
    ClosedByServer(Error),
    /// Nothing can be written any more.
    Unwritable {
        error: Error,
        /// The server may have said something before that, which can still be received.
        last_words: bool,
    },
    /// Anything else.
    Failed(Error),
}

/// Refuses a message above the user's limit.
fn check_size(packet: &Packet, max: usize) -> Result<(), Error> {
    match packet {
        Packet::Text(text) if text.len() > max => Err(too_long(max)),
        Packet::Binary(bytes) if bytes.len() > max => Err(too_long(max)),
        _ => Ok(()),
    }
}

fn too_long(max: usize) -> Error {
    Error::connection(format!(
        "the server sent a message that is too long: the limit, max_message_size or max_frame_size, is {max} bytes"
    ))
}

/// The value of the query parameter `t`: it keeps caches from answering.
fn timestamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:06}", now.as_secs(), now.subsec_micros())
}
