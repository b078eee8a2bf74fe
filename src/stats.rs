//! The counts of a client's messages and bytes.

use std::ops::Add;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::protocol::Packet;
use crate::sync::RelaxedU64;

/// The counts of a client, over all of its connections. [`Client::stats`](crate::Client::stats) returns them.
///
/// # Examples
///
/// ```
/// let stats = engineio::Client::new().stats();
/// assert_eq!((stats.sent.messages, stats.pings), (0, 0));
/// if stats.last_ping.is_some_and(|age| age.as_secs() > 60) {
///     println!("no ping for a minute, after {}", stats.pings);
/// }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Traffic to the server that was written.
    pub sent: Traffic,
    /// Traffic from the server.
    pub received: Traffic,
    /// The memory in bytes of the packets that wait to be written; 0 without a connection.
    pub outbox_bytes: usize,
    /// The memory in bytes of the messages that wait for a handler; 0 without a connection.
    pub inbox_bytes: usize,
    /// The number of pings that the server has sent, over all connections. Only packets of the Engine.IO
    /// protocol count; the pings of the websocket protocol do not.
    pub pings: u64,
    /// The time since the server's last ping. `None` without a connection, and before the connection's first
    /// ping. On a healthy connection, this time stays below the handshake's
    /// [ping interval](crate::Handshake::ping_interval) plus the delay of the network.
    pub last_ping: Option<Duration>,
    /// The number of messages that `send` accepted but that are not known to have been written before their
    /// connection ended. The count of a connection is added before its disconnect handler runs. On Linux and
    /// Android, if `disconnect` reaches its time limit, messages that were written, but not confirmed by the
    /// server's system, are in this count and in [`sent`](Self::sent).
    pub unsent: u64,
    /// The number of connections that the reconnection policy has made after a lost one. Repetitions of a
    /// first `connect` do not count.
    pub reconnections: u64,
}

/// The traffic in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// The number of messages.
    pub messages: u64,
    /// The number of packets: messages, pings, pongs, NOOPs, and the packet that closes the session.
    pub packets: u64,
    /// The encoded size of the packets in bytes, without base64, TLS, HTTP and websocket framing.
    pub bytes: u64,
}

impl Traffic {
    pub(crate) fn of<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Self {
        packets.into_iter().fold(Traffic::default(), |sum, packet| Traffic {
            messages: sum.messages + u64::from(packet.is_message()),
            packets: sum.packets + 1,
            bytes: sum.bytes + packet.frame_len() as u64,
        })
    }
}

impl Add for Traffic {
    type Output = Traffic;

    fn add(self, other: Traffic) -> Traffic {
        Traffic {
            messages: self.messages + other.messages,
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// The counters behind [`Stats`]. Each count is exact, but a reader may see counts of different instants.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    pub(crate) pings: RelaxedU64,
    pub(crate) unsent: RelaxedU64,
    pub(crate) reconnections: RelaxedU64,
}

/// The counters for one direction.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    messages: RelaxedU64,
    packets: RelaxedU64,
    bytes: RelaxedU64,
}

impl Counter {
    pub(crate) fn add(&self, traffic: Traffic) {
        self.messages.fetch_add(traffic.messages, Ordering::Relaxed);
        self.packets.fetch_add(traffic.packets, Ordering::Relaxed);
        self.bytes.fetch_add(traffic.bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Traffic {
        Traffic {
            messages: self.messages.load(Ordering::Relaxed),
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
