use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::protocol::Packet;

/// What a client has done so far, over all of its connections: see [`Client::stats`](crate::Client::stats).
///
/// # Examples
///
/// ```
/// let stats = engineio::Client::new().stats();
/// assert_eq!(stats.sent.messages, 0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// What was written to the server.
    pub sent: Traffic,
    /// What the server sent.
    pub received: Traffic,
    /// What waits to be written now, in bytes of memory; 0 without a connection.
    pub outbox_bytes: usize,
    /// What waits for a handler now, in bytes of memory; 0 without a connection.
    pub inbox_bytes: usize,
    /// How long ago the server's last ping came; `None` before the first one of a connection, or without one.
    pub last_ping: Option<Duration>,
    /// Messages that were accepted and not written before their connection ended.
    pub unsent: u64,
    /// How often the reconnection policy has connected again.
    pub reconnections: u64,
}

/// What went one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Messages and what keeps the session going: pings, pongs, NOOPs.
    pub packets: u64,
    /// The packets' encoded size, without base64, TLS, HTTP and websocket framing.
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

/// The counters behind [`Stats`]. Each is right by itself; together they are not one instant's.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    pub(crate) unsent: AtomicU64,
    pub(crate) reconnections: AtomicU64,
}

/// One way's.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    messages: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
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
