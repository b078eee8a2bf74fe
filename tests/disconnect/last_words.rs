//! The server's last messages reach the handlers, even if nothing can be written to the server any more.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, Seen, Watch, only, within};
use crossbeam_channel::bounded;
use engineio::{Client, Error, Message, Reason, TransportKind};

use TransportKind::{Polling, WebSocket};

/// The server closes in order while answers to its messages are on their way.
#[test]
fn by_websocket() {
    for _ in 0..10 {
        let server = Scripted::websocket(|exchange| {
            exchange.ws_read_text()?;
            // The messages are more than one read takes, and are sent in one write: data that is still in the
            // server's kernel is lost when an answer reaches the closed socket.
            let texts = (0..1000).map(|i| format!("4{i}"));
            let frames = texts.flat_map(|text| [&[0x81, text.len() as u8], text.as_bytes()].concat());
            exchange.raw(frames.chain([0x88, 2, 3, 0xe8]).collect::<Vec<_>>())?;
            exchange.close()
        });
        let client = Client::new();
        let watch = Watch::after(&client, |client, _| {
            // At some point the server has gone, and the send fails.
            let _ = client.send("answer");
            thread::sleep(Duration::from_micros(50));
        });
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        watch.connected();
        client.send("go").unwrap();
        for i in 0..1000 {
            assert_eq!(watch.message(), Message::from(i.to_string()));
        }
        assert_eq!(watch.disconnected(), Reason::ServerDisconnect);
    }
}

/// The server has ended the session. It refuses the POST, and its answer to the poll is on its way.
#[test]
fn by_polling() {
    for _ in 0..5 {
        let server = Scripted::start(|exchange| match &exchange.request {
            request if request.is_poll() => {
                thread::sleep(Duration::from_millis(100));
                exchange.payload("4bye\u{1e}1")
            }
            request if request.is_post() => exchange.respond("400 Bad Request", "{}"),
            _ => exchange.payload(OPEN),
        });
        let client = Client::new();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(Polling)).unwrap();
        client.send("x").unwrap();
        watch.connected();
        assert_eq!(watch.message(), Message::from("bye"));
        assert_eq!(watch.disconnected(), Reason::ServerDisconnect);
        assert!(matches!(client.disconnect(), Err(Error::Unsent { messages: 1, .. })));
    }
}

/// A handler takes longer than the time that the server has for its last words. It begins before the POST
/// fails, or after that.
#[test]
fn behind_a_slow_handler() {
    for handler_first in [true, false] {
        let ((enter, entered), (post, posted)) = (bounded(1), bounded(1));
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.is_post() => {
                if handler_first {
                    let _ = entered.recv();
                }
                exchange.respond("400 Bad Request", "{}")?;
                post.send(()).map_err(io::Error::other)
            }
            request if request.is_poll() => {
                let poll = exchange.polls();
                if poll == if handler_first { 2 } else { 1 } {
                    let _ = posted.recv();
                    // By then the client has read the answer to its POST. If it has not, the test shows less.
                    thread::sleep(Duration::from_millis(100));
                }
                match poll {
                    1 => exchange.payload("4one"),
                    2 => exchange.payload("4two\u{1e}1"),
                    _ => exchange.hold(),
                }
            }
            _ => exchange.payload(OPEN),
        });
        let client = Client::new();
        let watch = Watch::after(&client, move |_, message| {
            if message.as_text() == Some("one") {
                enter.send(()).unwrap();
                thread::sleep(Duration::from_millis(1500));
            }
        });
        client.connect_with(server.url(), only(Polling)).unwrap();
        watch.connected();
        client.send("x").unwrap();
        assert_eq!(watch.message(), Message::from("one"));
        assert_eq!(watch.next(), Seen::Message("two".into()), "the handler begins first: {handler_first}");
        assert_eq!(watch.disconnected(), Reason::ServerDisconnect);
    }
}

/// The client does not wait for a server that neither reads nor sends any more.
#[test]
fn none_come() {
    for disconnect in [false, true] {
        let server = Scripted::start(|exchange| match &exchange.request {
            request if request.is_poll() => exchange.hold(),
            request if request.is_post() => exchange.respond("500 Internal Server Error", ""),
            _ => exchange.payload(OPEN),
        });
        let client = Client::builder().request_timeout(PATIENCE * 10).build().unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(Polling)).unwrap();
        watch.connected();
        client.send("x").unwrap();
        client.flush(PATIENCE).unwrap_err();
        if disconnect {
            let client = client.clone();
            within(PATIENCE, "disconnect", move || client.disconnect().unwrap_err());
        }
        assert_eq!(watch.disconnected(), Reason::TransportError);
        assert!(matches!(&*client.last_error().unwrap(), Error::Connection { status: Some(500), .. }));
        assert!(client.wait_timeout(PATIENCE));
    }
}

/// The time from the failure of the POST to the disconnect handler. The POST fails by the server's answer or
/// at the request timeout, and the server does not answer the poll.
fn none_are_waited_for(timeout: Duration, answers: bool) -> Duration {
    let (tell, told) = mpsc::channel();
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_post() => {
            let start = Instant::now();
            if !answers {
                tell.send(start + timeout).unwrap();
                return exchange.hold();
            }
            tell.send(start).unwrap();
            exchange.respond("500 Internal Server Error", "")
        }
        request if request.is_poll() => exchange.hold(),
        _ => exchange.payload(OPEN),
    });
    let client = Client::builder().request_timeout(timeout).build().unwrap();
    let (end, ended) = mpsc::channel();
    client.on_disconnect(move |_, reason| end.send((Instant::now(), reason)));
    client.connect_with(server.url(), only(Polling)).unwrap();
    client.send("x").unwrap();
    let failed = told.recv_timeout(PATIENCE).unwrap();
    let (at, reason) = ended.recv_timeout(PATIENCE).unwrap();
    assert_eq!(reason, Reason::TransportError);
    assert!(matches!(client.disconnect(), Err(Error::Unsent { messages: 1, .. })));
    client.wait();
    at.saturating_duration_since(failed)
}

#[test]
fn a_server_that_fails_has_none() {
    let late = none_are_waited_for(PATIENCE, true);
    assert!(late < Duration::from_millis(500), "{late:?}");
}

/// The server's time ends with the request timeout of the unanswered POST.
#[test]
fn a_server_that_is_silent_has_none() {
    let late = none_are_waited_for(Duration::from_secs(2), false);
    assert!(late < Duration::from_millis(500), "{late:?}");
}
