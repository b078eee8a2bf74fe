//! Calls of `disconnect` that wait while something else happens. Only Linux shows that a thread waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::process::{is_asleep, this_thread, waiting};
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, eventually, only};
use crossbeam_channel::{Sender, bounded};
use engineio::{Client, Disconnect, TransportKind};

use TransportKind::{Polling, WebSocket};

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
