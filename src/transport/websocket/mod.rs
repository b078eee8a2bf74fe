//! The websocket transport: one websocket frame for one packet, both ways at once on one socket.

mod frames;
mod opening;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::event::PollFlags;

use super::{Progress, Transport, TransportError, TransportKind, TrySend, Written};
use crate::guarded::drop_guarded;
use crate::net::{LastActivity, TimeLeft, wait_for};
use crate::protocol::Packet;
use crate::sync::after;

use frames::{Frames, broken, unwritable};

pub(crate) use opening::WebSocketSettings;

/// One websocket frame for one packet, both ways at once on one socket.
///
/// The socket is non-blocking. Its lock is held for a burst of reads or of writes and never in a wait, which
/// is a `poll(2)` on the TCP socket: so one path serves TCP and TLS, whose session two threads cannot use at once.
pub(crate) struct WebSocket {
    tcp: Arc<TcpStream>,
    /// One that goes to whoever waits, within a millisecond. The system's goes to who is awake: a reader in a flood, which
    /// takes it again as soon as it has given it back, and the writer could wait for ever.
    frames: Mutex<Frames>,
    activity: Arc<LastActivity>,
    closed: AtomicBool,
}

impl WebSocket {
    /// As [`Transport::recv`], with a deadline for all of it.
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
            // First what TLS and tungstenite have buffered, which poll cannot see.
            let more = self.frames.lock().read_burst(packets).map_err(|e| self.own(e))?;
            if !packets.is_empty() {
                return Ok(());
            }
            if self.closed.load(Ordering::Acquire) {
                // A closed socket stays readable for what had come before: that may be megabytes of websocket pings.
                return Err(TransportError::Closed);
            }
            let left = left();
            if left.is_zero() {
                return Err(self.own(TransportError::Silent));
            }
            if !more {
                self.wait(PollFlags::IN, Some(after(left)))?;
            }
        }
    }

    /// After `close` every failure is ours.
    fn own(&self, error: TransportError) -> TransportError {
        if self.closed.load(Ordering::Acquire) { TransportError::Closed } else { error }
    }

    /// Waits until the socket is ready, or until the deadline.
    fn wait(&self, flags: PollFlags, deadline: Option<Instant>) -> Result<(), TransportError> {
        match wait_for(&self.tcp, flags, deadline) {
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
        // Frames are read when they are handed on.
        false
    }

    fn send(&self, batch: &mut VecDeque<Packet>, progress: &dyn Progress) -> Result<(), TransportError> {
        loop {
            if !batch.is_empty() {
                // Only then: the last of a batch may be the close.
                progress.urgent().into_iter().for_each(|packet| batch.push_front(packet));
            }
            let mut given = 0;
            let flushed =
                report(progress, self.frames.lock(), |frames| frames.write_burst(batch, &mut given));
            // Behind the lock, as binary messages are the user's.
            batch.drain(..given).for_each(drop_guarded);
            match flushed.map_err(|e| self.own(unwritable(e)))? {
                true if batch.is_empty() => return Ok(()),
                true => {}
                false => self.wait(PollFlags::OUT, None)?,
            }
        }
    }

    fn try_send(&self, packet: &mut Packet, progress: &dyn Progress) -> Result<TrySend, TransportError> {
        let Some(frames) = self.frames.try_lock() else {
            // The reader is at work: leave it to the writer rather than wait.
            return Ok(TrySend::Refused);
        };
        let flushed = report(progress, frames, |frames| frames.write_one(packet));
        match flushed.map_err(|e| self.own(unwritable(e)))? {
            true => Ok(TrySend::Sent),
            false => Ok(TrySend::Unflushed),
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Fails when the server has closed first.
        let _ = self.tcp.shutdown(Shutdown::Both);
    }

    fn activity(&self) -> &Arc<LastActivity> {
        &self.activity
    }

    fn send_is_bounded(&self) -> bool {
        false
    }
}

/// Reports what is written under the lock, so that it is known before the server's answer to it can be read. False if
/// the socket takes no more for now.
fn report(
    progress: &dyn Progress,
    mut frames: MutexGuard<'_, Frames>,
    write: impl FnOnce(&mut Frames) -> Result<Option<Written>, TransportError>,
) -> Result<bool, TransportError> {
    let written = write(&mut frames)?;
    if let Some(written) = written {
        progress.written(written);
    }
    Ok(written.is_some())
}
