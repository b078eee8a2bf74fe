//! Shared parts of the tests: servers, and waits with a deadline.

#[path = "../../src/testing/hang.rs"]
pub mod hang;
pub mod official;
pub mod process;
pub mod real;
pub mod scripted;

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use engineio::{Client, ConnectOptions, Disconnect, Error, Message, Reason, TransportKind};

/// The time limit for anything that has to happen. It is long because these machines are shared, and only a
/// failure waits that long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the condition holds. Only this function polls, for things without an event: threads and file
/// descriptors.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Runs a function that must return in time, on a thread of its own. A hang becomes a failure.
pub fn within<T: Send + 'static>(limit: Duration, what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let runner = thread::spawn(move || {
        let result = run();
        let _ = sender.send(());
        result
    });
    match receiver.recv_timeout(limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("not within {limit:?}: {what}"),
        // The thread has finished or panicked. `join` tells which of the two.
        _ => runner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// The ways in which a connection can be made, as lists of transports.
pub const WAYS: [&[TransportKind]; 3] = [
    &[TransportKind::Polling],
    &[TransportKind::WebSocket],
    &[TransportKind::Polling, TransportKind::WebSocket],
];

/// The transport that finally carries a connection that was made in this way.
pub fn carrier(way: &[TransportKind]) -> TransportKind {
    *way.last().expect("a transport")
}

/// Options for this transport alone.
pub fn only(transport: TransportKind) -> ConnectOptions {
    by(&[transport])
}

/// Options for these transports, in this order.
pub fn by(transports: &[TransportKind]) -> ConnectOptions {
    ConnectOptions::new().transports(transports.iter().copied())
}

/// A connected client, and a watch of its handlers from then on.
pub fn connected(url: &str, options: ConnectOptions) -> (Client, Watch) {
    let client = Client::new();
    let watch = Watch::new(&client);
    client.connect_with(url, options).unwrap();
    watch.connected();
    (client, watch)
}

/// The URL of a port on which no server listens.
pub fn unused_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Ends a connection that the test does not need any more. A POST whose answer is still under way counts as
/// unsent.
pub fn abort(client: &Client) {
    let aborted = client.disconnect_with(Disconnect::new().abort(true));
    assert!(matches!(aborted, Ok(()) | Err(Error::Unsent { .. })), "{aborted:?}");
}

/// The text of an error with its causes.
pub fn in_full(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// An event that a client's handlers have seen.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Connect,
    Message(Message),
    Disconnect(Reason),
}

/// A channel with the events of a client's handlers.
pub struct Watch(pub Receiver<Seen>);

impl Watch {
    pub fn new(client: &Client) -> Self {
        Self::after(client, |_, _| {})
    }

    /// A watch whose message handler calls `first` before anything else.
    pub fn after(client: &Client, mut first: impl FnMut(&Client, &Message) + Send + 'static) -> Self {
        let (sender, receiver) = unbounded();
        // The receiver may be gone when the connection of a finished test ends.
        let tell = move |seen| drop(sender.send(seen));
        let connect = tell.clone();
        client.on_connect(move |_| connect(Seen::Connect));
        let message = tell.clone();
        client.on_message(move |client, m| {
            first(client, &m);
            message(Seen::Message(m));
        });
        client.on_disconnect(move |_, reason| tell(Seen::Disconnect(reason)));
        Watch(receiver)
    }

    pub fn next(&self) -> Seen {
        self.0.recv_timeout(PATIENCE).expect("nothing more happened")
    }

    pub fn connected(&self) {
        assert_eq!(self.next(), Seen::Connect);
    }

    pub fn message(&self) -> Message {
        match self.next() {
            Seen::Message(message) => message,
            other => panic!("{other:?} instead of a message"),
        }
    }

    pub fn disconnected(&self) -> Reason {
        match self.next() {
            Seen::Disconnect(reason) => reason,
            other => panic!("{other:?} instead of the end"),
        }
    }

    /// Checks that no other event has happened.
    pub fn nothing_more(&self) {
        assert_eq!(self.0.try_recv().ok(), None);
    }
}

/// A message handler that blocks the reader until it is released.
pub struct Stuck {
    entered: Receiver<()>,
    /// The drop of this sender releases the handler.
    _release: Sender<()>,
}

impl Stuck {
    pub fn new(client: &Client) -> Self {
        let (enter, entered) = unbounded();
        let (_release, released) = unbounded::<()>();
        client.on_message(move |_, _| {
            // The send fails if the test is over.
            let _ = enter.send(());
            let _ = released.recv();
        });
        Stuck { entered, _release }
    }

    /// Waits until the handler has been called.
    pub fn entered(&self) {
        self.entered.recv_timeout(PATIENCE).expect("the handler is called");
    }

    pub fn release(self) {}
}

/// A log for the builder's `logger`, which keeps the lines. Clones share them.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<(log::Level, String)>>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let line = (record.level(), record.args().to_string());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

impl Lines {
    pub fn at(&self, level: log::Level) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|(at, _)| *at == level).map(|(_, line)| line.clone()).collect()
    }

    /// The lines of all levels.
    pub fn all(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|(level, line)| format!("{level}: {line}\n")).collect()
    }
}
