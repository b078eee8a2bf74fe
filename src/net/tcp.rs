//! A TCP socket, and the waits for it to become ready.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::waker::Waker;

/// The longest single `poll(2)`. Where the timeout is a 32-bit number of milliseconds, as on Windows and
/// macOS, `poll` fails above 24.8 days.
const LONGEST_POLL: Duration = Duration::from_secs(24 * 60 * 60);

/// The pause of a writer between two polls, if the peer has closed its side and every poll reports that.
const HANG_UP_PAUSE: Duration = Duration::from_millis(50);

/// A TCP socket in non-blocking mode, and whether this side has closed it.
///
/// `shutdown` alone does not end the waits of other threads everywhere: a blocked `WSAPoll` of Windows does
/// not notice it, and macOS refuses it for a socket that is still connecting. Every wait therefore also waits
/// for `waker`.
pub(crate) struct Tcp {
    stream: TcpStream,
    closed: AtomicBool,
    waker: Waker,
}

impl Tcp {
    /// Takes a socket that is in non-blocking mode.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        Ok(Tcp { stream, closed: AtomicBool::new(false), waker: Waker::new()? })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// True if [`close`](Tcp::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes the socket for all threads, and ends their waits.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
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
        let mut fds = self.poll_fds(wanted);
        let in_time = poll_until(&mut fds, deadline)?;
        self.check_open()?;
        match in_time {
            true if is_hung_up(fds[0].revents(), wanted) => self.pause(deadline),
            true => Ok(()),
            false => Err(ErrorKind::TimedOut.into()),
        }
    }

    /// Fails if this side has closed the socket.
    pub(super) fn check_open(&self) -> io::Result<()> {
        match self.is_closed() {
            true => Err(io::Error::new(ErrorKind::ConnectionAborted, "this side has closed the connection")),
            false => Ok(()),
        }
    }

    /// Waits for a short time, because polling would return at once.
    fn pause(&self, deadline: Option<Instant>) -> io::Result<()> {
        let end = Instant::now() + HANG_UP_PAUSE;
        let deadline = deadline.filter(|deadline| *deadline <= end);
        poll_until(&mut [self.waker.poll_fd()], deadline.or(Some(end)))?;
        self.check_open()?;
        if deadline.is_some() { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// What [`poll_until`] needs to wait for this socket among others: the socket itself, and its waker.
    pub(super) fn poll_fds(&self, wanted: PollFlags) -> [PollFd<'_>; 2] {
        [PollFd::new(&self.stream, wanted), self.waker.poll_fd()]
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.stream, f)
    }
}

/// Waits until one of the descriptors is ready, and returns true, or until the deadline, and returns false.
pub(super) fn poll_until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match poll(fds, left.map(timeout).as_ref()) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e.into()),
        }
    }
}

/// The timeout of one poll.
fn timeout(left: Duration) -> Timespec {
    let left = left.min(LONGEST_POLL);
    Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ }
}

/// True if the peer has closed its side, and nothing more: the socket is not ready for a writer, and polling
/// it would return at once, again and again. Windows reports this.
fn is_hung_up(ready: PollFlags, wanted: PollFlags) -> bool {
    ready.contains(PollFlags::HUP)
        && !wanted.contains(PollFlags::IN)
        && !ready.intersects(wanted | PollFlags::ERR | PollFlags::NVAL)
}

#[cfg(test)]
mod tests;
