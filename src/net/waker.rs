//! Lets another thread end the waits for a socket.

use std::net::TcpStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// The number of shares at which a descriptor gets no more sockets. A socket has a share, and each of its
/// waits has another. The number is small because a wake makes all of these waits check their sockets.
const SHARES: usize = 32;

/// The longest single wait when the process has no descriptor left for the group. The wait is repeated, so a
/// wake is noticed up to this much later.
const WITHOUT_DESCRIPTOR: Duration = Duration::from_secs(1);

/// Ends the waits for one socket.
///
/// The waits also poll a descriptor, which becomes readable to end them. The sockets of a process share these
/// descriptors in groups: with one for each socket, a process could have only half as many connections.
///
/// Lock order: `state`, then [`Groups`].
#[derive(Default)]
pub(super) struct Waker {
    /// Changes only under the lock of `state`.
    woken: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of waits that are in progress.
    waits: usize,
    /// The group of the last wait. It may have been woken since. A wait that still polls an older group has
    /// been ended by the wake of that group.
    group: Option<Arc<Group>>,
}

impl Waker {
    /// Ends all waits, and prevents later ones.
    pub(super) fn wake(&self) {
        let mut state = lock(&self.state);
        self.woken.store(true, Ordering::Release);
        // Without a wait for this socket, the waits for the other sockets of the group need not end.
        if let Some(group) = state.group.take().filter(|_| state.waits > 0) {
            group.wake();
        }
    }

    /// True if [`wake`](Self::wake) was called.
    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Begins a wait, which lasts until the result is dropped. Returns `None` after [`wake`](Self::wake).
    pub(super) fn watch(&self) -> Option<Watch<'_>> {
        let mut state = lock(&self.state);
        if self.is_woken() {
            return None;
        }
        if state.group.as_ref().is_none_or(|group| group.is_woken()) {
            state.group = GROUPS.join();
        }
        state.waits += 1;
        Some(Watch { waker: self, group: state.group.clone() })
    }
}

/// A wait for a socket.
pub(super) struct Watch<'a> {
    waker: &'a Waker,
    group: Option<Arc<Group>>,
}

impl Watch<'_> {
    /// The descriptors to poll: the socket, and the group's descriptor, which ends the wait. It also becomes
    /// readable when the waits for another socket of the group are ended.
    pub(super) fn fds<'a>(&'a self, socket: &'a TcpStream, wanted: PollFlags) -> [PollFd<'a>; 2] {
        let end = match &self.group {
            Some(group) => PollFd::new(&group.handle, PollFlags::IN),
            None => PollFd::new(socket, PollFlags::empty()),
        };
        [PollFd::new(socket, wanted), end]
    }

    /// Retires the group, whose descriptor was found readable and stays so. With this group, the next wait
    /// for any of its sockets would return at once.
    pub(super) fn retire_group(&self) {
        if let Some(group) = &self.group {
            group.woken.store(true, Ordering::Release);
        }
    }

    /// The time at which a single poll has to end.
    pub(super) fn until(&self, deadline: Option<Instant>) -> Option<Instant> {
        match self.group {
            Some(_) => deadline,
            None => {
                let end = Instant::now() + WITHOUT_DESCRIPTOR;
                Some(deadline.map_or(end, |deadline| deadline.min(end)))
            }
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        lock(&self.waker.state).waits -= 1;
    }
}

/// A descriptor for several sockets. It becomes readable once, and is then retired.
struct Group {
    handle: handle::Handle,
    /// Set when the group is retired. No socket joins it any more, and its sockets move to another one.
    woken: AtomicBool,
}

impl Group {
    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        handle::make_readable(&self.handle);
    }

    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }
}

/// The group that the next socket joins. A group's descriptor is closed with the last share of it.
struct Groups(Mutex<Weak<Group>>);

static GROUPS: Groups = Groups(Mutex::new(Weak::new()));

impl Groups {
    /// Returns a group that has not been woken, or `None` if there is no descriptor for one.
    fn join(&self) -> Option<Arc<Group>> {
        let mut next = lock(&self.0);
        let current = next.upgrade().filter(|group| !group.is_woken());
        if let Some(group) = current.as_ref().filter(|group| Arc::strong_count(group) <= SHARES) {
            return Some(group.clone());
        }
        match handle::new() {
            Ok(handle) => {
                let group = Arc::new(Group { handle, woken: AtomicBool::new(false) });
                *next = Arc::downgrade(&group);
                Some(group)
            }
            // A crowded group is better than none.
            Err(_) => current,
        }
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
        // This fails only if the counter is full, and the descriptor is readable then.
        let _ = rustix::io::write(handle, &1_u64.to_ne_bytes());
    }
}

/// A UDP socket that is connected to itself, because Windows can poll nothing but sockets.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod loopback {
    use std::io;
    use std::net::{Ipv4Addr, UdpSocket};

    pub(super) type Handle = UdpSocket;

    pub(super) fn new() -> io::Result<Handle> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // From here on, the system drops datagrams from other sockets.
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        // Datagrams that arrived before would make the socket readable.
        while socket.recv(&mut [0]).is_ok() {}
        Ok(socket)
    }

    pub(super) fn make_readable(handle: &Handle) {
        // Nobody reads the datagram, so the socket stays readable. If this fails because the socket's buffer
        // is full, the socket is readable already.
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

    fn is_over(watch: &Watch<'_>) -> bool {
        watch.group.as_ref().is_some_and(|group| readable(PollFd::new(&group.handle, PollFlags::IN)) == 1)
    }

    #[test]
    fn a_wake_ends_the_waits_before_and_after_it() {
        let waker = Waker::default();
        let watches = [waker.watch().unwrap(), waker.watch().unwrap()];
        waker.wake();
        waker.wake();
        assert!(watches.iter().all(is_over));
        assert!(waker.watch().is_none());
    }

    #[test]
    fn sockets_share_their_descriptors() {
        let groups = Groups(Mutex::default());
        let mut joined: Vec<_> = (0..SHARES * 10).map(|_| groups.join().unwrap()).collect();
        joined.dedup_by(|a, b| Arc::ptr_eq(a, b));
        assert_eq!(joined.len(), 10);
        let last = joined.pop().unwrap();
        last.wake();
        assert!(!Arc::ptr_eq(&last, &groups.join().unwrap()), "a group is woken only once");
    }

    #[test]
    fn a_socket_that_nobody_waits_for_wakes_nobody() {
        let waker = Waker::default();
        let watch = waker.watch().unwrap();
        let group = watch.group.clone().unwrap();
        drop(watch);
        waker.wake();
        // The group itself is not checked, because another test may have woken it.
        assert!(waker.watch().is_none());
        assert_eq!(lock(&waker.state).waits, 0);
        drop(group);
    }

    #[test]
    fn a_socket_moves_to_another_group_after_a_wake() {
        let waker = Waker::default();
        let watch = waker.watch().unwrap();
        watch.group.as_ref().unwrap().wake();
        assert!(is_over(&watch));
        drop(watch);
        // Another test may wake the next group too.
        assert!((0..1000).any(|_| !is_over(&waker.watch().unwrap())));
    }

    #[test]
    fn without_a_descriptor_waits_are_short() {
        let waker = Waker::default();
        let watch = Watch { waker: &waker, group: None };
        lock(&waker.state).waits += 1;
        let latest = Instant::now() + WITHOUT_DESCRIPTOR * 2;
        assert!(watch.until(None).is_some_and(|until| until < latest));
        assert!(watch.until(Some(latest)).is_some_and(|until| until < latest));
        let now = Instant::now();
        assert_eq!(watch.until(Some(now)), Some(now));
    }

    /// The handle of other systems works on Linux too.
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
