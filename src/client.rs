mod builder;
mod channels;
mod connecting;
mod connection;
mod core;
mod disconnecting;
mod handlers;
mod life;
mod listener;
mod slot;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::core::{Core, Handle};
use crate::error::{Error, Result};
use crate::message::Message;
use crate::options::{ConnectOptions, Disconnect, Options};
use crate::protocol::Handshake;
use crate::session::WhenFull;
use crate::stats::Stats;
use crate::transport::TransportKind;

pub use builder::ClientBuilder;
pub use life::State;

/// An Engine.IO client: a handle to one connection at a time. Clones are handles to the same client.
///
/// Handlers run on one thread, in order: connect, each message in the order in which the server sent it, then
/// disconnect, once. When the last handle is dropped, the connection is closed without waiting for it. A clone that a
/// handler keeps is a handle: it keeps the client alive, and the handler need not have one, as it is given the client.
///
/// # Examples
///
/// ```no_run
/// use engineio::Client;
///
/// let client = Client::new();
/// client.on_connect(|client| client.send("Hello Server!"));
/// client.on_message(|_, message| println!("Server says: {message}"));
/// client.on_disconnect(|_, reason| println!("gone: {reason}"));
/// client.connect("http://localhost:5000")?;
/// client.wait();
/// # Ok::<(), engineio::Error>(())
/// ```
pub struct Client {
    core: Arc<Core>,
    /// Absent in the handle that handlers are given, which does not keep the client alive.
    handle: Option<Arc<Handle>>,
}

impl Client {
    /// A client with default options.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// assert!(!client.is_connected());
    /// ```
    pub fn new() -> Self {
        Self::from_options(Options::default())
    }

    /// A client without Ctrl-C, for a model.
    #[cfg(shuttle)]
    pub(crate) fn for_model(reconnection: Option<crate::reconnection::Reconnection>) -> Self {
        Self::from_options(Options { reconnection, ..Options::default() })
    }

    #[cfg(shuttle)]
    pub(crate) fn connect_by(&self, way: Arc<dyn crate::connect::Way>) -> Result<()> {
        self.core.connect_by(way)
    }

    fn from_options(options: Options) -> Self {
        Core::new(options).handle()
    }

    /// Connects with default options: long polling first, then an upgrade to websocket if the server offers it.
    /// See [`connect_with`](Self::connect_with).
    ///
    /// # Errors
    ///
    /// As [`connect_with`](Self::connect_with).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let client = engineio::Client::new();
    /// client.connect("http://localhost:5000?room=7")?;
    /// println!("connected by {}", client.transport()?);
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn connect(&self, url: impl AsRef<str>) -> Result<()> {
        self.connect_with(url, ConnectOptions::default())
    }

    /// Connects to the server at `url`, and returns when the connect handler has run.
    ///
    /// Schemes are `http`, `https`, `ws` and `wss`, of which the latter two mean the same as the former. The
    /// URL's query goes to the server, its user and password as Basic authorization, its path nowhere: that
    /// is [`ConnectOptions::path`]. Of the query, `EIO`, `transport`, `sid`, `j` and `b64` are left out, as
    /// the protocol gives them a meaning: the client sets the first three itself. A link-local IPv6 address
    /// may name its zone, the network interface, as in `http://[fe80::1%25eth0]:5000` (RFC 6874).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`] and [`Error::InvalidOption`] for bad input, [`Error::AlreadyConnected`] unless
    /// the client is [`State::Disconnected`], [`Error::Connection`], [`Error::Timeout`] or [`Error::Protocol`]
    /// if no transport worked, [`Error::ConnectHandler`] if the connect handler failed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use engineio::{Client, ConnectOptions, TransportKind};
    ///
    /// let client = Client::new();
    /// let options = ConnectOptions::new().header("X-Tenant", "acme").transports([TransportKind::WebSocket]);
    /// client.connect_with("https://example.org", options)?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn connect_with(&self, url: impl AsRef<str>, options: ConnectOptions) -> Result<()> {
        self.core.connect(url.as_ref(), &options)
    }

    /// Blocks until the connection is over: the disconnect handler has run, and the connection's threads have
    /// ended. If that handler connected again, waits for the end of the new connection too. Without a
    /// connection it returns at once; inside a handler as well, as that would wait for itself.
    ///
    /// There is no limit of time: see [`wait_timeout`](Self::wait_timeout).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = engineio::Client::new();
    /// client.connect("http://localhost:5000")?;
    /// client.wait();
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn wait(&self) {
        self.core.wait(None);
    }

    /// As [`wait`](Self::wait), for at most `timeout`. True if the connection is over.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// assert!(engineio::Client::new().wait_timeout(Duration::from_secs(1)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.core.wait(Instant::now().checked_add(timeout))
    }

    /// Sends a message. On an idle connection it is written at once, by the calling thread; under load it is
    /// queued, and this blocks while more than [`ClientBuilder::outbox_limit`] bytes wait.
    ///
    /// `Ok` means accepted, not received: messages arrive in the order of the calls, unless the connection
    /// ends first. [`disconnect`](Self::disconnect) tells how many were not written. Call that, or
    /// [`flush`](Self::flush), before the program ends: the end of `main` does not wait for what is queued.
    ///
    /// # Errors
    ///
    /// [`Error::SocketIsClosed`] without a connection, [`Error::MessageTooLarge`] above the server's limit,
    /// [`Error::Separator`] for a text with U+001E on polling. The connection goes on after the latter two.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = engineio::Client::new();
    /// client.send("text")?;
    /// client.send(vec![1, 2, 3])?;
    /// client.send(serde_json::json!({"kind": "json"}))?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        self.core.send(message.into(), WhenFull::Wait)
    }

    /// As [`send`](Self::send), but never blocks.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`] if `send` would block; else as `send`.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Error};
    ///
    /// assert!(matches!(Client::new().try_send("hi"), Err(Error::SocketIsClosed)));
    /// ```
    pub fn try_send(&self, message: impl Into<Message>) -> Result<()> {
        self.core.send(message.into(), WhenFull::Fail)
    }

    /// Sends anything that serde can serialize, as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if it cannot be serialized; else as [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = engineio::Client::new();
    /// client.send_json(&("point", 3, 4))?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send(self.core.json().serialize(value)?)
    }

    /// Waits until everything that was sent before is written: to the socket, or, by polling, until the server has
    /// confirmed it.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] after `timeout`; what is queued stays so. [`Error::SocketIsClosed`] without a connection, and if
    /// it ends before all of its messages are written.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = engineio::Client::new();
    /// client.send("important")?;
    /// client.flush(std::time::Duration::from_secs(5))?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        self.core.session().ok_or(Error::SocketIsClosed)?.flush(timeout)
    }

    /// Ends the connection: writes what was sent, tells the server, and returns when the disconnect handler
    /// has run, at the latest after the request timeout. Without a connection it only tells what the last one left.
    ///
    /// It can be called from any thread at any time, more than once too; it ends a `connect` that is at work.
    /// In a handler it returns at once: from then on nothing can be sent, and the disconnect handler runs when that handler
    /// has returned. Messages that were received but not yet delivered are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Unsent`] if messages could not be written in that time, or were lost when the last connection broke. In a
    /// handler that is not known yet: see [`Stats::unsent`].
    ///
    /// # Examples
    ///
    /// ```
    /// engineio::Client::new().disconnect()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn disconnect(&self) -> Result<()> {
        self.disconnect_with(Disconnect::default())
    }

    /// As [`disconnect`](Self::disconnect), with options.
    ///
    /// # Errors
    ///
    /// As `disconnect`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let client = engineio::Client::new();
    /// client.disconnect_with(engineio::Disconnect::new().abort(true))?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn disconnect_with(&self, options: Disconnect) -> Result<()> {
        self.core.disconnect(options)
    }

    /// What carries the connection now.
    ///
    /// # Errors
    ///
    /// [`Error::NotConnected`] if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(engineio::Client::new().transport().is_err());
    /// ```
    pub fn transport(&self) -> Result<TransportKind> {
        self.core.session().map(|session| session.transport_kind()).ok_or(Error::NotConnected)
    }

    /// The id that the server gave the session, while there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(engineio::Client::new().sid(), None);
    /// ```
    pub fn sid(&self) -> Option<String> {
        self.core.session().map(|session| session.handshake().sid().to_owned())
    }

    /// The state of the client.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, State};
    ///
    /// assert_eq!(Client::new().state(), State::Disconnected);
    /// ```
    pub fn state(&self) -> State {
        self.core.state()
    }

    /// True in [`State::Connected`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!engineio::Client::new().is_connected());
    /// ```
    pub fn is_connected(&self) -> bool {
        self.state() == State::Connected
    }

    /// True while the [reconnection policy](crate::ClientBuilder::reconnection) is about to connect again: in its pauses,
    /// when the state is [`State::Disconnected`], and in its attempts. Not yet in the disconnect handler, which may still
    /// decide otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!engineio::Client::new().is_reconnecting());
    /// ```
    pub fn is_reconnecting(&self) -> bool {
        self.core.is_reconnecting()
    }

    /// What the server said at the start of the session, while there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(engineio::Client::new().handshake(), None);
    /// ```
    pub fn handshake(&self) -> Option<Handshake> {
        self.core.session().map(|session| session.handshake().clone())
    }

    /// Why the last connection ended, beyond the [`Reason`](crate::Reason): an HTTP status, a websocket close code, an I/O or
    /// TLS error. `None` if there is no more to tell, or no connection has ended since the last `connect`.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(engineio::Client::new().last_error().is_none());
    /// ```
    pub fn last_error(&self) -> Option<Arc<Error>> {
        self.core.last_error()
    }

    /// What the client has sent and received so far, and what waits. It reads a few counters, and does not slow
    /// the connection.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// println!("{} messages received", client.stats().received.messages);
    /// ```
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Another handle to the same client. A clone keeps the client alive, even one made in a handler.
impl Clone for Client {
    fn clone(&self) -> Self {
        match &self.handle {
            Some(handle) => Client { core: self.core.clone(), handle: Some(handle.clone()) },
            None => self.core.handle(),
        }
    }
}

/// Shows no session id: who has one can take a session over.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state())
            .field("transport", &self.transport().ok())
            .finish_non_exhaustive()
    }
}
