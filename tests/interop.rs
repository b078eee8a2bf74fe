//! The client with the official servers, python-engineio (threads and asyncio) and npm's engine.io. The
//! behaviour is the same by long polling, by websocket, and by websocket after the upgrade.
//!
//! The servers and the commands that they understand (`cmd:...`) are described in `tests/servers/README.md`.

#![cfg(unix)]

use std::time::{Duration, Instant};

use common::official::{Kind, Options, PATIENCE, Server};
use common::{Seen, Watch, by, carrier, in_full, only};
use crossbeam_channel::unbounded;
use engineio::{Client, ConnectOptions, Disconnect, Error, Message, Reason, State, TransportKind};
use serde_json::{Value, json};

const MIB: usize = 1024 * 1024;

/// The way in which a client connects to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Polling,
    WebSocket,
    /// The client upgrades from polling to websocket.
    Upgrade,
}

impl Route {
    fn transports(self) -> &'static [TransportKind] {
        match self {
            Route::Polling => &[TransportKind::Polling],
            Route::WebSocket => &[TransportKind::WebSocket],
            Route::Upgrade => &[TransportKind::Polling, TransportKind::WebSocket],
        }
    }

    fn destination(self) -> TransportKind {
        carrier(self.transports())
    }
}

/// The server and the route of a test.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    route: Route,
}

/// A client that is connected to a server for this test alone.
struct Peer {
    case: Case,
    client: Client,
    watch: Watch,
    // The server is the last field, so it outlives the client.
    server: Server,
}

impl Peer {
    fn connect(case: Case, options: &Options) -> Self {
        let client = Client::new();
        let watch = Watch::new(&client);
        Self::connect_client(case, options, client, watch)
    }

    fn connect_client(case: Case, options: &Options, client: Client, watch: Watch) -> Self {
        let server = Server::start(case.kind, options);
        connect(&client, &server, by(case.route.transports()));
        let peer = Self { case, client, watch, server };
        assert_eq!(peer.event(), Seen::Connect);
        assert_eq!(peer.client.transport().ok(), Some(case.route.destination()), "{}", peer.state());
        peer
    }

    fn send(&self, message: impl Into<Message>) {
        self.client
            .send(message)
            .unwrap_or_else(|error| panic!("send: {}; {}", in_full(&error), self.state()));
    }

    fn event(&self) -> Seen {
        let event = self.watch.0.recv_timeout(PATIENCE);
        event.unwrap_or_else(|_| panic!("no event in {PATIENCE:?}; {}", self.state()))
    }

    fn message(&self) -> Message {
        match self.event() {
            Seen::Message(message) => message,
            other => panic!("{other:?} instead of a message; {}", self.state()),
        }
    }

    fn text(&self) -> String {
        let message = self.message();
        message.as_text().unwrap_or_else(|| panic!("not a text: {message:?}")).to_owned()
    }

    fn reason(&self) -> Reason {
        match self.event() {
            Seen::Disconnect(reason) => reason,
            Seen::Message(message) => panic!("{} instead of a disconnect", brief(&message)),
            Seen::Connect => panic!("connected twice"),
        }
    }

    fn disconnect(&self) {
        self.client.disconnect().unwrap_or_else(|error| panic!("disconnect: {}", in_full(&error)));
    }

    /// Sends the message, and checks that it comes back unchanged.
    fn echo(&self, message: impl Into<Message>) {
        let message = message.into();
        self.send(message.clone());
        let answer = self.message();
        assert!(answer == message, "sent {}, got back {}", brief(&message), brief(&answer));
    }

    /// Checks that the connection is alive: a message comes back, and no other has arrived.
    fn assert_alive(&self) {
        self.echo("still there?");
        assert!(self.client.is_connected(), "{}", self.state());
    }

    /// Checks that the connection is over, and that no more handlers are called.
    fn assert_over(&self) {
        assert!(self.client.wait_timeout(PATIENCE), "wait does not end; {}", self.state());
        assert_eq!(self.client.state(), State::Disconnected);
        assert!(matches!(self.client.send("too late"), Err(Error::SocketIsClosed)));
        self.watch.nothing_more();
    }

    /// A description for the text of a failure.
    fn state(&self) -> String {
        let error = self.client.last_error().map_or_else(|| "none".to_owned(), |error| in_full(&error));
        format!("{:?}, {:?}, last error: {error}", self.case, self.client.state())
    }
}

fn connect(client: &Client, server: &Server, options: ConnectOptions) {
    let connected = client.connect_with(server.url(), options);
    connected.unwrap_or_else(|error| panic!("connect: {}", in_full(&error)));
}

/// A short form of a message for the text of a failure.
fn brief(message: &Message) -> String {
    let bytes = message.as_bytes();
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    let kind = if message.as_text().is_some() { "text" } else { "binary" };
    format!("a {kind} of {} bytes: {start:?}...", bytes.len())
}

fn limit(max_payload: usize) -> Options {
    Options { max_payload, ..Options::default() }
}

/// Options with a ping every 0.3 s. The timeout leaves room for a machine that stalls.
fn fast_pings() -> Options {
    let (ping_interval, ping_timeout) = (Duration::from_millis(300), Duration::from_secs(2));
    Options { ping_interval, ping_timeout, ..Options::default() }
}

/// Options for which python-engineio announces an interval of 0, with a timeout shorter than a second.
fn announced_as_zero() -> Options {
    let (ping_interval, ping_timeout) = (Duration::from_millis(300), Duration::from_millis(900));
    Options { ping_interval, ping_timeout, ..Options::default() }
}

/// The time that the server may be silent before the client gives up.
fn tolerance(client: &Client) -> Duration {
    let handshake = client.handshake().expect("connected");
    handshake.ping_interval() + handshake.ping_timeout()
}

// These behaviours are tested with each server and each route.

fn handshake(case: Case) {
    let peer = Peer::connect(case, &fast_pings());
    let handshake = peer.client.handshake().expect("connected");
    assert_eq!(peer.client.sid().as_deref(), Some(handshake.sid()));
    assert_eq!(peer.server.wait_for("connect")["sid"], handshake.sid());
    // python-engineio announces whole seconds, rounded down. 0 counts as one second.
    let interval = if case.kind == Kind::Node { 300 } else { 1000 };
    assert_eq!(handshake.ping_interval(), Duration::from_millis(interval));
    assert_eq!(handshake.ping_timeout(), Duration::from_secs(2));
    assert_eq!(handshake.max_payload(), Some(1_000_000));
    let upgrades: &[&str] = if case.route == Route::WebSocket { &[] } else { &["websocket"] };
    assert_eq!(handshake.upgrades(), upgrades);
    peer.send("cmd:transport");
    assert_eq!(peer.text(), case.route.destination().to_string());
}

fn text(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    for text in [
        "hello",
        "",
        "grüße, 世界 and \u{1F600}\u{10FFFF}",
        "two\r\nlines\0and a NUL",
        " ",
        "4",
        "bAAA=",
        "1",
        "6",
    ] {
        peer.echo(text);
    }
}

fn json(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    let value = json!({"text": "\u{1F600} \"quoted\" \u{1e}", "numbers": [0, -1, 1.5], "nothing": null,
        "deep": [[{}]]});
    peer.client.send_json(&value).expect("connected");
    let answer = peer.message();
    assert_eq!(answer.as_text(), Some(value.to_string().as_str()), "the text that was sent comes back");
    assert_eq!(answer.json::<Value>().expect("it is JSON"), value);
    peer.send(format!("cmd:json {value}"));
    let answer = peer.message();
    assert_eq!(answer.json::<Value>().expect("it is JSON"), value, "as the server writes it: {answer}");
    // Texts that are JSON arrive as texts.
    for text in ["null", "true", "12", "\"quoted\"", "{ \"a\" : 1 }", "[]"] {
        peer.echo(text);
    }
}

fn binary(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    let all: Vec<u8> = (0..=255).collect();
    peer.echo(all);
    for size in 0..4 {
        // The sizes cover each padding of base64.
        peer.echo(vec![0xff; size]);
    }
    peer.echo("a text after it");
}

fn large(case: Case) {
    let peer = Peer::connect(case, &limit(4 * MIB));
    let text: String = "0123456789".chars().cycle().take(MIB).collect();
    let binary: Vec<u8> = (0..251).cycle().take(MIB).collect();
    peer.echo("ä€\u{1F600}".repeat(MIB / 9));
    peer.echo(binary.clone());
    peer.send(format!("cmd:big {MIB}"));
    peer.send(format!("cmd:bigbin {MIB}"));
    for expected in [Message::from(text), Message::from(binary)] {
        let message = peer.message();
        assert!(message == expected, "expected {}, got {}", brief(&expected), brief(&message));
    }
}

/// A message that just fits the server's `maxPayload` arrives. A larger one is refused, and the connection
/// stays open.
fn payload_limit(case: Case) {
    let peer = Peer::connect(case, &limit(10_000));
    peer.echo("x".repeat(9_999));
    let refused = peer.client.send("x".repeat(10_000));
    assert!(matches!(refused, Err(Error::MessageTooLarge { max: 10_000, .. })), "{refused:?}");
    // By polling the size of the base64 counts.
    let fits = if case.route == Route::Polling { 9_999 / 4 * 3 } else { 10_000 };
    peer.echo(vec![7; fits]);
    let refused = peer.client.send(vec![7; fits + 1]);
    assert!(matches!(refused, Err(Error::MessageTooLarge { max: 10_000, .. })), "{refused:?}");
    // Together the messages are larger than one request may be.
    for _ in 0..8 {
        peer.send("y".repeat(3_000));
    }
    for _ in 0..8 {
        assert_eq!(peer.text().len(), 3_000);
    }
    peer.assert_alive();
}

fn burst_to_server(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    (0..1000).for_each(|i| peer.send(format!("message {i}")));
    (0..1000).for_each(|i| assert_eq!(peer.text(), format!("message {i}")));
    peer.assert_alive();
}

fn burst_from_server(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.send("cmd:burst 1000 number ");
    for i in 0..1000 {
        assert_eq!(peer.text(), format!("number {i}"));
    }
    peer.assert_alive();
}

/// Messages that were sent before `disconnect` are written before the connection ends.
fn burst_before_disconnect(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.send("cmd:quiet");
    for i in 0..1000 {
        peer.send(format!("message {i}"));
    }
    peer.disconnect();
    let seen = peer.server.wait_for("disconnect");
    assert_eq!(seen["received"], 1000, "{seen}");
    assert_eq!(peer.reason(), Reason::ClientDisconnect);
    peer.assert_over();
}

fn server_disconnects(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.echo("one message");
    peer.send("cmd:close");
    assert_eq!(peer.reason(), Reason::ServerDisconnect, "{}", peer.state());
    peer.assert_over();
    let seen = peer.server.wait_for("disconnect");
    let reason = if case.kind == Kind::Node { "forced close" } else { "server disconnect" };
    assert_eq!((&seen["reason"], &seen["received"]), (&json!(reason), &json!(1)));
}

/// A disconnect reaches the server without a ping. The next ping would come only after 25 s.
fn client_disconnects(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.echo("one message");
    let start = Instant::now();
    peer.disconnect();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "disconnect took {took:?}");
    assert_eq!(
        peer.watch.0.try_recv(),
        Ok(Seen::Disconnect(Reason::ClientDisconnect)),
        "the handler has run"
    );
    peer.assert_over();
    let seen = peer.server.wait_for("disconnect");
    // The JavaScript server has no other name for this reason.
    let reason = if case.kind == Kind::Node { "transport close" } else { "client disconnect" };
    assert_eq!((&seen["reason"], &seen["received"]), (&json!(reason), &json!(1)));
}

/// An abort waits for nothing. By websocket the server notices it at once all the same.
fn client_aborts(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.echo("one message");
    // The echo may overtake the response to the POST, and an unconfirmed message counts as unsent.
    peer.client.flush(Duration::from_secs(10)).expect("the server answers");
    peer.client.disconnect_with(Disconnect::new().abort(true).reason("enough")).expect("nothing is queued");
    assert_eq!(peer.reason(), Reason::Other("enough".to_owned()));
    peer.assert_over();
    // By polling the servers cannot notice the abort at once. The Python servers do not see that a poll is
    // cut off, and there may be no poll at the moment. They wait 45 s for the next pong.
    if case.route != Route::Polling {
        peer.server.wait_for("disconnect");
    }
}

fn reconnects(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    let first = peer.client.sid();
    for _ in 0..3 {
        peer.disconnect();
        assert_eq!(peer.reason(), Reason::ClientDisconnect);
        connect(&peer.client, &peer.server, by(case.route.transports()));
        assert_eq!(peer.event(), Seen::Connect);
        peer.assert_alive();
    }
    assert_ne!(peer.client.sid(), first, "a new connection is a new session");
}

fn ten_pings(case: Case) {
    let peer = Peer::connect(case, &fast_pings());
    for _ in 0..10 {
        peer.server.wait_for("pong");
    }
    assert!(!peer.client.wait_timeout(Duration::ZERO), "the connection has ended; {}", peer.state());
    peer.assert_alive();
}

/// The server's process is stopped. Connections stay open, but no more data arrives.
fn frozen_server(case: Case) {
    let peer = Peer::connect(case, &fast_pings());
    let bound = tolerance(&peer.client) + Duration::from_secs(3);
    peer.server.freeze();
    let start = Instant::now();
    assert_eq!(peer.reason(), Reason::PingTimeout, "{}", peer.state());
    let took = start.elapsed();
    assert!(took < bound, "noticed after {took:?}, not within {bound:?}");
    peer.assert_over();
}

/// The connection lives although the server announces an interval of 0, also while a handler runs. It ends
/// when the server falls silent.
fn interval_of_zero(case: Case) {
    let (asleep, falls_asleep) = unbounded();
    let client = Client::new();
    let watch = Watch::after(&client, move |client, message| {
        if message.as_text() == Some("sleep") {
            // The send fails if the test has failed already.
            let _ = asleep.send(());
            client.sleep(Duration::from_secs(3));
        }
    });
    let peer = Peer::connect_client(case, &announced_as_zero(), client, watch);
    let handshake = peer.client.handshake().expect("connected");
    if case.kind != Kind::Node {
        assert_eq!(handshake.ping_interval(), Duration::from_secs(1));
        assert_eq!(handshake.ping_timeout(), Duration::from_millis(900));
    }
    for _ in 0..5 {
        peer.server.wait_for("pong");
    }
    peer.send("sleep");
    falls_asleep.recv_timeout(PATIENCE).expect("the handler is called");
    for _ in 0..5 {
        peer.server.wait_for("pong");
    }
    assert_eq!(peer.text(), "sleep", "{}", peer.state());
    peer.assert_alive();
    peer.server.freeze();
    assert_eq!(peer.reason(), Reason::PingTimeout, "{}", peer.state());
    peer.assert_over();
}

/// A handler that blocks the reader for three times the time after which both sides give up.
fn slow_handler(case: Case) {
    let (asleep, falls_asleep) = unbounded();
    let client = Client::new();
    let watch = Watch::after(&client, move |client, message| {
        if message.as_text() == Some("sleep") {
            // The send fails if the test has failed already.
            let _ = asleep.send(());
            client.sleep(3 * tolerance(client));
        }
    });
    let peer = Peer::connect_client(case, &fast_pings(), client, watch);

    peer.send("sleep");
    falls_asleep.recv_timeout(PATIENCE).expect("the handler is called");
    for i in 0..5 {
        // The pings are answered, and sending works.
        peer.server.wait_for("pong");
        peer.send(format!("message {i}"));
    }
    // Nothing is delivered while the handler sleeps.
    peer.watch.nothing_more();
    assert_eq!(peer.text(), "sleep", "{}", peer.state());
    for i in 0..5 {
        assert_eq!(peer.text(), format!("message {i}"));
    }
    peer.assert_alive();
}

// These tests use polling only.

/// Node and uvicorn close an HTTP connection that was idle for 5 s. Node adds a second that it does not
/// announce. The next POST must not be lost in a closed connection.
fn post_after_idle(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.echo("opens the connection");
    assert!(!peer.client.wait_timeout(Duration::from_secs(8)), "the connection has ended; {}", peer.state());
    peer.assert_alive();
}

/// A server that closes each HTTP connection behind its answer, and does not announce it.
#[test]
#[ignore = "needs python3 and node"]
fn uvicorn_without_keep_alive() {
    let options = Options { keep_alive: Some(0), ..Options::default() };
    let case = Case { kind: Kind::PythonAsgi, route: Route::Polling };
    let peer = Peer::connect(case, &options);
    for i in 0..500 {
        peer.echo(format!("message {i}"));
    }
    peer.assert_alive();
}

// These tests run once for each server.

/// The transport that a client with `transports` ends up with, at a server with the transports `allowed`. A
/// message comes back by it.
fn gets_to(kind: Kind, allowed: &'static str, transports: [TransportKind; 2]) -> TransportKind {
    let server = Server::start(kind, &Options { transports: allowed, ..Options::default() });
    let client = Client::new();
    let watch = Watch::new(&client);
    connect(&client, &server, by(&transports));
    watch.connected();
    client.send("hello").expect("connected");
    assert_eq!(watch.message(), Message::from("hello"));
    client.transport().expect("connected")
}

/// The server refuses the upgrade, whether it offers one or not. The connection stays on polling.
fn upgrade_refused(kind: Kind) {
    use TransportKind::{Polling, WebSocket};
    assert_eq!(gets_to(kind, "polling", [Polling, WebSocket]), Polling);
}

fn falls_back(kind: Kind) {
    use TransportKind::{Polling, WebSocket};
    assert_eq!(gets_to(kind, "polling", [WebSocket, Polling]), Polling);
    assert_eq!(gets_to(kind, "websocket", [Polling, WebSocket]), WebSocket);
}

/// The error contains the server's own explanation.
fn transport_refused(kind: Kind) {
    let server = Server::start(kind, &Options { transports: "websocket", ..Options::default() });
    let error = Client::new()
        .connect_with(server.url(), only(TransportKind::Polling))
        .expect_err("polling is not allowed");
    let Error::Connection { status, ref body, .. } = error else { panic!("another error: {error:?}") };
    let expected = match kind {
        Kind::Node => json!({"code": 0, "message": "Transport unknown"}),
        _ => json!("Invalid transport"),
    };
    assert_eq!((status, body.as_deref()), (Some(400), Some(&expected)), "{error}");
}

macro_rules! tests {
    ($argument:expr; $($name:ident)*) => {$(
        #[test]
        #[ignore = "needs python3 and node"]
        fn $name() {
            crate::$name($argument);
        }
    )*};
}

// These tests need a server of their own kind.

/// npm's server refuses a slash at the end of the path, or requires it.
#[test]
#[ignore = "needs python3 and node"]
fn paths_of_the_official_servers() {
    let table = [
        (Kind::Node, "engine.io", false),
        (Kind::Node, "deep/er", true),
        (Kind::Node, "", true),
        (Kind::PythonThreading, "deep/er", true),
        (Kind::PythonAsgi, "deep/er", true),
    ];
    for (kind, path, trailing_slash) in table {
        let server = Server::start(kind, &Options { path, trailing_slash, ..Options::default() });
        let connect = |route: Route, slash| {
            let path = if path.is_empty() { "/" } else { path };
            let options = by(route.transports()).path(path).trailing_slash(slash);
            let client = Client::new();
            client.connect_with(server.url(), options).map(|()| client)
        };
        for route in [Route::Polling, Route::WebSocket, Route::Upgrade] {
            let client = connect(route, trailing_slash).unwrap();
            assert_eq!(client.transport().unwrap(), route.destination(), "{kind:?}, {path:?}");
            client.disconnect().unwrap();
        }
        if kind == Kind::Node && !path.is_empty() && trailing_slash {
            connect(Route::Polling, false).map(drop).expect_err("the slash makes a difference");
        }
    }
}

#[test]
#[ignore = "needs python3 and node"]
fn unix_sockets_of_the_official_servers() {
    for kind in [Kind::Node, Kind::PythonAsgi] {
        let path = std::env::temp_dir().join(format!("eio-{kind:?}-{}.sock", std::process::id()));
        let server = Server::start(kind, &Options { socket: Some(path.clone()), ..Options::default() });
        let encoded = path.display().to_string().replace('/', "%2F");
        for url in [format!("unix://{}", path.display()), format!("http+unix://{encoded}/")] {
            for route in [Route::Polling, Route::WebSocket, Route::Upgrade] {
                let client = Client::new();
                let watch = Watch::new(&client);
                client.connect_with(&url, by(route.transports())).unwrap();
                watch.connected();
                client.send("cmd:transport").unwrap();
                assert_eq!(watch.message(), Message::from(route.destination().as_str()), "{kind:?}, {url}");
                client.disconnect().unwrap();
            }
        }
        drop(server);
        let _ = std::fs::remove_file(path);
    }
}

/// A server of Engine.IO v3 is told at once, by every transport.
#[test]
#[ignore = "needs python3 and node"]
fn version_3() {
    let options = Options { ping_timeout: Duration::from_secs(5), ..Options::default() };
    let server = Server::start(Kind::NodeV3, &options);
    for route in [Route::Polling, Route::WebSocket, Route::Upgrade] {
        let error = Client::new().connect_with(server.url(), by(route.transports())).unwrap_err();
        assert!(error.to_string().contains("the server speaks Engine.IO v3"), "{route:?}: {error}");
    }
}

/// A server of Engine.IO v3 with other times than the usual ones is told when it ends the connection, because
/// it has got no pings.
#[test]
#[ignore = "needs python3 and node"]
fn version_3_with_other_times() {
    let server = Server::start(Kind::NodeV3, &fast_pings());
    let client = Client::new();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(TransportKind::WebSocket)).unwrap();
    watch.connected();
    let reason = watch.disconnected();
    // The server and the client give up at the same time.
    assert!(matches!(reason, Reason::ServerDisconnect | Reason::PingTimeout), "{reason:?}");
    client.wait();
    let error = client.last_error().expect("a reason").to_string();
    assert!(error.contains("Engine.IO v3"), "{error}");
}

macro_rules! routes {
    ($kind:ident; $($module:ident: $route:ident $($more:ident)*;)*) => {$(
        mod $module {
            use crate::{Case, Kind, Route};

            tests! { Case { kind: Kind::$kind, route: Route::$route };
                handshake text json binary large payload_limit
                burst_to_server burst_from_server burst_before_disconnect
                server_disconnects client_disconnects client_aborts reconnects
                ten_pings frozen_server slow_handler interval_of_zero
                $($more)*
            }
        }
    )*};
}

macro_rules! servers {
    ($($module:ident: $kind:ident;)*) => {$(
        mod $module {
            routes! { $kind;
                polling: Polling post_after_idle;
                websocket: WebSocket;
                upgrade: Upgrade;
            }

            use crate::Kind;

            tests! { Kind::$kind; upgrade_refused falls_back transport_refused }
        }
    )*};
}

servers! {
    python_threading: PythonThreading;
    python_asgi: PythonAsgi;
    node: Node;
}
