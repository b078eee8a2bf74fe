//! Connection attempts at several addresses, of which the first one that succeeds counts ("Happy Eyeballs",
//! RFC 8305, section 5).

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, connect};

use super::{Register, Waiter};
use crate::error::Error;
use crate::net::TimeLeft;
use crate::net::tcp::{Tcp, poll_until};
use crate::sync::after;

/// The head start of an attempt before the next one ("Connection Attempt Delay"; RFC 8305, section 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// The reason why no address could be connected to.
#[derive(Debug)]
pub(super) enum Failure {
    /// The error of the last attempt; `None` without any address.
    Refused(Option<io::Error>),
    /// The client was closed.
    Closed(Error),
}

/// The attempts at the addresses of one host.
struct Race<'a> {
    waiting: VecDeque<SocketAddr>,
    /// The address of this machine that the attempts come from.
    local: Option<IpAddr>,
    in_flight: Vec<(Arc<Tcp>, SocketAddr)>,
    /// The time at which the next attempt starts, however the others go.
    next_start: Instant,
    last_error: Option<io::Error>,
    register: Register<'a>,
}

/// Connects to the first of the addresses that answers, while there is time. Every attempt can be
/// interrupted. The connection comes from the `local` address, which is of the same family as all addresses.
pub(super) fn race(
    addresses: Vec<SocketAddr>,
    local: Option<IpAddr>,
    time: &dyn TimeLeft,
    register: Register<'_>,
) -> Result<(Arc<Tcp>, SocketAddr), Failure> {
    let mut race = Race {
        waiting: addresses.into(),
        local,
        in_flight: Vec::new(),
        next_start: Instant::now(),
        last_error: None,
        register,
    };
    loop {
        race.start_due()?;
        if race.in_flight.is_empty() {
            return Err(Failure::Refused(race.last_error));
        }
        let deadline = after(time.time_left());
        let until = if race.waiting.is_empty() { deadline } else { deadline.min(race.next_start) };
        let ready = race.wait(until).map_err(|e| Failure::Refused(Some(e)))?;
        if let Some(winner) = race.finish(&ready) {
            return Ok(winner);
        }
        if time.time_left().is_zero() {
            return Err(Failure::Refused(Some(ErrorKind::TimedOut.into())));
        }
    }
}

impl Race<'_> {
    /// Starts the attempts that are due: one per head start, and one at once for each that has failed.
    fn start_due(&mut self) -> Result<(), Failure> {
        while self.in_flight.is_empty() || Instant::now() >= self.next_start {
            let Some(address) = self.waiting.pop_front() else { break };
            match start(address, self.local) {
                Ok(tcp) => {
                    let tcp = Arc::new(tcp);
                    (self.register)(Waiter::Connect(Arc::downgrade(&tcp))).map_err(Failure::Closed)?;
                    self.in_flight.push((tcp, address));
                    self.next_start = Instant::now() + HEAD_START;
                }
                Err(e) => self.last_error = Some(e),
            }
        }
        Ok(())
    }

    /// Waits until attempts are over or the time has come. Returns whether each attempt is over.
    fn wait(&self, until: Instant) -> io::Result<Vec<bool>> {
        let attempts = || self.in_flight.iter().map(|(tcp, _)| tcp);
        // A connection to this machine is often made at once, and then needs no wait.
        let made: Vec<_> = attempts().map(|tcp| is_made(tcp)).collect();
        if made.contains(&true) {
            return Ok(made);
        }
        let watches: Result<Vec<_>, _> = attempts().map(|tcp| tcp.watch()).collect();
        // An attempt whose socket was closed is over.
        let Ok(watches) = watches else { return Ok(attempts().map(|tcp| tcp.is_closed()).collect()) };
        let sockets = attempts().map(|tcp| tcp.stream()).zip(&watches);
        let mut fds: Vec<_> = sockets.flat_map(|(socket, watch)| watch.fds(socket, PollFlags::OUT)).collect();
        let until = watches.iter().filter_map(|watch| watch.until(Some(until))).min();
        poll_until(&mut fds, until)?;
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let mut over = Vec::new();
        for ((tcp, watch), fds) in attempts().zip(&watches).zip(fds.chunks(2)) {
            if is_ready(&fds[1]) {
                watch.retire_group();
            }
            over.push(tcp.is_closed() || is_ready(&fds[0]));
        }
        Ok(over)
    }

    /// Takes out the attempts that are over, and returns the first one that has succeeded.
    fn finish(&mut self, ready: &[bool]) -> Option<(Arc<Tcp>, SocketAddr)> {
        let mut ready = ready.iter();
        let (over, in_flight) =
            self.in_flight.drain(..).partition(|_| ready.next().copied().unwrap_or_default());
        self.in_flight = in_flight;
        for (tcp, address) in over {
            match outcome(&tcp) {
                Ok(()) => return Some((tcp, address)),
                Err(e) => {
                    self.last_error = Some(e);
                    self.next_start = Instant::now();
                }
            }
        }
        None
    }
}

/// Starts a connection. Its socket becomes writable when the connection is made or has failed.
fn start(address: SocketAddr, local: Option<IpAddr>) -> io::Result<Tcp> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let tcp = socket(family)?;
    if let Some(local) = local {
        bind(&tcp, &SocketAddr::new(local, 0))?;
    }
    match connect(&tcp, &address) {
        // Windows says `WOULDBLOCK`. After a signal the attempt goes on as well.
        Ok(()) | Err(Errno::INPROGRESS | Errno::WOULDBLOCK | Errno::INTR) => Ok(Tcp::new(tcp)),
        Err(e) => Err(e.into()),
    }
}

/// A non-blocking socket that programs started by this one do not inherit.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn socket(family: AddressFamily) -> io::Result<TcpStream> {
    use rustix::net::{SocketFlags, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?.into())
}

/// A non-blocking socket that programs started by this one do not inherit.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn socket(family: AddressFamily) -> io::Result<TcpStream> {
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    #[cfg(unix)]
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    #[cfg(target_vendor = "apple")]
    rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
    let tcp = TcpStream::from(socket);
    tcp.set_nonblocking(true)?;
    Ok(tcp)
}

/// True if the connection is made. Only then does the socket have a peer.
fn is_made(tcp: &Tcp) -> bool {
    tcp.stream().peer_addr().is_ok()
}

/// The result of an attempt that is over.
fn outcome(tcp: &Tcp) -> io::Result<()> {
    tcp.check_open()?;
    match tcp.stream().peer_addr() {
        Ok(_) => Ok(()),
        Err(e) => Err(tcp.stream().take_error()?.unwrap_or(e)),
    }
}
