//! A TCP socket, and the waits for it to become ready.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::waker::{Waker, Watch};

/// The longest single `poll(2)`. Where the timeout is a 32-bit number of milliseconds, as on Windows and
/// macOS, `poll` fails above 24.8 days.
const LONGEST_POLL: Duration = Duration::from_secs(24 * 60 * 60);

/// The pause of a writer between two polls when the peer has closed its side, because every poll then returns
/// at once.
const HANG_UP_PAUSE: Duration = Duration::from_millis(50);

/// A TCP socket in non-blocking mode, and whether this side has closed it.
///
/// `shutdown` alone does not end the waits of other threads on every system: on Windows, a blocked `WSAPoll`
/// does not notice it, and macOS refuses it for a socket that is still connecting. Therefore `waker` ends the
/// waits.
pub(crate) struct Tcp {
    stream: TcpStream,
    /// Ends the waits when this side closes the socket, and so tells whether it has.
    waker: Waker,
}

impl Tcp {
    /// Takes a socket that is in non-blocking mode.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Tcp { stream, waker: Waker::default() }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// True if [`close`](Tcp::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.waker.is_woken()
    }

    /// Closes the socket for all threads, and ends their waits.
    pub(crate) fn close(&self) {
        self.waker.wake();
        // This fails if the peer has closed the connection first.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Tells the peer that nothing more will be written. Reading goes on.
    pub(crate) fn finish(&self) {
        // This fails if the peer has closed the connection first.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits until the socket may be ready, or is broken. The next read or write tells which of the two.
    ///
    /// # Errors
    ///
    /// `TimedOut` when `deadline` passes first, and `ConnectionAborted` when this side has closed the socket.
    pub(crate) fn wait(&self, wanted: PollFlags, deadline: Option<Instant>) -> io::Result<()> {
        loop {
            let watch = self.watch()?;
            let mut fds = watch.fds(&self.stream, wanted);
            poll_until(&mut fds, watch.until(deadline))?;
            self.check_open()?;
            let ready = fds[0].revents();
            if is_hung_up(ready, wanted) {
                return pause(deadline);
            }
            if !ready.is_empty() {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(ErrorKind::TimedOut.into());
            }
            // This socket is open, so the wake was for another socket of the group.
            if !fds[1].revents().is_empty() {
                watch.retire_group();
            }
        }
    }

    /// Begins a wait for this socket. Fails if this side has closed the socket.
    pub(super) fn watch(&self) -> io::Result<Watch<'_>> {
        self.waker.watch().ok_or_else(closed_error)
    }

    /// Fails if this side has closed the socket.
    pub(super) fn check_open(&self) -> io::Result<()> {
        if self.is_closed() { Err(closed_error()) } else { Ok(()) }
    }
}

fn closed_error() -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, "this side has closed the connection")
}

/// Sleeps for a short time, because another poll would return at once.
fn pause(deadline: Option<Instant>) -> io::Result<()> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    thread::sleep(left.map_or(HANG_UP_PAUSE, |left| left.min(HANG_UP_PAUSE)));
    match left {
        Some(left) if left <= HANG_UP_PAUSE => Err(ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.stream, f)
    }
}

/// Waits until one of the descriptors is ready, or until the deadline.
pub(super) fn poll_until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match poll(fds, left.map(timeout).as_ref()) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Ok(()),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

/// The timeout of one poll.
fn timeout(left: Duration) -> Timespec {
    let left = left.min(LONGEST_POLL);
    Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ }
}

/// True if the poll of a writer reports only that the peer has closed its side. The writer still cannot
/// write, and every further poll would return at once. Windows reports this.
fn is_hung_up(ready: PollFlags, wanted: PollFlags) -> bool {
    ready.contains(PollFlags::HUP)
        && !wanted.contains(PollFlags::IN)
        && !ready.intersects(wanted | PollFlags::ERR | PollFlags::NVAL)
}

#[cfg(test)]
mod tests;
