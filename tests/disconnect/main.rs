//! The end of a connection: its reason, the messages before it, the callers that are told, and the calls
//! after it.

mod deaf;
mod endings;
mod last_words;
#[cfg(target_os = "linux")]
mod waiters;
mod waits;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::real::Server;
use common::scripted::{Exchange, OPEN, Scripted};
use common::{PATIENCE, Stuck, WAYS, Watch, abort, by, connected, only, within};
use crossbeam_channel::{Receiver, bounded};
use engineio::{Client, Direction, Disconnect, Error, PacketInfo, Reason, TransportKind};
use ureq::http::{Request, Response};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::{Agent, Body, SendBody};

use Reason::{ClientDisconnect, ServerDisconnect};
use TransportKind::{Polling, WebSocket};

pub(crate) type Script = fn(&mut Exchange) -> io::Result<()>;

/// A polling server with scripts for its polls and POSTs.
pub(crate) fn polling(poll: Script, post: Script) -> Scripted {
    Scripted::start(move |exchange| match &exchange.request {
        request if request.is_post() => post(exchange),
        request if request.is_poll() => poll(exchange),
        _ => exchange.payload(OPEN),
    })
}

#[test]
fn a_disconnect_writes_everything_first() {
    for options in WAYS.map(by) {
        let server = Server::start();
        let client = Client::new();
        client.connect_with(server.url(), options).unwrap();
        client.send("cmd:quiet").unwrap();
        (0..1000).for_each(|i| client.send(i.to_string()).unwrap());
        client.disconnect().unwrap();
        assert_eq!(server.texts_until_disconnect(), (0..1000).map(|i| i.to_string()).collect::<Vec<_>>());
    }
}

/// The server ends the poll before it answers the POST with the close packet.
#[test]
fn an_answer_to_the_last_post_that_comes_late_counts() {
    for end in ["1", "6"] {
        let (told, tells) = mpsc::channel();
        let tells = std::sync::Mutex::new(tells);
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.is_post() => {
                told.send(()).unwrap();
                // By then the client has read the end of its poll. If it has not, the test shows nothing.
                thread::sleep(Duration::from_millis(200));
                exchange.payload("ok")
            }
            request if request.is_poll() => {
                let told = tells.lock().unwrap().recv_timeout(PATIENCE);
                told.map_err(io::Error::other)?;
                exchange.payload(end)
            }
            _ => exchange.payload(OPEN),
        });
        let client = Client::new();
        client.connect_with(server.url(), only(Polling)).unwrap();
        client.disconnect().unwrap();
        assert_eq!(client.stats().sent.packets, 1, "{end}: the close");
    }
}

/// A server that reports each frame of a websocket client as text until the end, and a close frame as
/// `close`.
fn recorder() -> (Scripted, mpsc::Receiver<String>) {
    let (sender, frames) = mpsc::channel();
    let server = Scripted::websocket(move |exchange| {
        exchange.ws_text("4go")?;
        loop {
            let frame = match exchange.ws_read() {
                Ok((8, _)) => "close".to_owned(),
                Ok((_, payload)) => String::from_utf8(payload).unwrap(),
                Err(e) => {
                    sender.send("EOF".into()).unwrap();
                    return Err(e);
                }
            };
            sender.send(frame).unwrap();
        }
    });
    (server, frames)
}

fn until_eof(frames: &mpsc::Receiver<String>) -> Vec<String> {
    let mut all = Vec::new();
    while all.last().is_none_or(|last| last != "EOF") {
        all.push(frames.recv_timeout(PATIENCE).expect("the client closes"));
    }
    all
}

#[test]
fn the_server_is_told_last() {
    let (server, frames) = recorder();
    let (client, watch) = connected(server.url(), only(WebSocket));
    watch.message();
    client.send("a").unwrap();
    client.disconnect_with(Disconnect::new().reason("logged out")).unwrap();
    assert_eq!(until_eof(&frames), ["4a", "1", "close", "EOF"]);
    assert_eq!(watch.disconnected(), Reason::Other("logged out".into()));
    assert!(client.last_error().is_none());
    watch.nothing_more();
}

#[test]
fn an_abort_tells_and_waits_for_nobody() {
    let (server, frames) = recorder();
    let client = Client::new();
    let stuck = Stuck::new(&client);
    let (sender, reason) = mpsc::channel();
    client.on_disconnect(move |_, reason| sender.send(reason));
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    stuck.entered();
    within(PATIENCE, "abort", {
        let client = client.clone();
        move || abort(&client)
    });
    assert_eq!(until_eof(&frames), ["EOF"]);
    assert!(reason.try_recv().is_err(), "the message handler still runs");
    stuck.release();
    client.wait();
    assert_eq!(reason.try_recv(), Ok(ClientDisconnect));
}

/// A server that sends one message and then, if `end` is set, ends the session.
fn brief(transport: TransportKind, end: bool) -> Scripted {
    if transport == WebSocket {
        return Scripted::websocket(move |exchange| {
            exchange.ws_text("4x")?;
            if end { exchange.ws_text("1") } else { exchange.hold() }
        });
    }
    Scripted::polling(move |exchange| match exchange.polls() {
        1 => exchange.payload("4x"),
        _ if end => exchange.payload("1"),
        _ => exchange.hold(),
    })
}

#[test]
fn disconnect_inside_each_handler() {
    for transport in [Polling, WebSocket] {
        for (place, expected) in [
            ("connect", &["connect", "disconnect", "client disconnect"][..]),
            ("message", &["connect", "message", "disconnect", "client disconnect"]),
            ("disconnect", &["connect", "message", "disconnect", "server disconnect"]),
        ] {
            let server = brief(transport, place == "disconnect");
            let client = Client::new();
            let (sender, seen) = mpsc::channel();
            let handler = {
                let sender = sender.clone();
                move |client: &Client, here: &'static str| {
                    sender.send(here.to_owned()).unwrap();
                    if here == place {
                        client.disconnect().unwrap();
                        client.wait();
                        assert!(matches!(client.send("late"), Err(Error::SocketIsClosed)));
                    }
                }
            };
            let [connect, message, disconnect] = [handler.clone(), handler.clone(), handler];
            client.on_connect(move |client| connect(client, "connect"));
            client.on_message(move |client, _| message(client, "message"));
            client.on_disconnect(move |client, reason| {
                disconnect(client, "disconnect");
                sender.send(reason.to_string())
            });
            client.connect_with(server.url(), only(transport)).unwrap();
            let waited = client.clone();
            within(PATIENCE, place, move || waited.wait());
            assert_eq!(seen.try_iter().collect::<Vec<_>>(), expected, "{transport}, {place}");
        }
    }
}

#[test]
fn dropping_the_last_handle_ends_the_connection() {
    let (server, frames) = recorder();
    let client = Client::new();
    let stuck = Stuck::new(&client);
    let (sender, reason) = mpsc::channel();
    client.on_disconnect(move |_, reason| sender.send(reason));
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let second = client.clone();
    stuck.entered();
    drop(client);
    second.send("the second handle").unwrap();
    // The handler is still running, so a drop that waits for it would never return.
    within(PATIENCE, "drop", move || drop(second));
    assert_eq!(until_eof(&frames), ["4the second handle", "1", "close", "EOF"]);
    stuck.release();
    assert_eq!(reason.recv_timeout(PATIENCE), Ok(ClientDisconnect));
}

#[test]
fn what_was_queued_for_one_connection_is_not_sent_by_the_next() {
    // The first session never answers a POST, and ends.
    let sessions = AtomicUsize::new(0);
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_post() && sessions.load(Ordering::SeqCst) == 1 => exchange.hold(),
        request if request.is_post() => exchange.payload("ok"),
        request if request.is_poll() && sessions.load(Ordering::SeqCst) == 1 => {
            thread::sleep(Duration::from_millis(200));
            exchange.payload("1")
        }
        request if request.is_poll() => exchange.hold(),
        _ => {
            sessions.fetch_add(1, Ordering::SeqCst);
            exchange.payload(OPEN)
        }
    });
    let client = Client::new();
    let watch = Watch::new(&client);
    assert!(matches!(client.send("before"), Err(Error::SocketIsClosed)));
    client.connect_with(server.url(), only(Polling)).unwrap();
    (0..100).for_each(|i| client.send(format!("old {i}")).unwrap());
    watch.connected();
    assert_eq!(watch.disconnected(), ServerDisconnect);
    client.wait();
    let first = server.requests().len();
    client.connect_with(server.url(), only(Polling)).unwrap();
    client.send("new").unwrap();
    client.disconnect().unwrap();
    let posts: Vec<_> = server.requests().split_off(first);
    let posts: Vec<_> = posts.iter().filter(|request| request.is_post()).collect();
    let sent: Vec<&str> = posts.iter().flat_map(|post| post.text().split('\u{1e}')).collect();
    assert_eq!(sent, ["4new", "1"]);
}

/// Answers a request byte by byte, without an end.
fn trickle(exchange: &mut Exchange) -> io::Result<()> {
    exchange.raw("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
    loop {
        exchange.raw("x")?;
        thread::sleep(Duration::from_millis(10));
    }
}

/// Answers a request with a long body that keeps arriving.
fn stream(exchange: &mut Exchange) -> io::Result<()> {
    exchange.raw("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
    loop {
        exchange.raw("x".repeat(200))?;
        thread::sleep(Duration::from_millis(10));
    }
}

/// An idle polling client writes its close on the thread that disconnects.
#[test]
fn a_goodbye_that_is_not_answered_ends_in_time() {
    for answer in [Exchange::hold as Script, trickle, stream] {
        let server = polling(Exchange::hold, answer);
        let client = Client::builder().request_timeout(Duration::from_millis(500)).build().unwrap();
        client.connect_with(server.url(), only(Polling)).unwrap();
        within(PATIENCE, "disconnect", move || client.disconnect().unwrap());
    }
}

#[test]
fn an_abort_interrupts_a_disconnect_that_waits_for_the_answer() {
    for answer in [Exchange::hold as Script, trickle] {
        let server = polling(Exchange::hold, answer);
        let client = Client::builder().request_timeout(60 * PATIENCE).build().unwrap();
        client.connect_with(server.url(), only(Polling)).unwrap();
        let waiting = client.clone();
        let waiting = thread::spawn(move || waiting.disconnect());
        server.wait_for("the goodbye", |request| request.is_post());
        within(PATIENCE, "both", move || {
            client.disconnect_with(Disconnect::new().abort(true)).unwrap();
            waiting.join().unwrap().unwrap();
            assert!(client.wait_timeout(PATIENCE));
        });
    }
}

#[test]
fn a_disconnect_is_bounded_whatever_the_server_and_the_handlers_do() {
    // The server notices nothing before the test is over.
    let (over, test) = bounded::<()>(0);
    let deaf = Scripted::websocket(move |_| test.recv().map_err(io::Error::other));
    let silent = polling(Exchange::hold, Exchange::hold);
    for (transport, server) in [(WebSocket, &deaf), (Polling, &silent)] {
        let client = Client::builder().request_timeout(Duration::from_millis(300)).build().unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        let start = Instant::now();
        client.disconnect().unwrap();
        assert!(start.elapsed() < Duration::from_secs(4), "{transport}: {:?}", start.elapsed());
        assert_eq!(watch.disconnected(), ClientDisconnect);
    }
    drop(over);
}

/// A middleware that holds every POST until its channel ends.
struct Holds(Receiver<()>);

impl Middleware for Holds {
    fn handle(
        &self,
        request: Request<SendBody>,
        next: MiddlewareNext,
    ) -> Result<Response<Body>, ureq::Error> {
        if request.method() == "POST" {
            let _ = self.0.recv();
        }
        next.handle(request)
    }
}

/// The thread that disconnects runs no code of the user's, except for a logger.
#[test]
fn a_disconnect_is_bounded_whatever_the_users_code_does_meanwhile() {
    let server =
        polling(Exchange::hold, |exchange| exchange.respond_with("200 OK", "Set-Cookie: a=1\r\n", "ok"));
    let (release, released) = bounded(0);
    let builder = || Client::builder().request_timeout(Duration::from_millis(300));
    let middleware: Agent = Agent::config_builder().middleware(Holds(released.clone())).build().into();
    let observed = released.clone();
    let observer = move |direction, _: &PacketInfo| {
        if direction == Direction::Sent {
            let _ = observed.recv();
        }
    };
    for (what, client) in [
        ("observer", builder().on_packet(observer).build().unwrap()),
        ("middleware", builder().http_agent(middleware).build().unwrap()),
    ] {
        client.connect_with(server.url(), only(Polling)).unwrap();
        within(PATIENCE, what, move || client.disconnect().unwrap());
    }
    let agent = Agent::new_with_defaults();
    let client = builder().http_agent(agent.clone()).build().unwrap();
    client.connect_with(server.url(), only(Polling)).unwrap();
    within(PATIENCE, "a lock of the user's", move || {
        let _held = agent.cookie_jar_lock();
        client.disconnect().unwrap();
    });
    drop(release);
}
