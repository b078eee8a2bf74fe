//! Code of the user's that panics outside of a handler: the connection ends like any other, and the client lives on.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::real::Server;
use common::{PATIENCE, Watch, only, within};
use engineio::{Client, ConnectOptions, Error, Message, Reason, State, TransportKind};
use ureq::http::{Request, Response};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::{Agent, Body, SendBody};

/// Panics at one request, and lets the others pass.
struct PanicsAt {
    method: &'static str,
    /// Counted among those with that method.
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

fn client(method: &'static str, which: usize) -> Client {
    let middleware = PanicsAt { method, which, seen: AtomicUsize::new(0) };
    let agent: Agent = Agent::config_builder().middleware(middleware).build().into();
    Client::builder().http_agent(agent).build().unwrap()
}

/// The client is as good as new.
fn lives(client: &Client, watch: &Watch, server: &Server) {
    assert_eq!(client.state(), State::Disconnected);
    client.connect_with(server.url(), only(TransportKind::Polling)).unwrap();
    watch.connected();
    client.send("again").unwrap();
    assert_eq!(watch.message(), Message::from("again"));
    client.disconnect().unwrap();
    assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
}

#[test]
fn a_middleware_while_connecting() {
    let server = Server::start();
    let client = client("GET", 0);
    let watch = Watch::new(&client);
    match client.connect_with(server.url(), only(TransportKind::Polling)) {
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
        let client = client(method, which);
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(TransportKind::Polling)).unwrap();
        watch.connected();
        // A connection that has ended refuses it.
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
    for transports in [&[TransportKind::Polling][..], &[TransportKind::WebSocket]] {
        let options = ConnectOptions::new().transports(transports.iter().copied());
        client.connect_with(server.url(), options).unwrap();
        watch.connected();
        client.send("x").unwrap();
        assert_eq!(watch.message(), Message::from("x"));
        client.disconnect().unwrap();
        assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
    }
}
