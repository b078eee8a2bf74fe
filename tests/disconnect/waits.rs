//! Calls that wait for the end of a connection. They return when its disconnect handler has run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::process::{is_asleep, this_thread, waiting};
use common::real::Server;
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, eventually, only, within};
use crossbeam_channel::{Sender, bounded};
use engineio::{Client, Disconnect, Error, State, TransportKind};

use TransportKind::{Polling, WebSocket};

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

/// A disconnect handler that runs until the test releases it, for a connection that the server ends.
struct Lasting {
    client: Client,
    server: Scripted,
    /// The sender whose drop releases the handler.
    release: Sender<()>,
    done: Arc<AtomicBool>,
}

impl Lasting {
    fn start(transport: TransportKind) -> Self {
        let server = match transport {
            WebSocket => Scripted::websocket(|exchange| exchange.ws_text("1")),
            _ => Scripted::polling(|exchange| exchange.payload("1")),
        };
        let client = Client::builder().request_timeout(PATIENCE).build().unwrap();
        let ((enter, entered), (release, released)) = (mpsc::channel(), bounded::<()>(0));
        let done = Arc::new(AtomicBool::new(false));
        client.on_disconnect({
            let done = done.clone();
            move |_, _| {
                // A further connection may end after the test.
                let _ = enter.send(());
                let _ = released.recv();
                done.store(true, Ordering::SeqCst);
            }
        });
        client.connect_with(server.url(), only(transport)).unwrap();
        entered.recv_timeout(PATIENCE).expect("the handler runs");
        Lasting { client, server, release, done }
    }

    /// Disconnects on a thread of its own, and returns when that thread waits. The thread returns true if the
    /// handler was done when `disconnect` returned.
    fn disconnecting(&self) -> JoinHandle<bool> {
        let (client, done) = (self.client.clone(), self.done.clone());
        waiting("disconnect waits", move || {
            client.disconnect().unwrap();
            done.load(Ordering::SeqCst)
        })
    }
}

/// Does something while a `disconnect` waits for the handler, and checks that it still waits.
fn a_disconnect_waits_though(meanwhile: impl Fn(&Lasting) -> Option<JoinHandle<bool>>) {
    for transport in [Polling, WebSocket] {
        let lasting = Lasting::start(transport);
        let first = lasting.disconnecting();
        let second = meanwhile(&lasting);
        // A disconnect that stops waiting would return in this time.
        thread::sleep(Duration::from_millis(200));
        drop(lasting.release);
        for disconnect in [Some(first), second].into_iter().flatten() {
            assert!(disconnect.join().unwrap(), "{transport}: the handler is not done");
        }
        drop(lasting.server);
    }
}

#[test]
fn a_disconnect_waits_though_another_does() {
    a_disconnect_waits_though(|lasting| Some(lasting.disconnecting()));
}

#[test]
fn a_disconnect_waits_though_another_aborts() {
    a_disconnect_waits_though(|lasting| {
        lasting.client.disconnect_with(Disconnect::new().abort(true)).unwrap();
        None
    });
}

#[test]
fn a_disconnect_waits_though_a_connection_follows() {
    let next = Scripted::silent(OPEN);
    a_disconnect_waits_though(|lasting| {
        lasting.client.connect_with(next.url(), only(WebSocket)).unwrap();
        None
    });
}

/// The handler passes its own reference to the client, which is not a handle, to the thread that disconnects.
#[test]
fn a_disconnect_waits_though_the_last_handle_is_dropped() {
    let server = Scripted::websocket(|exchange| exchange.ws_text("1"));
    let client = Client::builder().request_timeout(Duration::from_secs(2)).build().unwrap();
    let ((enter, entered), (release, released)) = (bounded(1), bounded::<()>(0));
    let ((report, reported), (tell, told)) = (bounded(1), bounded(1));
    client.on_disconnect(move |client, _| {
        thread::scope(|scope| {
            scope.spawn(|| {
                enter.send(this_thread()).unwrap();
                tell.send(client.disconnect()).unwrap();
            });
            let _ = released.recv();
            // The thread waits for this handler, and the handler waits for the thread, until the request
            // timeout.
            report.send(told.recv_timeout(Duration::from_millis(500))).unwrap();
        });
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let id = entered.recv_timeout(PATIENCE).unwrap();
    eventually("disconnect waits", || is_asleep(&id));
    drop(client);
    drop(release);
    let returned = reported.recv_timeout(PATIENCE).unwrap();
    assert!(returned.is_err(), "{returned:?} while the handler runs");
}
