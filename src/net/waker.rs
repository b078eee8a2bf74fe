//! A descriptor that wakes the threads that wait in `poll(2)`.

use std::io;

use rustix::event::{PollFd, PollFlags};

/// A descriptor that becomes readable when [`wake`](Waker::wake) is called, and stays so.
pub(super) struct Waker(handle::Handle);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        handle::new().map(Waker)
    }

    /// Wakes every thread that waits for this descriptor, now or later.
    pub(super) fn wake(&self) {
        handle::make_readable(&self.0);
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.0, PollFlags::IN)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod handle {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::event::{EventfdFlags, eventfd};

    pub(super) type Handle = OwnedFd;

    pub(super) fn new() -> io::Result<Handle> {
        Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
    }

    pub(super) fn make_readable(handle: &Handle) {
        // This fails only if the counter is full, and then the descriptor is readable.
        let _ = rustix::io::write(handle, &1_u64.to_ne_bytes());
    }
}

/// A UDP socket that is connected to itself. Windows can poll nothing but sockets.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod loopback {
    use std::io;
    use std::net::{Ipv4Addr, UdpSocket};

    pub(super) type Handle = UdpSocket;

    pub(super) fn new() -> io::Result<Handle> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // From here on the system drops what other sockets send to this one.
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        while socket.recv(&mut [0]).is_ok() {}
        Ok(socket)
    }

    pub(super) fn make_readable(handle: &Handle) {
        // The datagram stays in the socket, because nobody reads it. If its buffer is full, the socket is
        // readable already.
        let _ = handle.send(&[1]);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use loopback as handle;

#[cfg(test)]
mod tests {
    use rustix::event::{Timespec, poll};

    use super::*;

    /// Returns the number of readable descriptors, without waiting.
    fn readable(fd: PollFd<'_>) -> usize {
        poll(&mut [fd], Some(&Timespec::default())).unwrap()
    }

    #[test]
    fn a_waker_is_readable_from_its_first_wake_on() {
        let waker = Waker::new().unwrap();
        assert_eq!(readable(waker.poll_fd()), 0);
        for _ in 0..3 {
            waker.wake();
            assert_eq!(readable(waker.poll_fd()), 1);
        }
    }

    /// The waker of other systems works on Linux too.
    #[test]
    fn a_socket_that_is_connected_to_itself_wakes_and_hears_nobody_else() {
        let socket = loopback::new().unwrap();
        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        // Some systems refuse this, and others drop the datagram.
        let _ = stranger.send_to(&[1], socket.local_addr().unwrap());
        assert_eq!(readable(PollFd::new(&socket, PollFlags::IN)), 0);
        for _ in 0..3 {
            loopback::make_readable(&socket);
            assert_eq!(readable(PollFd::new(&socket, PollFlags::IN)), 1);
        }
    }
}
