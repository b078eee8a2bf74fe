//! The interface between sessions and transports. A session uses the `Transport` trait and knows no
//! implementation.

mod polling;
mod websocket;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Add;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::error::Error;
use crate::net::{LastActivity, TimeLeft};
use crate::protocol::Packet;
use crate::stats::Traffic;

pub(crate) use polling::{Polling, PollingLimits, Refusal};
#[cfg(any(test, fuzz))]
pub(crate) use websocket::fuzz;
pub(crate) use websocket::{CompressionSettings, WebSocket, WebSocketSettings};

/// A transport of Engine.IO packets.
///
/// # Examples
///
/// ```
/// use engineio::{ErrorKind, TransportKind};
///
/// assert_eq!(TransportKind::WebSocket.to_string(), "websocket");
/// assert_eq!("polling".parse(), Ok(TransportKind::Polling));
///
/// // The error of an unknown name becomes an error of this crate.
/// fn parse(names: &str) -> engineio::Result<Vec<TransportKind>> {
///     names.split(',').map(|name| Ok(name.parse()?)).collect()
/// }
/// let error = parse("polling,carrier pigeon").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidOption);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// HTTP long polling.
    Polling,
    /// A websocket connection.
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

/// The error for a text that is not the name of a transport.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a transport; use \"polling\" or \"websocket\"")]
pub struct UnknownTransport {
    name: String,
}

/// Lets `?` convert the error of `"...".parse::<TransportKind>()` into [`Error::InvalidOption`], for programs
/// that read the names of transports from a command line or a configuration.
impl From<UnknownTransport> for Error {
    fn from(error: UnknownTransport) -> Self {
        Error::option("transports", error.to_string())
    }
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

/// The limits of one `recv`, in packets and, roughly, in bytes. Received packets are handed on when a limit
/// is reached, because memory that is reused soon is cheaper than more memory.
const BURST: usize = 256;
const BURST_BYTES: usize = 128 * 1024;

/// A connected transport.
///
/// `recv` and `send` run at the same time on different threads. Neither is called by two threads at once.
pub(crate) trait Transport: Send + Sync {
    fn kind(&self) -> TransportKind;

    /// Blocks until packets have come, and appends them. Fails with [`TransportError::Silent`] if a read
    /// finds nothing and `server` says that there is no time left.
    fn recv(&self, packets: &mut VecDeque<Packet>, server: &Arc<dyn TimeLeft>) -> Result<(), TransportError>;

    /// Appends packets that were received before the transport was closed, and were not handed on. Returns
    /// false if there are none.
    fn recv_rest(&self, packets: &mut VecDeque<Packet>) -> bool;

    /// Blocks until the whole batch is written. After a [`Packet::Close`] nothing more is written, and `recv`
    /// ends soon. An empty batch completes a packet for which `try_send` returned [`TrySend::Unflushed`].
    /// After an error, the batch holds the packets that were not passed to the system.
    ///
    /// The wait has no time limit of its own, because a slow peer is not a dead one. `close` ends it.
    ///
    /// Binary messages that are written, at least in part, end in `spent`: they are the user's, and their
    /// destructors may do anything.
    fn send(
        &self,
        batch: &mut VecDeque<Packet>,
        spent: &mut Vec<Bytes>,
        progress: &dyn Progress,
    ) -> Result<(), TransportError>;

    /// Writes a packet if that is possible without waiting. It must not be called while `send` is running.
    /// The caller drops the rest of `packet`, unless the packet was refused.
    fn try_send(&self, packet: &mut Packet, progress: &dyn Progress) -> Result<TrySend, TransportError>;

    /// Ends `recv` and `send` at once, on whichever threads they run.
    fn close(&self);

    /// The times at which the sockets of the connection were last used.
    fn activity(&self) -> &Arc<LastActivity>;

    /// True if `send` ends by itself when the server stops reading.
    fn send_is_bounded(&self) -> bool;

    /// True if `send` runs code of the user's, or waits for a lock that the user may hold.
    fn send_runs_user_code(&self) -> bool {
        false
    }

    /// The number of written messages that the server's system has not confirmed. The end of the connection
    /// may destroy them.
    fn unconfirmed(&self) -> u64 {
        0
    }
}

/// The callbacks of a transport that is writing.
pub(crate) trait Progress: Sync {
    /// Called when these packets are written: flushed to the system, or confirmed by the answer to a POST.
    /// The call comes before `recv` can return an answer to them, so the transport may hold a lock of its
    /// own.
    fn written(&self, written: Written);

    /// Returns a packet that goes ahead of the rest of the batch. A transport asks after each wait for the
    /// server.
    fn urgent(&self) -> Option<Packet>;

    /// The time at which a request that begins now must be over.
    fn deadline(&self) -> Option<Instant>;
}

/// Packets that were written together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Written {
    pub(crate) traffic: Traffic,
    /// The memory that the outbox counts for these packets, in bytes. It counts none for pongs, of which it
    /// keeps only one.
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

/// The result of [`Transport::try_send`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TrySend {
    Sent,
    /// The packet was accepted, but a part of it is not written. `send` must follow, with an empty batch if
    /// there is no other packet.
    Unflushed,
    /// The packet was not accepted, and is unchanged.
    Refused,
}

/// The reason why a transport does not work any more.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// The client has closed the transport.
    Closed,
    /// The server has been silent for too long.
    Silent,
    /// The server has closed the transport cleanly.
    ClosedByServer(Error),
    /// Nothing can be written any more.
    Unwritable {
        error: Error,
        /// True if the server may have sent packets before that, which can still be received.
        last_words: bool,
    },
    /// Any other failure.
    Failed(Error),
}

/// Returns an error for a message above the user's limit.
fn check_size(packet: &Packet, max: usize) -> Result<(), Error> {
    match packet {
        Packet::Text(text) if text.len() > max => Err(too_long(max)),
        Packet::Binary(bytes) if bytes.len() > max => Err(too_long(max)),
        _ => Ok(()),
    }
}

fn too_long(max: usize) -> Error {
    Error::connection(format!(
        "a message from the server is too long: the limit is {max} bytes (max_message_size or max_frame_size)"
    ))
}

/// The value of the query parameter `t`, which prevents answers from a cache.
fn timestamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:06}", now.as_secs(), now.subsec_micros())
}
