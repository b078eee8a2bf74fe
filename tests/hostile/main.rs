//! A hostile server, at every point of a session, and without end. The client ends in time with an error that
//! gives the reason, calls its handlers once, stays within its memory, and can connect again.

#![cfg(target_os = "linux")]

mod chance;
mod floods;
mod frames;
mod handshakes;
mod http;
mod noise;
mod packets;
mod payloads;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::scripted::{Exchange, OPEN, Scripted};
use common::{Seen, Watch, abort, only, within};
use engineio::{Client, Error, Message, Reason, State, TransportKind};

use TransportKind::{Polling, WebSocket};

/// The time limit for any step. It is long because the machine may be busy: what does not end, takes longer.
const BOUND: Duration = Duration::from_secs(90);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

const MAX_MESSAGE: usize = 1 << 20;

/// The memory that an attack may take. It includes the memory of the server and of tests that run at the same
/// time.
const ROOM: usize = 200 << 20;

fn client() -> Client {
    Client::builder().request_timeout(REQUEST_TIMEOUT).max_message_size(MAX_MESSAGE).build().unwrap()
}

/// Answers as a proper server does, with one message.
fn friendly(exchange: &mut Exchange) -> io::Result<()> {
    if exchange.request.is_websocket() {
        exchange.open_websocket(OPEN)?;
        exchange.ws_text("4welcome")?;
        exchange.ws_closing()
    } else if exchange.request.is_poll() {
        exchange.hold()
    } else {
        exchange.answer(&[OPEN, "\x1e4welcome"].concat())
    }
}

/// A server that is hostile until it is tamed.
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

    /// A server that opens a session by websocket, and goes on with `attack`.
    fn by_websocket(attack: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Foe::new(move |exchange| {
            exchange.open_websocket(OPEN)?;
            attack(exchange)
        })
    }

    /// A server that opens a session by polling, and answers its polls with `attack`.
    fn by_polls(attack: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Foe::new(
            move |exchange| {
                if exchange.request.is_poll() { attack(exchange) } else { exchange.answer(OPEN) }
            },
        )
    }

    fn url(&self) -> &str {
        self.server.url()
    }

    fn connect(&self, client: &Client, transport: TransportKind) -> Result<(), Error> {
        let (client, url) = (client.clone(), self.url().to_owned());
        within(BOUND, "connect", move || client.connect_with(url, only(transport)))
    }

    /// Checks that the client is usable after the attack.
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
        within(BOUND, "disconnect", move || client.disconnect()).unwrap();
    }
}

/// Checks an attack within a session. The session ends once, with this reason and error text, and the client
/// can connect again. Returns the messages before the end.
fn ends(what: &str, foe: &Foe, transport: TransportKind, reason: &Reason, told: &str) -> Vec<Message> {
    let client = client();
    let watch = Watch::new(&client);
    let connected = foe.connect(&client, transport);
    assert!(connected.is_ok(), "{what}: {connected:?}");
    watch.connected();
    // The message causes a POST by polling.
    let _ = client.send("x");
    let messages = until_end(what, &watch, reason);
    client.wait();
    let error = client.last_error().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(error.is_empty(), *reason != Reason::TransportError, "{what}: {error:?}");
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

/// Checks an attack before there is a session: `connect` returns the error.
fn refused(what: &str, foe: &Foe, transport: TransportKind, told: &str) -> Error {
    let client = client();
    let watch = Watch::new(&client);
    let error = foe.connect(&client, transport).expect_err(what);
    let kind = matches!(
        error,
        Error::Connection { .. }
            | Error::Protocol { .. }
            | Error::Timeout { .. }
            | Error::WebSocketClosed { .. }
    );
    assert!(kind, "{what}: {error:?}");
    assert!(error.to_string().contains(told), "{what}: {error} does not tell {told:?}");
    foe.forgives(&client, &watch, transport);
    error
}

/// Checks that these frames end a session by websocket. The message before them is delivered, the one behind
/// them is not.
fn breaks(what: &str, frames: &[u8], told: &str) {
    let frames = frames.to_vec();
    let foe = Foe::by_websocket(move |exchange| {
        exchange.ws_text("4before")?;
        exchange.raw(&frames)?;
        exchange.ws_text("4after")?;
        exchange.hold()
    });
    costs_little(what, || {
        let messages = ends(what, &foe, WebSocket, &Reason::TransportError, told);
        assert_eq!(messages, [Message::from("before")], "{what}");
    });
}

/// The growth of the memory of this process, in bytes.
struct Growth {
    /// The growth at its peak.
    peak: usize,
    /// The growth at the end.
    left: usize,
}

fn costs_little(what: &str, run: impl FnOnce()) {
    let grown = growth(run);
    assert!(grown.peak < ROOM, "{what}: {} MiB", grown.peak >> 20);
    assert!(grown.left < 64 << 20, "{what}: {} MiB are left", grown.left >> 20);
}

/// Returns true in a process that runs the current test alone, for tests that measure the memory of the
/// process. In any other process it runs the test in such a process first, and the test has nothing more to
/// do.
fn alone() -> bool {
    const VARIABLE: &str = "HOSTILE_ALONE";
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    let current = std::thread::current();
    let test = current.name().expect("the test's thread has its name");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let run = child.args([test, "--exact", "--nocapture"]).env(VARIABLE, "1").output().unwrap();
    let said = [run.stdout, run.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn growth(run: impl FnOnce()) -> Growth {
    assert!(std::env::var_os("HOSTILE_ALONE").is_some(), "a test that measures begins with `alone()`");
    // The write resets the peak of the memory.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS:");
    run();
    Growth { peak: memory("VmHWM:").saturating_sub(before), left: memory("VmRSS:").saturating_sub(before) }
}

fn memory(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap() * 1024
}
