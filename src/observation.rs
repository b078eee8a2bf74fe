//! The view of single packets that tools get, without their contents.

use std::fmt;
use std::sync::Arc;

use crate::protocol::Packet;

/// The direction of a packet, for [`ClientBuilder::on_packet`](crate::ClientBuilder::on_packet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    Sent,
    /// From the server to the client.
    Received,
}

/// The type of a packet in the Engine.IO protocol. A message packet is either [`Text`](Self::Text) or
/// [`Binary`](Self::Binary).
///
/// # Examples
///
/// ```
/// assert_eq!(engineio::PacketKind::Ping.as_str(), "ping");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PacketKind {
    /// The start of a session.
    Open,
    /// The end of a session.
    Close,
    /// The server's check that the client is alive.
    Ping,
    /// The client's answer to a ping.
    Pong,
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// The end of an upgrade.
    Upgrade,
    /// A packet without content, with which the server ends a poll.
    Noop,
}

impl PacketKind {
    /// The name in lower case, such as `ping` and `text`.
    pub fn as_str(self) -> &'static str {
        match self {
            PacketKind::Open => "open",
            PacketKind::Close => "close",
            PacketKind::Ping => "ping",
            PacketKind::Pong => "pong",
            PacketKind::Text => "text",
            PacketKind::Binary => "binary",
            PacketKind::Upgrade => "upgrade",
            PacketKind::Noop => "noop",
        }
    }
}

impl fmt::Display for PacketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind and the size of a packet, for [`ClientBuilder::on_packet`](crate::ClientBuilder::on_packet). The
/// contents are not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PacketInfo {
    /// The type of the packet.
    pub kind: PacketKind,
    /// The encoded size in bytes, counted as in [`Traffic::bytes`](crate::Traffic::bytes): without base64,
    /// TLS, HTTP and websocket framing.
    pub size: usize,
}

impl PacketInfo {
    pub(crate) fn of(packet: &Packet) -> Self {
        let kind = match packet {
            Packet::Open(_) => PacketKind::Open,
            Packet::Close => PacketKind::Close,
            Packet::Ping(_) => PacketKind::Ping,
            Packet::Pong(_) => PacketKind::Pong,
            Packet::Text(_) => PacketKind::Text,
            Packet::Binary(_) => PacketKind::Binary,
            Packet::Upgrade => PacketKind::Upgrade,
            Packet::Noop => PacketKind::Noop,
        };
        PacketInfo { kind, size: packet.frame_len() }
    }
}

type PacketFn = dyn Fn(Direction, &PacketInfo) + Send + Sync;

/// The user's function for packets. Only `client/slot.rs` calls it.
#[derive(Clone)]
pub(crate) struct PacketHook(pub(crate) Arc<PacketFn>);

impl fmt::Debug for PacketHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PacketHook")
    }
}

/// The receiver of the packets of a session.
pub(crate) trait PacketObserver: fmt::Debug + Send + Sync {
    fn packet(&self, direction: Direction, info: &PacketInfo);
}
