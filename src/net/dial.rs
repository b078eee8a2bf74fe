use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use native_tls::{HandshakeError, TlsConnector, TlsStream};

use super::socket::{LastActivity, Patience, Socket, Stream};
use super::tls_error::handshake_failed;
use crate::error::{Error, Result};
use crate::sync::{Mutex, lock};

/// The shortest time limit for an attempt at one address, however many addresses the host has.
const MIN_PER_ADDRESS: Duration = Duration::from_millis(10);

/// The addresses that have answered, by host and port. A session lives on one of the machines behind a host's
/// name, so later requests go to the same address as long as it answers. They need no name lookup either.
#[derive(Debug, Default)]
pub(super) struct AnsweredAddresses(Mutex<Vec<(String, u16, SocketAddr)>>);

impl AnsweredAddresses {
    fn find(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let addresses = lock(&self.0);
        addresses.iter().find(|entry| entry.0 == host && entry.1 == port).map(|entry| entry.2)
    }

    fn set(&self, host: &str, port: u16, address: SocketAddr) {
        let mut addresses = lock(&self.0);
        addresses.retain(|entry| (&*entry.0, entry.1) != (host, port));
        addresses.push((host.to_owned(), port, address));
    }
}

/// Opens a TCP connection: to the address that has answered before, or else to the first address of the host
/// that answers before the deadline.
pub(super) fn tcp(
    host: &str,
    port: u16,
    deadline: Instant,
    answered: &AnsweredAddresses,
    activity: &Arc<LastActivity>,
) -> Result<Socket> {
    if let Some(address) = answered.find(host, port) {
        let left = deadline.saturating_duration_since(Instant::now()) / 2;
        if let Ok(tcp) = TcpStream::connect_timeout(&address, left.max(MIN_PER_ADDRESS)) {
            return socket(tcp, address, activity);
        }
    }
    let addresses = resolve(host, port, deadline)?;
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        // Each address gets half of the time that is left, the last one all of it.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = if index + 1 == addresses.len() { left } else { left / 2 };
        match TcpStream::connect_timeout(address, share.max(MIN_PER_ADDRESS)) {
            Ok(tcp) => {
                answered.set(host, port, *address);
                return socket(tcp, *address, activity);
            }
            Err(e) => last = Some(e),
        }
    }
    Err(refused(host, port, last))
}

fn socket(tcp: TcpStream, address: SocketAddr, activity: &Arc<LastActivity>) -> Result<Socket> {
    Socket::new(tcp, activity.clone())
        .map_err(|e| Error::connection_from(format!("cannot use the socket to {address}"), e))
}

fn refused(host: &str, port: u16, cause: Option<io::Error>) -> Error {
    let Some(cause) = cause else {
        return Error::connection(format!("the host {host} has no address"));
    };
    let what = match cause.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            return Error::Timeout { what: "opening the TCP connection" };
        }
        io::ErrorKind::ConnectionRefused => "connection refused; is the server running?",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "the network is unreachable",
        _ => "the TCP connection failed",
    };
    Error::connection_from(format!("cannot connect to {host} port {port}: {what}"), cause)
}

fn resolve(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    // The system's resolver cannot be interrupted, so it runs in a thread of its own. After a timeout of ours
    // the thread lives on until the resolver's own limit.
    let (tx, rx) = bounded(1);
    let name = host.to_owned();
    thread::Builder::new()
        .name("eio-resolver".into())
        .spawn(move || {
            // The send fails if the caller has given up after a timeout.
            let _ = tx.send((name.as_str(), port).to_socket_addrs());
        })
        .map_err(|e| Error::connection_from("cannot start a thread to resolve the host's name", e))?;
    match rx.recv_deadline(deadline) {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(e)) => Err(Error::connection_from(format!("cannot resolve the host name {host}"), e)),
        Err(RecvTimeoutError::Timeout) => Err(Error::Timeout { what: "resolving the host's name" }),
        Err(RecvTimeoutError::Disconnected) => Err(Error::connection("the resolver's thread failed")),
    }
}

/// Performs the TLS handshake on a connection, before the deadline.
pub(super) fn tls(
    connector: &TlsConnector,
    host: &str,
    mut stream: Stream,
    deadline: Instant,
) -> Result<Stream> {
    stream.set_patience(Patience::Until(Some(deadline)));
    Ok(match stream {
        Stream::Plain(socket) => Stream::Tls(Box::new(handshake(connector, host, socket, deadline)?)),
        Stream::Tls(tls) => Stream::TlsInTls(Box::new(handshake(connector, host, *tls, deadline)?)),
        Stream::TlsInTls(_) => return Err(Error::connection("TLS in TLS in TLS is not supported")),
    })
}

fn handshake<S: Read + Write>(
    connector: &TlsConnector,
    host: &str,
    stream: S,
    deadline: Instant,
) -> Result<TlsStream<S>> {
    // Certificates have no dot at the end of a name, and SNI must not have one (RFC 6066, section 3).
    let host = host.strip_suffix('.').unwrap_or(host);
    match connector.connect(host, stream) {
        Ok(stream) => Ok(stream),
        Err(HandshakeError::Failure(e)) if Instant::now() < deadline => Err(handshake_failed(host, e)),
        // A socket with a deadline waits by itself, and gives up only when the deadline has passed.
        Err(HandshakeError::Failure(_) | HandshakeError::WouldBlock(_)) => {
            Err(Error::Timeout { what: "the TLS handshake" })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::net::TlsSettings;

    /// The `ClientHello` that a server at `host` receives.
    fn client_hello(host: &str) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut head = [0; 5];
            tcp.read_exact(&mut head).unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            tcp.read_exact(&mut hello).unwrap();
            hello
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        let socket =
            tcp("127.0.0.1", port, deadline, &AnsweredAddresses::default(), &Arc::new(LastActivity::new()))
                .unwrap();
        tls(&TlsSettings::default().connector().unwrap(), host, Stream::Plain(socket), deadline).unwrap_err();
        server.join().unwrap()
    }

    #[test]
    fn the_address_that_has_answered_is_tried_first() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answered, activity) = (AnsweredAddresses::default(), Arc::new(LastActivity::new()));
        let dial = |host| {
            let deadline = Instant::now() + Duration::from_secs(10);
            tcp(host, address.port(), deadline, &answered, &activity)
                .map(|socket| socket.tcp().peer_addr().unwrap())
        };
        dial("name.invalid").unwrap_err();
        answered.set("name.invalid", address.port(), address);
        assert_eq!(dial("name.invalid").unwrap(), address);
        // A name whose address does not answer any more is looked up again.
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        answered.set("localhost", address.port(), gone);
        assert_eq!(dial("localhost").unwrap(), address);
        assert_eq!(answered.find("localhost", address.port()), Some(address));
        assert_eq!(answered.find("localhost", 1), None);
    }

    #[test]
    fn sni_is_the_name_without_the_dot_at_its_end() {
        for host in ["example.org", "example.org."] {
            let hello = client_hello(host);
            let at = hello.windows(11).position(|part| part == b"example.org").expect(host);
            // The length in front of the name (RFC 6066, section 3).
            assert_eq!(hello[at - 2..at], [0, 11], "{host}");
        }
        assert!(!client_hello("127.0.0.1").windows(9).any(|part| part == b"127.0.0.1"));
    }
}
