//! The client and the server of a test.

use std::time::Duration;

use common::official::{Kind, Options, PATIENCE, Server};
use common::{Seen, Watch, by, carrier, in_full};
use engineio::{Client, ConnectOptions, Error, Message, Reason, State, TransportKind};

pub(crate) const MIB: usize = 1024 * 1024;

/// The way in which a client connects to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Polling,
    WebSocket,
    /// The client upgrades from polling to websocket.
    Upgrade,
}

impl Route {
    pub(crate) fn transports(self) -> &'static [TransportKind] {
        match self {
            Route::Polling => &[TransportKind::Polling],
            Route::WebSocket => &[TransportKind::WebSocket],
            Route::Upgrade => &[TransportKind::Polling, TransportKind::WebSocket],
        }
    }

    pub(crate) fn destination(self) -> TransportKind {
        carrier(self.transports())
    }
}

/// The server and the route of a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) route: Route,
}

/// A client that is connected to a server for this test alone.
pub(crate) struct Peer {
    pub(crate) case: Case,
    pub(crate) client: Client,
    pub(crate) watch: Watch,
    // The server is the last field, so it outlives the client.
    pub(crate) server: Server,
}

impl Peer {
    pub(crate) fn connect(case: Case, options: &Options) -> Self {
        let client = Client::new();
        let watch = Watch::new(&client);
        Self::connect_client(case, options, client, watch)
    }

    pub(crate) fn connect_client(case: Case, options: &Options, client: Client, watch: Watch) -> Self {
        let server = Server::start(case.kind, options);
        connect(&client, &server, by(case.route.transports()));
        let peer = Self { case, client, watch, server };
        assert_eq!(peer.event(), Seen::Connect);
        assert_eq!(peer.client.transport().ok(), Some(case.route.destination()), "{}", peer.state());
        peer
    }

    pub(crate) fn send(&self, message: impl Into<Message>) {
        self.client
            .send(message)
            .unwrap_or_else(|error| panic!("send: {}; {}", in_full(&error), self.state()));
    }

    pub(crate) fn event(&self) -> Seen {
        let event = self.watch.0.recv_timeout(PATIENCE);
        event.unwrap_or_else(|_| panic!("no event in {PATIENCE:?}; {}", self.state()))
    }

    pub(crate) fn message(&self) -> Message {
        match self.event() {
            Seen::Message(message) => message,
            other => panic!("{other:?} instead of a message; {}", self.state()),
        }
    }

    pub(crate) fn text(&self) -> String {
        let message = self.message();
        message.as_text().unwrap_or_else(|| panic!("not a text: {message:?}")).to_owned()
    }

    pub(crate) fn reason(&self) -> Reason {
        match self.event() {
            Seen::Disconnect(reason) => reason,
            Seen::Message(message) => panic!("{} instead of a disconnect", brief(&message)),
            Seen::Connect => panic!("connected twice"),
        }
    }

    pub(crate) fn disconnect(&self) {
        self.client.disconnect().unwrap_or_else(|error| panic!("disconnect: {}", in_full(&error)));
    }

    /// Sends the message, and checks that it comes back unchanged.
    pub(crate) fn echo(&self, message: impl Into<Message>) {
        let message = message.into();
        self.send(message.clone());
        let answer = self.message();
        assert!(answer == message, "sent {}, got back {}", brief(&message), brief(&answer));
    }

    /// Checks that the connection is alive: a message comes back, and no other has arrived.
    pub(crate) fn assert_alive(&self) {
        self.echo("still there?");
        assert!(self.client.is_connected(), "{}", self.state());
    }

    /// Checks that the connection is over, and that no more handlers are called.
    pub(crate) fn assert_over(&self) {
        assert!(self.client.wait_timeout(PATIENCE), "wait does not end; {}", self.state());
        assert_eq!(self.client.state(), State::Disconnected);
        assert!(matches!(self.client.send("too late"), Err(Error::SocketIsClosed)));
        self.watch.nothing_more();
    }

    /// A description for the text of a failure.
    pub(crate) fn state(&self) -> String {
        let error = self.client.last_error().map_or_else(|| "none".to_owned(), |error| in_full(&error));
        format!("{:?}, {:?}, last error: {error}", self.case, self.client.state())
    }
}

pub(crate) fn connect(client: &Client, server: &Server, options: ConnectOptions) {
    let connected = client.connect_with(server.url(), options);
    connected.unwrap_or_else(|error| panic!("connect: {}", in_full(&error)));
}

/// A short form of a message for the text of a failure.
pub(crate) fn brief(message: &Message) -> String {
    let bytes = message.as_bytes();
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    let kind = if message.as_text().is_some() { "text" } else { "binary" };
    format!("a {kind} of {} bytes: {start:?}...", bytes.len())
}

pub(crate) fn limit(max_payload: usize) -> Options {
    Options { max_payload, ..Options::default() }
}

/// Options with a ping every 0.3 s. The timeout leaves room for a machine that stalls.
pub(crate) fn fast_pings() -> Options {
    let (ping_interval, ping_timeout) = (Duration::from_millis(300), Duration::from_secs(2));
    Options { ping_interval, ping_timeout, ..Options::default() }
}

/// Options for which python-engineio announces an interval of 0, with a timeout shorter than a second.
pub(crate) fn announced_as_zero() -> Options {
    let (ping_interval, ping_timeout) = (Duration::from_millis(300), Duration::from_millis(900));
    Options { ping_interval, ping_timeout, ..Options::default() }
}

/// The time that the server may be silent before the client gives up.
pub(crate) fn tolerance(client: &Client) -> Duration {
    let handshake = client.handshake().expect("connected");
    handshake.ping_interval() + handshake.ping_timeout()
}
