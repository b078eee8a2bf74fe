//! The count of messages that were accepted but not written. It belongs to one connection, is known in time,
//! and is complete.

#![cfg(target_os = "linux")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::process::waiting;
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, Watch, eventually, only};
use crossbeam_channel::{Receiver, Sender, bounded};
use engineio::{Client, Disconnect, Error, Reason, TransportKind};

use TransportKind::{Polling, WebSocket};

/// The number of unsent messages according to `disconnect`.
fn unsent(disconnected: &Result<(), Error>) -> usize {
    match disconnected {
        Ok(()) => 0,
        Err(Error::Unsent { messages, .. }) => *messages,
        Err(other) => panic!("{other:?}"),
    }
}

/// A client whose disconnect handler connects again, unless the client has ended the connection itself.
fn connects_again(url: &str, transport: TransportKind) -> (Client, Watch) {
    let client = Client::builder().outbox_limit(64 << 20).build().unwrap();
    let watch = Watch::new(&client);
    let url = url.to_owned();
    client.on_disconnect(move |client, reason| match reason {
        Reason::ClientDisconnect => Ok(()),
        _ => client.connect_with(&url, only(transport)),
    });
    (client, watch)
}

/// A server whose first session answers no POST and ends when the test says so. The second session's POSTs
/// are accepted, except for those that contain "lost".
fn loses_the_first_session() -> (Scripted, Sender<()>) {
    let (end, ended) = bounded::<()>(0);
    let sessions = AtomicUsize::new(0);
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if !request.query.contains_key("sid") => {
            let session = sessions.fetch_add(1, Ordering::SeqCst);
            exchange.payload(OPEN.replace("abc", if session == 0 { "first" } else { "second" }))
        }
        request if request.query["sid"] == "first" && request.is_poll() => {
            let _ = ended.recv();
            exchange.payload("1")
        }
        request if request.query["sid"] == "first" || request.is_poll() => exchange.hold(),
        request if request.text().contains("lost") => exchange.hold(),
        _ => exchange.payload("ok"),
    });
    (server, end)
}

#[test]
fn a_loss_counts_for_its_own_connection_by_polling() {
    for lost in [0, 2] {
        let (server, end) = loses_the_first_session();
        let (client, watch) = connects_again(server.url(), Polling);
        client.connect_with(server.url(), only(Polling)).unwrap();
        watch.connected();
        (0..17).for_each(|i| client.send(i.to_string()).unwrap());
        server.wait_for("POST", |request| request.is_post());
        drop(end);
        watch.connected();
        eventually("the loss is counted", || client.stats().unsent == 17);
        (0..5).for_each(|i| client.send(format!("second {i}")).unwrap());
        client.flush(PATIENCE).unwrap();
        (0..lost).for_each(|i| client.send(format!("lost {i}")).unwrap());
        let disconnected = client.disconnect_with(Disconnect::new().abort(lost > 0));
        assert_eq!(unsent(&disconnected), lost, "{disconnected:?}");
        client.wait();
        assert_eq!(client.stats().unsent, 17 + lost as u64);
        // The loss is told once.
        client.disconnect().unwrap();
    }
}

#[test]
fn a_loss_counts_for_its_own_connection_by_websocket() {
    let (end, ended) = bounded::<()>(0);
    let sessions = AtomicUsize::new(0);
    let server = Scripted::websocket(move |exchange| {
        if sessions.fetch_add(1, Ordering::SeqCst) == 0 {
            let _ = ended.recv();
            return exchange.reset();
        }
        exchange.ws_closing()
    });
    let (client, watch) = connects_again(server.url(), WebSocket);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    watch.connected();
    while client.try_send(vec![0; 900_000]).is_ok() {}
    drop(end);
    watch.connected();
    eventually("the loss is counted", || client.stats().unsent > 0);
    let lost = client.stats().unsent;
    client.send("second").unwrap();
    let disconnected = client.disconnect();
    assert!(disconnected.is_ok(), "{disconnected:?} of {lost}");
    let again = client.disconnect();
    assert!(again.is_ok(), "{again:?} of {lost}");
    assert_eq!(client.stats().unsent, lost);
}

/// A logger that stops the thread which is about to write the first message.
struct HoldsFirst {
    entered: Mutex<Option<Sender<()>>>,
    released: Receiver<()>,
}

impl log::Log for HoldsFirst {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        if record.args().to_string().starts_with("sending")
            && let Some(entered) = self.entered.lock().unwrap().take()
        {
            entered.send(()).unwrap();
            let _ = self.released.recv();
        }
    }

    fn flush(&self) {}
}

/// The connection ends while the message is on its way to the transport, which refuses it then.
#[test]
fn a_message_that_is_being_written_at_the_end_counts() {
    for (transport, abort) in [(Polling, true), (Polling, false), (WebSocket, true), (WebSocket, false)] {
        let server = Scripted::silent(OPEN);
        let ((enter, entered), (release, released)) = (bounded(1), bounded::<()>(0));
        let logger = HoldsFirst { entered: Mutex::new(Some(enter)), released };
        let client =
            Client::builder().request_timeout(Duration::from_secs(1)).logger(logger).build().unwrap();
        client.connect_with(server.url(), only(transport)).unwrap();
        let send = thread::spawn({
            let client = client.clone();
            move || client.send("x")
        });
        entered.recv_timeout(PATIENCE).unwrap();
        let flush = waiting("flush waits", {
            let client = client.clone();
            move || client.flush(PATIENCE)
        });
        let disconnected = client.disconnect_with(Disconnect::new().abort(abort));
        drop(release);
        let sent = send.join().unwrap();
        let flushed = flush.join().unwrap();
        client.wait();
        let what = format!("{transport}, abort: {abort}: {sent:?}, {flushed:?}, {disconnected:?}");
        if sent.is_ok() {
            assert_eq!(unsent(&disconnected), 1, "{what}");
            assert!(flushed.is_err(), "{what}");
        }
        assert_eq!(client.stats().unsent, unsent(&disconnected) as u64, "{what}");
        assert!(client.disconnect().is_ok(), "{what}");
    }
}
