//! permessage-deflate with the servers that users have: simple-websocket (wsproto), uvicorn with websockets,
//! aiohttp, and npm's ws. The bytes on the wire are counted by a relay between the client and the server.

#![cfg(unix)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::official::{Kind, Options, Server};
use common::{Watch, by};
use engineio::TransportKind::{Polling, WebSocket};
use engineio::{Client, Compression, Message, TransportKind, WebSocketOptions};

/// A relay that counts the bytes to the server and from it.
struct Relay {
    url: String,
    sent: Arc<AtomicUsize>,
    received: Arc<AtomicUsize>,
}

impl Relay {
    fn start(server: &str) -> Self {
        let target: SocketAddr = server.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sent, received) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (sent.clone(), received.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(target) else { return };
                let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (up, down) = counts.clone();
                thread::spawn(move || pass(client, server, &up));
                thread::spawn(move || pass(server2, client2, &down));
            }
        });
        Relay { url, sent, received }
    }

    /// The bytes in both directions since the last call.
    fn take(&self) -> (usize, usize) {
        (self.sent.swap(0, Ordering::SeqCst), self.received.swap(0, Ordering::SeqCst))
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicUsize) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        // Counted before the receiver can answer.
        count.fetch_add(size, Ordering::SeqCst);
        if to.write_all(&buffer[..size]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A text of JSON that differs for each number.
fn json(number: usize, size: usize) -> String {
    let record = |i: usize| format!(r#"{{"id":{i},"name":"user {}","active":true}},"#, i * number % 977);
    let mut text = (0..).map(record).scan(0, |total, one| {
        *total += one.len();
        (*total < size).then_some(one)
    });
    let records: String = text.by_ref().collect();
    format!("[{}null]", records)
}

fn echo(client: &Client, watch: &Watch, message: impl Into<Message>) {
    let message = message.into();
    client.send(message.clone()).unwrap();
    assert!(watch.message() == message);
}

/// Echoes messages of all kinds with a server, and checks that the long ones were compressed both ways.
fn compresses(kind: Kind, ways: &[TransportKind], compression: Compression) {
    let server = Server::start(kind, &Options { max_payload: 10_000_000, ..Options::default() });
    let relay = Relay::start(&server.url());
    let options = WebSocketOptions::new().compression(compression.clone());
    let client = Client::builder().websocket_options(options).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(&relay.url, by(ways)).unwrap();
    watch.connected();
    assert_eq!(client.transport().unwrap(), WebSocket);
    relay.take();
    let size: usize = (1..=20).map(|number| json(number, 20_000).len()).sum();
    for number in 1..=20 {
        echo(&client, &watch, json(number, 20_000));
    }
    let (sent, received) = relay.take();
    println!("{kind:?}, {compression:?}: {size} bytes of text took {sent} there and {received} back");
    assert!(sent < size / 2 && received < size / 2, "{kind:?}: {size} took {sent} and {received}");
    for size in [0, 1, 125, 126, 1023, 1024, 1025, 65_535, 65_536, 1_000_000] {
        echo(&client, &watch, (0..size).map(|i| (i / 5 % 251) as u8).collect::<Vec<_>>());
        echo(&client, &watch, "é".repeat(size / 2));
    }
    echo(&client, &watch, "");
    client.disconnect().unwrap();
}

fn all_options(kind: Kind) {
    compresses(kind, &[WebSocket], Compression::new());
    compresses(kind, &[Polling, WebSocket], Compression::new().threshold(0).level(1));
    let forgetful = Compression::new().client_no_context_takeover(true).server_no_context_takeover(true);
    compresses(kind, &[WebSocket], forgetful);
    let small = Compression::new().client_max_window_bits(10).server_max_window_bits(11);
    compresses(kind, &[WebSocket], small);
}

#[test]
#[ignore = "needs python3 and node"]
fn python_threading() {
    all_options(Kind::PythonThreading);
}

#[test]
#[ignore = "needs python3 and node"]
fn python_asgi() {
    all_options(Kind::PythonAsgi);
}

#[test]
#[ignore = "needs python3 and node"]
fn python_aiohttp() {
    all_options(Kind::PythonAiohttp);
}

#[test]
#[ignore = "needs python3 and node"]
fn node() {
    all_options(Kind::Node);
}

/// engineioxide does not compress. The offer changes nothing.
#[test]
fn a_server_that_does_not_compress() {
    let server = common::real::Server::start();
    let options = WebSocketOptions::new().compression(Compression::new());
    let client = Client::builder().websocket_options(options).build().unwrap();
    let watch = Watch::new(&client);
    for ways in common::WAYS {
        client.connect_with(server.url(), by(ways)).unwrap();
        watch.connected();
        echo(&client, &watch, json(1, 20_000));
        client.disconnect().unwrap();
        watch.disconnected();
    }
}
