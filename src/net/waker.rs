//! The end of the waits for a socket, where `shutdown` alone does not end them.

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use loopback::{FDS, Waker};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use none::{FDS, Waker};

/// `shutdown` ends every wait on Linux, also for a socket that is still connecting. A descriptor for each
/// connection would only cost time, and half of the process's descriptors.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod none {
    use std::io;

    use rustix::event::PollFd;

    pub(in crate::net) struct Waker;

    /// The number of descriptors of a wait.
    pub(in crate::net) const FDS: usize = 1;

    impl Waker {
        pub(in crate::net) fn new() -> io::Result<Self> {
            Ok(Waker)
        }

        pub(in crate::net) fn wake(&self) {}

        pub(in crate::net) fn beside<'a>(&'a self, socket: PollFd<'a>) -> [PollFd<'a>; FDS] {
            [socket]
        }

        pub(in crate::net) fn alone(&self) -> [PollFd<'_>; FDS - 1] {
            []
        }
    }
}

/// A UDP socket that is connected to itself. Windows can poll nothing but sockets.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod loopback {
    use std::io;
    use std::net::{Ipv4Addr, UdpSocket};

    use rustix::event::{PollFd, PollFlags};

    /// A descriptor that becomes readable when [`wake`](Waker::wake) is called, and stays so.
    pub(in crate::net) struct Waker(pub(super) UdpSocket);

    /// The number of descriptors of a wait.
    #[cfg_attr(test, allow(dead_code, reason = "Linux has another waker"))]
    pub(in crate::net) const FDS: usize = 2;

    impl Waker {
        pub(in crate::net) fn new() -> io::Result<Self> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            // From here on the system drops what other sockets send to this one.
            socket.connect(socket.local_addr()?)?;
            socket.set_nonblocking(true)?;
            while socket.recv(&mut [0]).is_ok() {}
            Ok(Waker(socket))
        }

        /// Wakes every thread that waits for this descriptor, now or later.
        pub(in crate::net) fn wake(&self) {
            // The datagram stays in the socket, because nobody reads it. If its buffer is full, the socket is
            // readable already.
            let _ = self.0.send(&[1]);
        }

        /// The descriptors of a wait for a socket.
        pub(in crate::net) fn beside<'a>(&'a self, socket: PollFd<'a>) -> [PollFd<'a>; FDS] {
            let [waker] = self.alone();
            [socket, waker]
        }

        /// The descriptors of a wait for nothing but the waker.
        pub(in crate::net) fn alone(&self) -> [PollFd<'_>; FDS - 1] {
            [PollFd::new(&self.0, PollFlags::IN)]
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::loopback::Waker;

    /// Returns the number of readable descriptors, without waiting.
    fn readable(waker: &Waker) -> usize {
        poll(&mut waker.alone(), Some(&Timespec::default())).unwrap()
    }

    /// The waker of other systems works on Linux too.
    #[test]
    fn a_socket_that_is_connected_to_itself_wakes_and_hears_nobody_else() {
        let waker = Waker::new().unwrap();
        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        // Some systems refuse this, and others drop the datagram.
        let _ = stranger.send_to(&[1], waker.0.local_addr().unwrap());
        assert_eq!(readable(&waker), 0);
        for _ in 0..3 {
            waker.wake();
            assert_eq!(readable(&waker), 1);
        }
        let mut fds = waker.beside(PollFd::new(&stranger, PollFlags::IN));
        assert_eq!(poll(&mut fds, Some(&Timespec::default())).unwrap(), 1);
    }
}
