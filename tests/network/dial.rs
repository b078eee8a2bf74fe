//! Addresses that do not answer: their packets are swallowed, so an attempt to connect waits.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use engineio::{Client, ConnectOptions, Disconnect, Error, State};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

use crate::{Polling, WebSocket, only};
use common::process::{alone, threads};
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, abort, eventually, within};

/// The setup of a namespace in which a name has two addresses. The first one is that of IPv6.
pub(crate) const SETUP: &str = "ip link set lo up && printf '::1 twofold\\n127.0.0.1 twofold\\n' \
     > /tmp/engineio-hosts && mount --bind /tmp/engineio-hosts /etc/hosts";

/// A listener whose queue has room for one connection.
fn small_listener(address: &str) -> TcpListener {
    let address: SocketAddr = address.parse().unwrap();
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None).unwrap();
    bind(&socket, &address).unwrap();
    listen(&socket, 0).unwrap();
    socket.into()
}

/// A listener that swallows connections, and the connection that fills its queue.
fn swallower(address: &str) -> (TcpListener, TcpStream) {
    let listener = small_listener(address);
    let queued = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, queued)
}

/// Waits until an attempt to connect to that port is in flight.
fn connecting_to(port: u16) {
    eventually("an attempt to connect", || {
        let sockets = fs::read_to_string("/proc/self/net/tcp").unwrap();
        sockets.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            // The fields are the remote address and the state, which is `SYN_SENT`.
            fields[2].ends_with(&format!(":{port:04X}")) && fields[3] == "02"
        })
    });
}

/// Runs in the namespace: one address of the name swallows packets, the other one works.
pub(crate) fn skip_a_dead_address() {
    let server = Scripted::silent(OPEN);
    let port = server.url().rsplit(':').next().unwrap();
    let _swallower = swallower(&format!("[::1]:{port}"));
    for transport in [Polling, WebSocket] {
        let client = Client::new();
        let connect = || {
            let start = Instant::now();
            client.connect_with(format!("http://twofold:{port}"), only(transport)).unwrap();
            let took = start.elapsed();
            abort(&client);
            client.wait();
            took
        };
        let first = connect();
        assert!(first >= Duration::from_millis(250) && first < Duration::from_secs(1), "{first:?}");
        let second = connect();
        assert!(second < Duration::from_millis(200), "{transport}: {second:?}");
    }
}

/// Runs in the namespace: the link-local address is ambiguous without its zone (RFC 6874).
pub(crate) fn connect_to_a_zone() {
    let server = Scripted::start_at("fe80::1%lo", |exchange| match &exchange.request {
        request if request.is_websocket() => {
            exchange.open_websocket(OPEN)?;
            exchange.hold()
        }
        request if request.is_poll() => exchange.hold(),
        _ => exchange.answer(OPEN),
    });
    let port = server.url().rsplit(':').next().unwrap();
    let client = Client::new();
    for zone in ["%25lo", "%lo", "%251"] {
        for transport in [Polling, WebSocket] {
            client.connect_with(format!("http://[fe80::1{zone}]:{port}"), only(transport)).unwrap();
            abort(&client);
            client.wait();
        }
    }
    // The zone is nobody else's business.
    let host = format!("[fe80::1]:{port}");
    assert!(server.requests().iter().all(|request| request.header("host") == [&host]));
    let error = client.connect(format!("http://[fe80::1%25none]:{port}")).unwrap_err();
    assert!(error.to_string().contains("fe80::1%none"), "{error}");
}

#[test]
fn disconnect_ends_an_attempt_to_connect_at_once() {
    let _alone = alone();
    let (listener, _queued) = swallower("127.0.0.1:0");
    let address = listener.local_addr().unwrap();
    for transport in [Polling, WebSocket] {
        let client = Client::builder().request_timeout(PATIENCE * 10).build().unwrap();
        let other = client.clone();
        let connecting =
            thread::spawn(move || other.connect_with(format!("http://{address}"), only(transport)));
        connecting_to(address.port());
        assert_eq!(client.state(), State::Connecting);
        client.disconnect().unwrap();
        let refused = within(PATIENCE, "connect returns", move || connecting.join().unwrap());
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("ended by `disconnect` or Ctrl-C"), "{error}");
    }
}

/// Accepts the handshake's connection, and no other.
fn answer_the_handshake(listener: &TcpListener) {
    let (mut tcp, _) = listener.accept().unwrap();
    assert!(tcp.read(&mut [0; 4096]).unwrap() > 0);
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", OPEN.len());
    tcp.write_all(format!("{head}{OPEN}").as_bytes()).unwrap();
}

#[test]
fn an_abort_ends_the_writer_while_it_connects() {
    let _alone = alone();
    let listener = small_listener("127.0.0.1:0");
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel::<()>();
    let server = thread::spawn(move || {
        answer_the_handshake(&listener);
        // The listener lives as long as the test.
        told.recv().unwrap_err();
    });
    let client = Client::builder().request_timeout(PATIENCE * 10).build().unwrap();
    client.connect_with(format!("http://{address}"), ConnectOptions::new().transports([Polling])).unwrap();
    // The poll's connection fills the queue, and the POST's one is swallowed, or the other way round.
    client.send("hello").unwrap();
    connecting_to(address.port());
    let left = client.disconnect_with(Disconnect::new().abort(true));
    assert!(matches!(left, Err(Error::Unsent { .. })), "{left:?}");
    eventually("the threads have ended", || threads().is_empty());
    drop(tell);
    server.join().unwrap();
}
