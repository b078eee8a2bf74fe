//! The TLS connection itself: peers that do not speak TLS or say nothing at all, the reuse of connections,
//! and the end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use engineio::{Client, Error, Reason, TransportKind};
use engineioxide::DisconnectReason;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConnection, StreamOwned};
use tungstenite::WebSocket;

use crate::certificates::Authority;
use crate::server::{Server, Setup};
use crate::{PATIENCE, WAYS, assert_refused, builder, by};

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A server for one connection, which is passed to `script`. Returns the port, and a channel for the script's
/// result.
fn scripted<T: Send + 'static>(script: impl FnOnce(TcpStream) -> T + Send + 'static) -> (u16, Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tx, rx) = bounded(1);
    thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        // The send fails if the test has failed in the meantime.
        let _ = tx.send(script(tcp));
    });
    (port, rx)
}

#[test]
fn a_server_without_tls() {
    let server = Server::plain();
    let expected = "127.0.0.1 does not speak TLS on this port (is it http:// or ws://?)";
    assert_refused(&builder().build().unwrap(), &server.url("127.0.0.1"), expected);
}

#[test]
fn a_server_that_hangs_up() {
    let (port, done) = scripted(|mut tcp| {
        // The whole ClientHello is read, because unread bytes would turn the FIN into a reset.
        let mut head = [0; 5];
        tcp.read_exact(&mut head).unwrap();
        let mut rest = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        tcp.read_exact(&mut rest).unwrap();
    });
    let error = builder().build().unwrap().connect(format!("https://127.0.0.1:{port}")).unwrap_err();
    assert!(error.to_string().contains("closed the connection during the TLS handshake"), "{error}");
    done.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_server_that_says_nothing_during_the_handshake() {
    assert_times_out(|mut tcp| {
        // The read ends with the connection.
        let _ = tcp.read_to_end(&mut Vec::new());
    });
}

#[test]
fn a_server_that_says_little_during_the_handshake() {
    assert_times_out(|mut tcp| {
        // This is the head of a handshake record of 16 KiB, whose bytes take longer than the deadline.
        let _ = tcp.write_all(&[0x16, 3, 3, 0x40, 0]);
        while tcp.write_all(&[2]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
}

fn assert_times_out(script: impl FnOnce(TcpStream) + Send + Copy + 'static) {
    let limit = Duration::from_millis(300);
    let client = Client::builder().request_timeout(limit).build().unwrap();
    for way in WAYS {
        let (port, done) = scripted(script);
        let start = Instant::now();
        let error = client.connect_with(format!("https://127.0.0.1:{port}"), by(way)).unwrap_err();
        let took = start.elapsed();
        assert!(matches!(error, Error::Timeout { what: "the TLS handshake", .. }), "{error:?}");
        assert!(took >= limit && took < PATIENCE / 2, "{took:?}");
        done.recv_timeout(PATIENCE).expect("the socket is closed");
    }
}

#[test]
fn disconnect_ends_a_handshake_at_once() {
    for way in WAYS {
        let client = builder().build().unwrap();
        let other = client.clone();
        let (port, done) = scripted(move |mut tcp| {
            // The first byte shows that the client is in its handshake.
            tcp.read_exact(&mut [0]).unwrap();
            other.disconnect().unwrap();
            let _ = tcp.read_to_end(&mut Vec::new());
        });
        let start = Instant::now();
        let error = client.connect_with(format!("https://127.0.0.1:{port}"), by(way)).unwrap_err();
        assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
        assert!(error.to_string().contains("ended by `disconnect` or Ctrl-C"), "{error}");
        done.recv_timeout(PATIENCE).unwrap();
    }
}

/// A TLS handshake for each request would cost more than the request itself.
#[test]
fn polling_uses_its_connections_again() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    for versions in [[&TLS12], [&TLS13]] {
        let server = Server::start(&Setup { versions: &versions, ..Setup::new(&identity) });
        let client = builder().ca_certificate(authority.pem()).build().unwrap();
        let (echoes, received) = crossbeam_channel::unbounded();
        client.on_message(move |_, message| echoes.send(message));
        client
            .connect_with(
                server.url("127.0.0.1").replace("127.0.0.1", "localhost"),
                by(&[TransportKind::Polling]),
            )
            .unwrap();
        for _ in 0..50 {
            client.send("hello").unwrap();
            received.recv_timeout(PATIENCE).unwrap();
        }
        client.disconnect().unwrap();
        // Polls and POSTs use one connection each. A machine that stalls for longer than the limit for idle
        // connections may see more.
        assert!(server.connections() < 10, "{} connections", server.connections());
    }
}

#[test]
fn disconnect_is_a_goodbye_for_a_server() {
    let authority = Authority::new();
    let server = Server::start(&Setup::new(&authority.identity(&["localhost"])));
    let client = builder().ca_certificate(authority.pem()).build().unwrap();
    for way in WAYS {
        client.connect_with(server.url("localhost"), by(way)).unwrap();
        client.disconnect().unwrap();
        let end = server.ends.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(end, DisconnectReason::TransportClose), "{way:?}: {end:?}");
    }
}

/// A websocket server that reads until the connection is closed. Returns the frames, and the result of the
/// last read, which tells how TLS ended.
fn read_websocket_to_the_end(tls: Tls) -> (Vec<String>, std::io::Result<usize>) {
    let mut websocket: WebSocket<Tls> = tungstenite::accept(tls).unwrap();
    let open = r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    websocket.send(open.into()).unwrap();
    let mut frames = Vec::new();
    while let Ok(message) = websocket.read() {
        frames.push(message.to_string());
    }
    (frames, websocket.get_mut().read(&mut [0; 64]))
}

#[test]
fn disconnect_by_websocket_ends_tls_with_its_own_goodbye() {
    let authority = Authority::new();
    let identity = authority.identity(&["127.0.0.1"]);
    for versions in [[&TLS12], [&TLS13]] {
        let config = Setup { versions: &versions, ..Setup::new(&identity) }.config();
        let (port, seen) = scripted(move |tcp| {
            read_websocket_to_the_end(StreamOwned::new(ServerConnection::new(config).unwrap(), tcp))
        });
        let client = builder().ca_certificate(authority.pem()).build().unwrap();
        let (reasons, ended) = bounded(1);
        client.on_disconnect(move |_, reason| reasons.send(reason));
        client.connect_with(format!("wss://127.0.0.1:{port}"), by(&[TransportKind::WebSocket])).unwrap();
        client.send("last words").unwrap();
        client.disconnect().unwrap();
        let (frames, end) = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!(frames[..2], ["4last words", "1"], "{frames:?}");
        // rustls returns 0 after a close_notify, and UnexpectedEof without one.
        assert_eq!(end.expect("no close_notify"), 0);
        assert_eq!(ended.recv_timeout(PATIENCE).unwrap(), Reason::ClientDisconnect);
    }
}
