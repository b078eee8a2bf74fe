//! The websocket transport: each packet is one websocket frame, and both directions share one socket.

mod close;
mod deflate;
mod extension;
mod frames;
#[cfg(any(test, fuzz))]
#[cfg_attr(test, allow(unreachable_pub, reason = "the fuzz package reaches it"))]
pub(crate) mod fuzz;
mod input;
mod mask;
mod opening;
mod reader;
#[cfg(test)]
mod tests;
mod unconfirmed;
mod writer;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use rustix::event::PollFlags;

use super::{Progress, Transport, TransportError, TransportKind, TrySend, Written};
use crate::net::{LastActivity, Tcp, TimeLeft, unacknowledged};
use crate::protocol::Packet;
use crate::sync::after;

use frames::{Burst, Frames, Read, broken, unwritable};

pub(crate) use extension::CompressionSettings;
pub(crate) use opening::WebSocketSettings;

/// The websocket transport. Each packet is one websocket frame, and both directions share one socket.
///
/// The socket is non-blocking. Its lock is held for a burst of reads or writes and never during a wait, which
/// is a `poll(2)` on the TCP socket. This works for TLS as well as for TCP: two threads cannot use a TLS
/// session at the same time.
pub(crate) struct WebSocket {
    tcp: Arc<Tcp>,
    /// The socket under a fair lock, which is handed to a waiting thread within a millisecond. With the
    /// system's lock, a reader that is flooded with messages could take the lock again each time, and the
    /// writer could wait forever.
    frames: Mutex<Frames>,
    activity: Arc<LastActivity>,
}

impl WebSocket {
    /// Receives like [`Transport::recv`], but until a deadline.
    pub(crate) fn recv_by(
        &self,
        packets: &mut VecDeque<Packet>,
        deadline: Instant,
    ) -> Result<(), TransportError> {
        self.recv_while(packets, || deadline.saturating_duration_since(Instant::now()))
    }

    fn recv_while(
        &self,
        packets: &mut VecDeque<Packet>,
        left: impl Fn() -> Duration,
    ) -> Result<(), TransportError> {
        loop {
            // The buffers come first, because poll cannot see them.
            let Read { more, owes } = self.frames.lock().read_burst(packets).map_err(|e| self.own(e))?;
            if !packets.is_empty() {
                return Ok(());
            }
            if self.tcp.is_closed() {
                // A closed socket stays readable for bytes that came before, which may be megabytes of
                // websocket pings.
                return Err(TransportError::Closed);
            }
            let left = left();
            if left.is_zero() {
                return Err(self.own(TransportError::Silent));
            }
            if !more {
                let flags = if owes { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
                self.wait(flags, Some(after(left)))?;
            }
        }
    }

    fn send_all(
        &self,
        batch: &mut VecDeque<Packet>,
        spent: &mut Vec<Bytes>,
        progress: &dyn Progress,
    ) -> Result<(), TransportError> {
        let mut rest = false;
        loop {
            if rest || !batch.is_empty() {
                // An empty batch gets no urgent packet, because the last packet of a batch may have been the
                // close.
                progress.urgent().into_iter().for_each(|packet| batch.push_front(packet));
            }
            let flushed = report(progress, self.frames.lock(), |frames| {
                let burst = frames.write_burst(batch, spent);
                rest = frames.is_writing();
                burst
            });
            match flushed.map_err(|e| self.own(unwritable(e)))? {
                true if batch.is_empty() && !rest => return Ok(()),
                true => {}
                false => self.wait(PollFlags::OUT, None)?,
            }
        }
    }

    /// Replaces an error that follows from this side's `close`.
    fn own(&self, error: TransportError) -> TransportError {
        if self.tcp.is_closed() { TransportError::Closed } else { error }
    }

    /// Waits until the socket is ready, or until the deadline.
    fn wait(&self, flags: PollFlags, deadline: Option<Instant>) -> Result<(), TransportError> {
        match self.tcp.wait(flags, deadline) {
            Err(e) if e.kind() != ErrorKind::TimedOut => Err(self.own(broken(e))),
            _ => Ok(()),
        }
    }
}

impl Transport for WebSocket {
    fn kind(&self) -> TransportKind {
        TransportKind::WebSocket
    }

    fn recv(&self, packets: &mut VecDeque<Packet>, server: &Arc<dyn TimeLeft>) -> Result<(), TransportError> {
        self.recv_while(packets, || server.time_left())
    }

    fn recv_rest(&self, _: &mut VecDeque<Packet>) -> bool {
        // A websocket does not keep packets back: they are handed on as they are read.
        false
    }

    fn send(
        &self,
        batch: &mut VecDeque<Packet>,
        spent: &mut Vec<Bytes>,
        progress: &dyn Progress,
    ) -> Result<(), TransportError> {
        let sent = self.send_all(batch, spent, progress);
        if sent.is_err() {
            // A message that is written only in part was not passed to the system.
            spent.extend(self.frames.lock().take_current().and_then(Packet::into_binary));
        }
        sent
    }

    fn try_send(&self, packet: &mut Packet, progress: &dyn Progress) -> Result<TrySend, TransportError> {
        let Some(frames) = self.frames.try_lock() else {
            // The reader has the lock. The writer thread waits for it, not this thread.
            return Ok(TrySend::Refused);
        };
        if frames.is_slow(packet) {
            return Ok(TrySend::Refused);
        }
        let flushed = report(progress, frames, |frames| frames.write_one(packet));
        match flushed.map_err(|e| self.own(unwritable(e)))? {
            true => Ok(TrySend::Sent),
            false => Ok(TrySend::Unflushed),
        }
    }

    fn close(&self) {
        self.tcp.close();
    }

    fn activity(&self) -> &Arc<LastActivity> {
        &self.activity
    }

    fn send_is_bounded(&self) -> bool {
        false
    }

    fn unconfirmed(&self) -> u64 {
        match unacknowledged(self.tcp.stream()) {
            None | Some(0) => 0,
            Some(bytes) => self.frames.lock().unconfirmed(bytes),
        }
    }
}

/// Writes, and reports the written packets under the lock, before the server's answer to them can be read.
/// Returns false if the socket takes no more for now.
fn report(
    progress: &dyn Progress,
    mut frames: MutexGuard<'_, Frames>,
    write: impl FnOnce(&mut Frames) -> Result<Burst, TransportError>,
) -> Result<bool, TransportError> {
    match write(&mut frames)? {
        Burst::Blocked => Ok(false),
        Burst::Flushed(written) => {
            if written != Written::default() {
                progress.written(written);
            }
            Ok(true)
        }
    }
}
