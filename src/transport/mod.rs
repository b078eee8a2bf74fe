//! How packets travel. The session knows this trait and none of the transports.

mod polling;
mod websocket;

#[cfg(test)]
pub(crate) mod fake;

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::Error;
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

/// How many packets one `recv` takes at most before it hands on what they brought, and about how many bytes: memory
/// that is used again at once is cheaper than more of it.
const BURST: usize = 256;
const BURST_BYTES: usize = 128 * 1024;

pub(crate) type Urgent<'a> = &'a dyn Fn() -> Option<Packet>;

/// A connected transport.
///
/// `recv` and `send` run at the same time on different threads; neither is called by two threads at once.
pub(crate) trait Transport: Send + Sync {
    fn kind(&self) -> TransportKind;

    /// Blocks until packets have come, and appends them. A wait for the next byte is at most `silence` long.
    fn recv(&self, packets: &mut VecDeque<Packet>, silence: Duration) -> Result<(), TransportError>;

    /// Blocks until the whole batch is written, and leaves it empty. After a [`Packet::Close`] nothing more is
    /// written, and `recv` ends soon. An empty batch writes what [`TrySend::Unflushed`] left.
    ///
    /// `urgent` is asked, as often as the server may have been waited for, for a packet that goes ahead of what is left
    /// of the batch.
    ///
    /// The wait has no bound of its own: a slow peer is not a dead one. `close` ends it.
    fn send(&self, batch: &mut VecDeque<Packet>, urgent: Urgent<'_>) -> Result<(), SendError>;

    /// Writes a packet if that can be done without waiting. Only for when no `send` is running.
    fn try_send(&self, packet: Packet) -> Result<TrySend, TransportError>;

    /// Ends `recv` and `send` at once, on whatever thread they are.
    fn close(&self);

    /// When the last byte came.
    fn heard(&self) -> Instant;

    /// When the last byte went out; `None` if `send` has a bound of its own.
    fn written(&self) -> Option<Instant>;
}

/// What became of a packet given to [`Transport::try_send`].
#[derive(Debug)]
pub(crate) enum TrySend {
    Sent,
    /// Accepted, but not written in full: `send` must be called, be it with nothing.
    Unflushed,
    Refused(Packet),
}

/// A batch was not written in full.
#[derive(Debug)]
pub(crate) struct SendError {
    pub(crate) cause: TransportError,
    /// What was not written, or is not known to have been.
    pub(crate) lost: Traffic,
}

/// Why a transport carries nothing any more.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// This side has closed it.
    Closed,
    /// No byte came in the time given.
    Silent,
    /// The server said goodbye.
    ClosedByServer(Error),
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
