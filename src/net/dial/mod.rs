//! The way to a connection: name lookup, TCP, TLS.

mod addresses;
mod lookup;
mod race;
mod settings;
mod step;
#[cfg(unix)]
mod unix;

use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use native_tls::{HandshakeError, TlsConnector, TlsStream};

use super::socket::{LastActivity, Patience, Stream};
use super::tcp::Tcp;
use super::tls_error::handshake_failed;
use crate::error::{Error, Result};

pub(crate) use addresses::{AnsweredAddresses, KnownAddresses};
pub(super) use lookup::Lookup;
use lookup::resolve;
use race::{Failure, race};
pub(crate) use settings::{DialSettings, Override};
use step::Step;
#[cfg(unix)]
pub(crate) use unix::check_socket;
#[cfg(unix)]
pub(super) use unix::unix;

/// Something that a dial waits for. [`Register`] makes it known to the client, which interrupts it when it is
/// closed.
pub(super) enum Waiter {
    Lookup(Weak<Lookup>),
    Connect(Weak<Tcp>),
}

/// Registers what is waited for. Fails if the client is closed.
pub(super) type Register<'a> = &'a dyn Fn(Waiter) -> Result<()>;

/// The time limits of a dial.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    /// The limit for each step.
    pub(super) step: Duration,
    /// The limit for all steps together, if the user's agent sets one.
    pub(super) end: Option<Instant>,
    pub(super) activity: &'a Arc<LastActivity>,
}

impl Limits<'_> {
    /// A step that begins now.
    pub(super) fn next(&self) -> Step {
        Step::new(self.step, self.end, self.activity)
    }
}

/// Refuses every Unix socket, because this platform has none that this crate can use.
#[cfg(not(unix))]
pub(crate) fn check_socket(_: &std::path::Path) -> Result<(), String> {
    Err("Unix sockets are not supported on this platform".into())
}

#[cfg(not(unix))]
pub(super) fn unix(path: &std::path::Path, _: &Step, _: Register<'_>) -> Result<Arc<Tcp>> {
    Err(Error::connection(check_socket(path).err().unwrap_or_default()))
}

/// Opens a TCP connection: to the address that has answered this connection before, or else to the first
/// address of the host that answers. The addresses are those that the user gave, or else those that a lookup
/// finds.
pub(super) fn tcp(
    host: &str,
    port: u16,
    limits: Limits<'_>,
    known: &KnownAddresses,
    settings: &DialSettings,
    register: Register<'_>,
) -> Result<Arc<Tcp>> {
    let local = settings.local_address;
    if let Some(address) = known.own(host, port) {
        match race(vec![address], local, &limits.next().half(), register) {
            Ok((tcp, _)) => return Ok(tcp),
            Err(Failure::Closed(e)) => return Err(e),
            Err(Failure::Refused(_)) => {}
        }
    }
    let given = settings.addresses(host, port);
    let found = match given.is_empty() {
        true => known.sorted(host, port, resolve(host, port, &limits.next(), register)?),
        false => given,
    };
    match race(settings.reachable(host, port, found)?, local, &limits.next(), register) {
        Ok((tcp, address)) => {
            known.set(host, port, address);
            Ok(tcp)
        }
        Err(Failure::Closed(e)) => Err(e),
        Err(Failure::Refused(cause)) => Err(refused(host, port, local, cause)),
    }
}

/// Builds the error of a dial that was interrupted because the client was closed.
pub(super) fn closed(cause: io::Error) -> Error {
    Error::connection_from("the client was closed", cause)
}

fn refused(host: &str, port: u16, local: Option<IpAddr>, cause: Option<io::Error>) -> Error {
    let Some(cause) = cause else {
        return Error::connection(format!("the host {host} has no address"));
    };
    let what = match cause.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            return Error::Timeout { what: "opening the TCP connection" };
        }
        ErrorKind::ConnectionRefused => "connection refused (is the server running?)",
        ErrorKind::AddrNotAvailable if local.is_some() => {
            "the local address does not belong to this machine, or has no free port left"
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "the network is unreachable",
        _ => {
            return Error::connection_from(format!("the TCP connection to {host} port {port} failed"), cause);
        }
    };
    Error::connection_from(format!("cannot connect to {host} port {port}: {what}"), without_text(cause))
}

/// The system's error without its text, for an error whose own text says the same.
fn without_text(cause: io::Error) -> io::Error {
    match cause.raw_os_error() {
        Some(code) => io::Error::new(cause.kind(), format!("os error {code}")),
        None => cause,
    }
}

/// Performs the TLS handshake on a connection, as the next step.
pub(super) fn tls(
    connector: &TlsConnector,
    host: &str,
    mut stream: Stream,
    limits: Limits<'_>,
) -> Result<Stream> {
    let step = limits.next();
    stream.set_patience(Patience::While(Arc::new(step.clone())));
    Ok(match stream {
        Stream::Plain(socket) => Stream::Tls(Box::new(handshake(connector, host, socket, &step)?)),
        Stream::Tls(tls) => Stream::TlsInTls(Box::new(handshake(connector, host, *tls, &step)?)),
        Stream::TlsInTls(_) => return Err(Error::connection("TLS in TLS in TLS is not supported")),
    })
}

fn handshake<S: Read + Write>(
    connector: &TlsConnector,
    host: &str,
    stream: S,
    step: &Step,
) -> Result<TlsStream<S>> {
    // Certificates have no dot at the end of a name, and SNI must not have one (RFC 6066, section 3).
    let host = host.strip_suffix('.').unwrap_or(host);
    match connector.connect(host, stream) {
        Ok(stream) => Ok(stream),
        Err(HandshakeError::Failure(e)) if !step.is_over() => Err(handshake_failed(host, e)),
        // The socket waits by itself, and gives up only when the step is over.
        Err(HandshakeError::Failure(_) | HandshakeError::WouldBlock(_)) => {
            Err(Error::Timeout { what: "the TLS handshake" })
        }
    }
}

#[cfg(test)]
mod tests;
