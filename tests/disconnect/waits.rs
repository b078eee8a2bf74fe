//! Calls that wait for the end of a connection. They return when its disconnect handler has run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use common::real::Server;
use common::scripted::Scripted;
use common::{PATIENCE, only, within};
use engineio::{Client, Error, State, TransportKind};

use TransportKind::WebSocket;

#[test]
fn everyone_who_waits_returns_after_the_disconnect_handler() {
    let server = Server::start();
    let client = Client::new();
    let done = Arc::new(AtomicUsize::new(0));
    client.on_disconnect({
        let done = done.clone();
        move |_, _| {
            thread::sleep(Duration::from_millis(100));
            done.fetch_add(1, Ordering::SeqCst);
        }
    });
    client.connect(server.url()).unwrap();
    assert!(!client.wait_timeout(Duration::from_millis(20)));
    let waiting: Vec<_> = (0..10)
        .map(|i| {
            let (client, done) = (client.clone(), done.clone());
            thread::spawn(move || {
                match i {
                    // Some of the threads that end the connection wait as well.
                    0..5 => client.wait(),
                    5..8 => assert!(client.wait_timeout(PATIENCE)),
                    _ => client.disconnect().unwrap(),
                }
                done.load(Ordering::SeqCst)
            })
        })
        .collect();
    within(PATIENCE, "every wait", move || {
        waiting.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 1));
    });
    assert!(client.wait_timeout(Duration::ZERO));
}

#[test]
fn wait_goes_on_when_the_disconnect_handler_connects_again() {
    let server = Scripted::websocket(|exchange| {
        exchange.ws_text("4hi")?;
        exchange.ws_text("1")?;
        exchange.hold()
    });
    let client = Client::new();
    let (sender, seen) = mpsc::channel();
    let message = sender.clone();
    client.on_message(move |client, text| {
        let again = client.connect("http://127.0.0.1:1");
        assert!(matches!(again, Err(Error::AlreadyConnected)), "{again:?}");
        message.send(text.to_string())
    });
    let (url, mut left) = (server.url().to_owned(), 2);
    client.on_disconnect(move |client, reason| {
        assert_eq!(client.state(), State::Disconnected);
        sender.send(reason.to_string()).unwrap();
        left -= 1;
        if left >= 0 { client.connect_with(&url, only(WebSocket)) } else { Ok(()) }
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let waited = client.clone();
    within(PATIENCE, "wait", move || waited.wait());
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["hi", "server disconnect"].repeat(3));
}

#[test]
fn a_second_disconnect_waits_for_the_handler_too() {
    let server = Server::start();
    let client = Client::new();
    let (enter, entered) = mpsc::channel();
    let done = Arc::new(AtomicUsize::new(0));
    client.on_disconnect({
        let done = done.clone();
        move |_, _| {
            enter.send(()).unwrap();
            thread::sleep(Duration::from_millis(100));
            done.fetch_add(1, Ordering::SeqCst);
        }
    });
    client.connect(server.url()).unwrap();
    let first = thread::spawn({
        let client = client.clone();
        move || client.disconnect()
    });
    entered.recv_timeout(PATIENCE).unwrap();
    client.disconnect().unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
    first.join().unwrap().unwrap();
}
