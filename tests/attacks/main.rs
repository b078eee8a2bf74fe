//! What a server that means ill can do beyond `hostile.rs`: at every point of a session, and without end. The client
//! ends in time and with an error that says why, tells its user once, stays within its memory, and connects again.

#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod bombs;
mod floods;
mod frames;
mod handshakes;
mod http;
mod packets;
mod posts;

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::scripted::{Exchange, OPEN, Scripted};
use common::{Seen, Watch, within};
use engineio::{Client, ConnectOptions, Error, Message, Reason, State, TransportKind};

use TransportKind::{Polling, WebSocket};

/// What anything may take at most on a busy machine.
const BOUND: Duration = Duration::from_secs(15);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

const MAX_MESSAGE: usize = 1 << 20;

/// How much memory an attack may take, the server's own and that of the tests beside it included.
const ROOM: usize = 200 << 20;

fn only(transport: TransportKind) -> ConnectOptions {
    ConnectOptions::new().transports([transport])
}

fn client() -> Client {
    Client::builder().request_timeout(REQUEST_TIMEOUT).max_message_size(MAX_MESSAGE).build().unwrap()
}

/// Answers as a server should, with one message.
fn friendly(exchange: &mut Exchange) -> io::Result<()> {
    match &exchange.request {
        request if request.is_websocket() => {
            exchange.open_websocket(OPEN)?;
            exchange.ws_text("4welcome")?;
            exchange.hold()
        }
        request if request.method == "POST" => exchange.payload("ok"),
        request if request.is_poll() => exchange.hold(),
        _ => exchange.payload([OPEN, "\x1e4welcome"].concat()),
    }
}

/// A server that is hostile until it is told otherwise.
struct Foe {
    server: Scripted,
    tamed: Arc<AtomicBool>,
}

impl Foe {
    fn new(attack: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let tamed = Arc::new(AtomicBool::new(false));
        let server = Scripted::start({
            let tamed = tamed.clone();
            move |exchange| if tamed.load(Ordering::SeqCst) { friendly(exchange) } else { attack(exchange) }
        });
        Foe { server, tamed }
    }

    /// Opens a session by websocket, and goes on like that.
    fn by_websocket(attack: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Foe::new(move |exchange| {
            exchange.open_websocket(OPEN)?;
            attack(exchange)
        })
    }

    /// Opens a session by polling, and answers its polls like that.
    fn by_polls(attack: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Foe::new(move |exchange| match &exchange.request {
            request if request.is_poll() => attack(exchange),
            _ => friendly_handshake(exchange),
        })
    }

    fn url(&self) -> &str {
        self.server.url()
    }

    fn connect(&self, client: &Client, transport: TransportKind) -> Result<(), Error> {
        let (client, url) = (client.clone(), self.url().to_owned());
        within(BOUND, "connect", move || client.connect_with(url, only(transport)))
    }

    /// The client, and what the attack left of it, is as good as new.
    fn forgives(&self, client: &Client, watch: &Watch, transport: TransportKind) {
        self.tamed.store(true, Ordering::SeqCst);
        assert_eq!(client.state(), State::Disconnected);
        watch.nothing_more();
        self.connect(client, transport).unwrap();
        watch.connected();
        assert_eq!(watch.message(), Message::from("welcome"));
        self.leave(client);
        assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
        watch.nothing_more();
    }

    fn leave(&self, client: &Client) {
        let client = client.clone();
        // The friendly server holds its websocket open: the disconnect may reach its bound.
        within(BOUND, "disconnect", move || client.disconnect()).unwrap();
    }
}

fn friendly_handshake(exchange: &mut Exchange) -> io::Result<()> {
    if exchange.request.method == "POST" { exchange.payload("ok") } else { exchange.payload(OPEN) }
}

/// An error with its causes.
fn in_full(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The attack comes in a session: it ends once, with that reason and an error that says so, and there can be
/// another. Returns the messages that came before the end.
fn ends(what: &str, foe: &Foe, transport: TransportKind, reason: &Reason, told: &str) -> Vec<Message> {
    let client = client();
    let watch = Watch::new(&client);
    let connected = foe.connect(&client, transport);
    assert!(connected.is_ok(), "{what}: {connected:?}");
    watch.connected();
    // By polling, so that there is a POST.
    let _ = client.send("x");
    let messages = until_end(what, &watch, reason);
    client.wait();
    let error = client.last_error().map(|error| in_full(&error)).unwrap_or_default();
    assert!(error.contains(told), "{what}: {error:?} does not tell {told:?}");
    foe.forgives(&client, &watch, transport);
    messages
}

fn until_end(what: &str, watch: &Watch, reason: &Reason) -> Vec<Message> {
    let mut messages = Vec::new();
    let start = Instant::now();
    loop {
        match watch.next() {
            Seen::Message(message) => messages.push(message),
            Seen::Disconnect(why) => {
                assert_eq!(why, *reason, "{what}");
                return messages;
            }
            Seen::Connect => panic!("{what}: connected twice"),
        }
        assert!(start.elapsed() < BOUND, "{what}: no end");
    }
}

/// The attack comes before there is a session: `connect` says so.
fn refused(what: &str, foe: &Foe, transport: TransportKind, told: &str) {
    let client = client();
    let watch = Watch::new(&client);
    match foe.connect(&client, transport) {
        Ok(()) => panic!("{what}: connected"),
        Err(
            e @ (Error::Connection { .. }
            | Error::Protocol { .. }
            | Error::Timeout { .. }
            | Error::WebSocketClosed { .. }),
        ) => {
            assert!(in_full(&e).contains(told), "{what}: {:?} does not tell {told:?}", in_full(&e));
        }
        Err(other) => panic!("{what}: {other:?}"),
    }
    foe.forgives(&client, &watch, transport);
}

/// How much more memory the process had at its peak than before.
fn growth(run: impl FnOnce()) -> usize {
    use std::sync::{Mutex, PoisonError};
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let status = |field: &str| -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap() * 1024
    };
    // Forgets the former peak.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    run();
    status("VmHWM:").saturating_sub(before)
}
