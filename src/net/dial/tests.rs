use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use rustix::net::{AddressFamily, SocketType, bind, listen};

use super::*;
use crate::net::{LastActivity, TimeLeft, TlsSettings, socket::Socket};
use crate::sync::{Mutex, lock};

const PATIENCE: Duration = Duration::from_secs(10);

/// Dials, with limits that no dial here reaches.
fn dial_with(
    host: &str,
    port: u16,
    known: &KnownAddresses,
    settings: &DialSettings,
    register: Register<'_>,
) -> Result<Arc<Tcp>> {
    let activity = Arc::new(LastActivity::new());
    tcp(host, port, Limits { step: PATIENCE, end: None, activity: &activity }, known, settings, register)
}

/// A deadline in place of a step.
impl TimeLeft for Instant {
    fn time_left(&self) -> Duration {
        self.saturating_duration_since(Instant::now())
    }
}

fn keep(_: Waiter) -> Result<()> {
    Ok(())
}

fn known() -> KnownAddresses {
    KnownAddresses::default()
}

/// A listener that answers no SYN: its queue is full.
struct Swallower {
    _listener: TcpListener,
    _queued: TcpStream,
    address: SocketAddr,
}

impl Swallower {
    fn new() -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        Swallower { _queued: TcpStream::connect(address).unwrap(), _listener: listener, address }
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address that refuses connections.
fn refusing() -> SocketAddr {
    listener().1
}

#[test]
fn an_address_that_does_not_answer_costs_its_head_start() {
    let (swallower, (_listener, address)) = (Swallower::new(), listener());
    let start = Instant::now();
    let (tcp, winner) =
        race(vec![swallower.address, address], None, &(Instant::now() + PATIENCE), &keep).expect("a winner");
    assert_eq!((winner, tcp.stream().peer_addr().unwrap()), (address, address));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(250) && took < PATIENCE / 4, "{took:?}");
}

#[test]
fn attempts_go_on_while_later_ones_are_made() {
    let (slow, (_listener, address)) = (Swallower::new(), listener());
    let started = Mutex::new(Vec::new());
    let register = |waiter: Waiter| {
        let Waiter::Connect(tcp) = waiter else { panic!("nothing is looked up") };
        lock(&started).push(tcp);
        Ok(())
    };
    let addresses = vec![slow.address, slow.address, address];
    race(addresses, None, &(Instant::now() + PATIENCE), &register).expect("a winner");
    assert_eq!(lock(&started).len(), 3);
    // The others are given up when there is a winner.
    assert!(lock(&started).iter().all(|tcp| tcp.upgrade().is_none()));
}

#[test]
fn an_address_that_refuses_costs_nothing() {
    let (_listener, address) = listener();
    let addresses = (0..20).map(|_| refusing()).chain([address]).collect();
    let start = Instant::now();
    let (_, winner) = race(addresses, None, &(Instant::now() + PATIENCE), &keep).expect("a winner");
    assert_eq!(winner, address);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn the_deadline_holds_for_all_addresses() {
    let swallower = Swallower::new();
    let start = Instant::now();
    let limit = Duration::from_millis(400);
    let lost = race(vec![swallower.address; 3], None, &(start + limit), &keep).expect_err("no winner");
    let Failure::Refused(Some(e)) = lost else { panic!("{lost:?}") };
    assert_eq!(e.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= limit && start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
    assert!(matches!(race(Vec::new(), None, &start, &keep), Err(Failure::Refused(None))));
}

#[test]
fn an_attempt_can_be_interrupted_from_its_first_instant() {
    let swallower = Swallower::new();
    let interrupted = Mutex::new(false);
    let close_at_once = |waiter: Waiter| {
        let Waiter::Connect(tcp) = waiter else { panic!("nothing is looked up") };
        if std::mem::replace(&mut *lock(&interrupted), true) {
            return Err(closed(ErrorKind::NotConnected.into()));
        }
        tcp.upgrade().unwrap().close();
        Ok(())
    };
    let start = Instant::now();
    let address = swallower.address;
    let error = dial_with("127.0.0.1", address.port(), &known(), &DialSettings::default(), &close_at_once)
        .unwrap_err();
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
    assert!(!error.is_timeout(), "{error}");
}

#[test]
fn a_connection_goes_to_the_address_that_has_answered_it() {
    let (_listener, address) = listener();
    let known = known();
    let dial = |host| {
        dial_with(host, address.port(), &known, &DialSettings::default(), &keep)
            .map(|tcp| tcp.stream().peer_addr().unwrap())
    };
    dial("name.invalid").unwrap_err();
    known.set("name.invalid", address.port(), address);
    assert_eq!(dial("name.invalid").unwrap(), address);
    // A name whose address does not answer any more is looked up again.
    known.set("localhost", address.port(), refusing());
    assert_eq!(dial("localhost").unwrap(), address);
    assert_eq!(known.own("localhost", address.port()), Some(address));
}

#[test]
fn a_connection_comes_from_the_local_address() {
    let (listener, address) = listener();
    let from = |local: &str| {
        let settings =
            DialSettings { local_address: Some(local.parse().unwrap()), ..DialSettings::default() };
        dial_with("127.0.0.1", address.port(), &known(), &settings, &keep)
    };
    let _stream = from("127.0.0.5").unwrap();
    assert_eq!(listener.accept().unwrap().1.ip().to_string(), "127.0.0.5");
    // A network for documentation (RFC 5737).
    let error = from("192.0.2.1").unwrap_err().to_string();
    assert!(error.contains("the local address does not belong to this machine"), "{error}");
    let error = from("::1").unwrap_err().to_string();
    assert!(error.contains("from the local address ::1: it has no IPv6 address"), "{error}");
}

#[test]
fn the_users_addresses_take_the_place_of_a_lookup() {
    let (_listener, address) = listener();
    let entry = |ip: [u8; 4]| Override { host: "h.invalid".into(), port: address.port(), address: ip.into() };
    // Nothing listens at the first one.
    let overrides = vec![entry([127, 0, 0, 9]), entry([127, 0, 0, 1])];
    let settings = DialSettings { overrides, ..DialSettings::default() };
    let known = known();
    let stream = dial_with("h.invalid", address.port(), &known, &settings, &keep).unwrap();
    assert_eq!(stream.stream().peer_addr().unwrap(), address);
    dial_with("h.invalid", 1, &known, &settings, &keep).unwrap_err();
}

/// The `ClientHello` that a server at `host` receives.
fn client_hello(host: &str) -> Vec<u8> {
    let (listener, address) = listener();
    let server = thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut head = [0; 5];
        tcp.read_exact(&mut head).unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        tcp.read_exact(&mut hello).unwrap();
        hello
    });
    let tcp = dial_with("127.0.0.1", address.port(), &known(), &DialSettings::default(), &keep).unwrap();
    let socket = Socket::new(tcp, Arc::new(LastActivity::new())).unwrap();
    let connector = TlsSettings::default().connector().unwrap();
    let limits = Limits { step: PATIENCE, end: None, activity: &Arc::new(LastActivity::new()) };
    tls(&connector, host, Stream::Plain(socket), limits).unwrap_err();
    server.join().unwrap()
}

#[test]
fn sni_is_the_name_without_the_dot_at_its_end() {
    for host in ["example.org", "example.org."] {
        let hello = client_hello(host);
        let at = hello.windows(11).position(|part| part == b"example.org").expect(host);
        // The length in front of the name (RFC 6066, section 3).
        assert_eq!(hello[at - 2..at], [0, 11], "{host}");
    }
    // Wine names an address too.
    #[cfg(not(windows))]
    assert!(!client_hello("127.0.0.1").windows(9).any(|part| part == b"127.0.0.1"));
}
