//! Handlers that fail, panic, or do not end; and panics of other user code. A panic in a middleware ends the
//! connection like any other error, a panic in a logger changes nothing, and the client stays usable.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::real::{Event, Server};
use common::scripted::{Exchange, OPEN, Scripted};
use common::{Lines, PATIENCE, Stuck, Watch, eventually, only, within};
use engineio::{Client, Error, Message, Reason, State, TransportKind};
use log::Level;
use ureq::http::{Request, Response};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::{Agent, Body, SendBody};

use Reason::ClientDisconnect;
use TransportKind::{Polling, WebSocket};

#[test]
fn a_handler_that_fails_is_logged_and_the_connection_lives() {
    let server = Server::start();
    let lines = Lines::default();
    let client = Client::builder().logger(lines.clone()).build().unwrap();
    let (sender, seen) = mpsc::channel();
    client.on_message(move |_, message| match message.as_text() {
        Some("panic") => panic!("on purpose"),
        Some("fail") => Err("no luck".to_owned()),
        _ => sender.send(message).map_err(|e| e.to_string()),
    });
    client.on_disconnect(|_, _| -> () { panic!("at the end") });
    client.connect(server.url()).unwrap();
    ["panic", "fail", "after"].iter().for_each(|text| client.send(*text).unwrap());
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Message::from("after"));
    client.disconnect().unwrap();
    client.wait();
    let expected = [
        "the message handler failed: panicked: on purpose",
        "the message handler failed: no luck",
        "the disconnect handler failed: panicked: at the end",
    ];
    assert_eq!(lines.at(Level::Error), expected);
}

#[test]
fn a_connect_handler_that_fails_ends_the_connection() {
    for (panics, told) in [(false, "on purpose"), (true, "panicked: on purpose")] {
        for transport in [Polling, WebSocket] {
            let server = Server::start();
            let client = Client::new();
            let watch = Watch::new(&client);
            client.on_connect(move |_| if panics { panic!("on purpose") } else { Err("on purpose") });
            match client.connect_with(server.url(), only(transport)) {
                Err(Error::ConnectHandler { message, .. }) => assert_eq!(message, told),
                other => panic!("{other:?}"),
            }
            assert_eq!(server.next(), Event::Connect);
            server.disconnected();
            client.wait();
            watch.nothing_more();
            client.on_connect(|_| {});
            client.connect_with(server.url(), only(transport)).unwrap();
            client.disconnect().unwrap();
            assert_eq!(watch.disconnected(), ClientDisconnect);
        }
    }
}

/// Sends messages until the connection refuses one.
fn send_until_refused(client: &Client) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        client.send("x")?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Checks a connection whose server sends a message and ends before the connect handler sends. The error of
/// that send makes `connect` fail, and the other handlers are not called.
fn a_refused_connection_has_no_messages(server: &Scripted, transport: TransportKind) {
    let client = Client::builder().outbox_limit(1000).build().unwrap();
    let watch = Watch::new(&client);
    let events = client.events(10);
    client.on_connect(send_until_refused);
    let connected = client.connect_with(server.url(), only(transport));
    assert!(matches!(connected, Err(Error::ConnectHandler { .. })), "{connected:?}");
    client.wait();
    watch.nothing_more();
    assert!(events.is_empty(), "{:?}", events.try_iter().collect::<Vec<_>>());
    assert_eq!(client.state(), State::Disconnected);
}

#[test]
fn a_refused_connection_has_no_messages_by_polling() {
    for status in ["400 Bad Request", "500 Internal Server Error"] {
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.is_post() => exchange.respond(status, ""),
            request if request.is_poll() => exchange.hold(),
            _ => exchange.payload(format!("{OPEN}\u{1e}4hello")),
        });
        a_refused_connection_has_no_messages(&server, Polling);
    }
}

/// Either the reader or the sender notices the end first. The rounds cover both cases.
#[test]
fn a_refused_connection_has_no_messages_by_websocket() {
    let ends: [fn(&mut Exchange) -> io::Result<()>; 3] =
        [Exchange::reset, Exchange::close, |exchange| exchange.ws_text("1")];
    // In wine, a socket that was shut down takes what the client sends until it is closed.
    let kinds = if cfg!(windows) { 1 } else { ends.len() };
    for end in ends.into_iter().take(kinds) {
        let server = Scripted::websocket(move |exchange| {
            exchange.ws_text("4hello")?;
            exchange.ws_read_text()?;
            end(exchange)
        });
        (0..30).for_each(|_| a_refused_connection_has_no_messages(&server, WebSocket));
    }
}

/// The server does not answer the close, so `connect` waits.
#[test]
fn a_refused_connection_is_not_connected_while_it_closes() {
    let (over, test) = mpsc::channel::<()>();
    let test = Mutex::new(test);
    let server =
        Scripted::websocket(move |_| test.lock().unwrap().recv_timeout(PATIENCE).map_err(io::Error::other));
    let client = Client::builder().request_timeout(Duration::from_secs(2)).build().unwrap();
    client.on_connect(|_| Err("no"));
    let (connecting, url) = (client.clone(), server.url().to_owned());
    let connect = thread::spawn(move || connecting.connect_with(url, only(WebSocket)));
    eventually("it connects", || client.state() != State::Disconnected);
    eventually("it closes", || client.state() != State::Connecting && client.send("x").is_err());
    assert_ne!(client.state(), State::Connected);
    assert!(!client.is_connected());
    drop(over);
    assert!(matches!(connect.join().unwrap(), Err(Error::ConnectHandler { .. })));
    client.wait();
}

#[test]
fn a_handler_that_does_not_end_does_not_hold_disconnect_up() {
    let server = Server::start();
    let lines = Lines::default();
    let timeout = Duration::from_millis(300);
    let client = Client::builder().request_timeout(timeout).logger(lines.clone()).build().unwrap();
    let stuck = Stuck::new(&client);
    let (sender, reason) = mpsc::channel();
    client.on_disconnect(move |_, reason| sender.send(reason));
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.send("x").unwrap();
    stuck.entered();
    let start = Instant::now();
    client.disconnect().unwrap();
    assert!((timeout..Duration::from_secs(4)).contains(&start.elapsed()), "{:?}", start.elapsed());
    // The server gets the end of the session even so.
    server.disconnected();
    assert!(lines.at(Level::Warn).iter().any(|line| line.contains("a handler is still running")));
    assert!(!client.wait_timeout(Duration::ZERO));
    assert!(reason.try_recv().is_err());
    stuck.release();
    client.wait();
    assert_eq!(reason.try_recv(), Ok(ClientDisconnect));
}

#[test]
fn a_connection_that_is_over_is_not_connected_though_a_handler_runs() {
    let server = Scripted::websocket(|exchange| {
        exchange.ws_text("4x")?;
        exchange.ws_text("1")?;
        exchange.hold()
    });
    let client = Client::new();
    let stuck = Stuck::new(&client);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    stuck.entered();
    eventually("it is over", || !client.is_connected());
    assert_eq!(client.state(), State::Disconnecting);
    assert!(matches!(client.send("y"), Err(Error::SocketIsClosed)));
    assert!(matches!(client.connect(server.url()), Err(Error::AlreadyConnected)));
    stuck.release();
    client.wait();
    assert_eq!(client.state(), State::Disconnected);
}

/// A program may log in like this after a lost connection.
#[test]
fn a_disconnect_handler_that_connects_again_can_wait_for_an_answer() {
    let sessions = AtomicUsize::new(0);
    let server = Scripted::websocket(move |exchange| {
        if sessions.fetch_add(1, Ordering::SeqCst) == 0 {
            return exchange.ws_text("1");
        }
        while exchange.ws_read_text()? != "4login" {}
        exchange.ws_text("4welcome")?;
        exchange.hold()
    });
    let client = Client::new();
    let answers = client.create_queue(1);
    let messages = answers.clone();
    client.on_message(move |_, message| messages.put(message));
    let url = server.url().to_owned();
    let (tell, told) = mpsc::channel();
    client.on_disconnect(move |client, reason| {
        if reason == Reason::ServerDisconnect {
            client.connect_with(&url, only(WebSocket)).unwrap();
            client.send("login").unwrap();
            tell.send(answers.get_timeout(PATIENCE)).unwrap();
        }
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE * 2).unwrap(), Ok(Message::from("welcome")));
    client.disconnect().unwrap();
}

/// Ends its first session at once, and holds the others.
fn ends_the_first() -> Scripted {
    let sessions = AtomicUsize::new(0);
    Scripted::websocket(move |exchange| match sessions.fetch_add(1, Ordering::SeqCst) {
        0 => exchange.ws_text("1"),
        _ => exchange.hold(),
    })
}

#[test]
fn handlers_of_two_connections_do_not_overlap() {
    let server = ends_the_first();
    let client = Client::new();
    let (connected, connects) = mpsc::channel();
    client.on_connect(move |_| connected.send(()));
    let (begun, beginning) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let connects = Mutex::new(connects);
    client.on_disconnect(move |_, reason| {
        if reason == Reason::ServerDisconnect {
            let connects = connects.lock().unwrap();
            connects.recv_timeout(PATIENCE).unwrap();
            begun.send(()).unwrap();
            tell.send(connects.recv_timeout(Duration::from_millis(500))).unwrap();
        }
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    beginning.recv_timeout(PATIENCE).unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    assert_eq!(told.try_recv(), Ok(Err(mpsc::RecvTimeoutError::Timeout)));
    client.disconnect().unwrap();
}

#[test]
fn a_disconnect_handler_may_wait_for_a_thread_that_connects() {
    let server = ends_the_first();
    let client = Client::new();
    let (tell, told) = mpsc::channel();
    let url = server.url().to_owned();
    client.on_disconnect(move |client, reason| {
        if reason == Reason::ServerDisconnect {
            let (client, url) = (client.clone(), url.clone());
            let connect = thread::spawn(move || client.connect_with(&url, only(WebSocket)).is_ok());
            tell.send(connect.join().unwrap()).unwrap();
        }
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(true));
    client.disconnect().unwrap();
}

/// A middleware that panics at one request, and passes the others on.
struct PanicsAt {
    method: &'static str,
    /// The index of that request among those with the same method.
    which: usize,
    seen: AtomicUsize,
}

impl Middleware for PanicsAt {
    fn handle(
        &self,
        request: Request<SendBody>,
        next: MiddlewareNext,
    ) -> Result<Response<Body>, ureq::Error> {
        let hit = request.method() == self.method && self.seen.fetch_add(1, Ordering::SeqCst) == self.which;
        assert!(!hit, "no token");
        next.handle(request)
    }
}

fn panicking(method: &'static str, which: usize) -> Client {
    let middleware = PanicsAt { method, which, seen: AtomicUsize::new(0) };
    let agent: Agent = Agent::config_builder().middleware(middleware).build().into();
    Client::builder().http_agent(agent).build().unwrap()
}

/// Checks that the client can be used like a new one.
fn lives(client: &Client, watch: &Watch, server: &Server) {
    assert_eq!(client.state(), State::Disconnected);
    client.connect_with(server.url(), only(Polling)).unwrap();
    watch.connected();
    client.send("again").unwrap();
    assert_eq!(watch.message(), Message::from("again"));
    client.disconnect().unwrap();
    assert_eq!(watch.disconnected(), ClientDisconnect);
}

#[test]
fn a_middleware_while_connecting() {
    let server = Server::start();
    let client = panicking("GET", 0);
    let watch = Watch::new(&client);
    match client.connect_with(server.url(), only(Polling)) {
        Err(Error::Connection { message, .. }) => {
            assert!(message.contains("panicked: no token"), "{message}")
        }
        other => panic!("{other:?}"),
    }
    lives(&client, &watch, &server);
}

#[test]
fn a_middleware_while_connected() {
    let server = Server::start();
    // The first GET is the handshake; a POST carries a message.
    for (method, which) in [("GET", 1), ("POST", 0)] {
        let client = panicking(method, which);
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(Polling)).unwrap();
        watch.connected();
        // The send fails if the connection has ended already.
        let _ = client.send("x");
        assert_eq!(watch.disconnected(), Reason::TransportError, "{method}");
        within(PATIENCE, "wait returns", {
            let client = client.clone();
            move || client.wait()
        });
        let error = client.last_error().unwrap();
        assert!(error.to_string().contains("panicked: no token"), "{error}");
        lives(&client, &watch, &server);
    }
}

struct Panics;

impl log::Log for Panics {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        panic!("no log: {}", record.args());
    }

    fn flush(&self) {}
}

#[test]
fn a_log_that_always_panics_is_no_concern_of_a_connection() {
    let server = Server::start();
    let client = Client::builder().logger(Arc::new(Panics)).build().unwrap();
    let watch = Watch::new(&client);
    for transport in [Polling, WebSocket] {
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        client.send("x").unwrap();
        assert_eq!(watch.message(), Message::from("x"));
        client.disconnect().unwrap();
        assert_eq!(watch.disconnected(), ClientDisconnect);
    }
}
