//! The public handle of a client, and the modules behind it.

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
mod status;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::core::{Core, Handle};
use crate::error::{Error, Result};
use crate::message::IntoMessage;
use crate::options::{ConnectOptions, Disconnect, Options};
use crate::session::WhenFull;
use crate::sync::now;

pub use builder::ClientBuilder;
pub use life::State;

/// An Engine.IO client, which has at most one connection at a time. Clones are handles to the same client.
///
/// The handlers of a connection run on one thread, one after the other: connect, each message in the server's
/// order, then disconnect, once. When the last handle is dropped, the connection is closed without waiting
/// for it, and without writing on the dropping thread. Each handler is given the client, so it need not keep
/// a clone of it. A clone in a handler keeps the client alive.
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
    /// Absent in the client that handlers are given, which does not keep the client alive.
    handle: Option<Arc<Handle>>,
}

impl Client {
    /// Makes a client with default options.
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

    /// Makes a client that does not handle Ctrl-C, for a model.
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

    /// Connects with default options: long polling first, then an upgrade to websocket if the server offers
    /// it. See [`connect_with`](Self::connect_with).
    ///
    /// # Errors
    ///
    /// Those of [`connect_with`](Self::connect_with).
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

    /// Connects to the server at `url`. Returns when the connect handler has run.
    ///
    /// If the disconnect handler of the previous connection is still running on another thread, this call
    /// first waits for that handler to return, for one second at most.
    ///
    /// The scheme is `http`, `https`, `ws` or `wss`; `ws` means the same as `http`, and `wss` the same as
    /// `https`. The URL's query goes to the server, and its user and password become a Basic authorization.
    /// Its path is not used: see [`ConnectOptions::path`]. The query parameters `EIO`, `transport`, `sid`,
    /// `j` and `b64` are left out, because they have a meaning in the protocol; the client sets the first
    /// three itself.
    ///
    /// A server may also listen at a Unix socket, on systems that have them: `unix:///run/app.sock`, or
    /// `http+unix://%2Frun%2Fapp.sock` with the path percent-encoded, as other HTTP clients write it. Both
    /// transports work there, without TLS. The `Host` header is `localhost` unless
    /// [`ConnectOptions::header`] sets another one. No proxy is used, whatever the options and the
    /// environment say. A redirect stays on the socket if it is relative or names the host of that header;
    /// any other redirect is an error. A redirect of a server elsewhere never leads to a socket. On systems
    /// without Unix sockets such a URL is an [`Error::InvalidUrl`].
    ///
    /// A link-local IPv6 address may name its zone, the network interface, as in
    /// `http://[fe80::1%25eth0]:5000` (RFC 6874).
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidUrl`] or [`Error::InvalidOption`] if an argument is unusable.
    /// - [`Error::AlreadyConnected`] if the state is not [`State::Disconnected`].
    /// - [`Error::Connection`], [`Error::Timeout`] or [`Error::Protocol`] if no transport works.
    /// - [`Error::ConnectHandler`] if the connect handler fails.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use engineio::{Client, ConnectOptions, TransportKind};
    ///
    /// let client = Client::new();
    /// let options = ConnectOptions::new().header("X-Tenant", "acme").transports([TransportKind::WebSocket]);
    /// client.connect_with("https://example.org", options.clone())?;
    /// client.disconnect()?;
    /// client.connect_with("unix:///run/app.sock", options)?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn connect_with(&self, url: impl AsRef<str>, options: ConnectOptions) -> Result<()> {
        self.core.connect(url.as_ref(), &options)
    }

    /// Blocks until the connection is over: its disconnect handler has run, and its threads have ended. If
    /// that handler connects again, or a [reconnection policy](ClientBuilder::reconnection) does, this call
    /// waits for the end of the new connection too. It also waits for an attempt to connect on another
    /// thread.
    ///
    /// Without a connection this call returns at once. In a handler it also returns at once, and logs an
    /// error, because it would wait for itself. There is no time limit;
    /// [`wait_timeout`](Self::wait_timeout) has one.
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

    /// Waits like [`wait`](Self::wait), for at most `timeout`. Returns true if the connection is over; in a
    /// handler it always returns false, at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// assert!(engineio::Client::new().wait_timeout(Duration::from_secs(1)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.core.wait(now().checked_add(timeout))
    }

    /// Sends a message. If the connection is idle, the calling thread writes it at once. Otherwise it is
    /// queued, and `send` blocks while the queued messages would take more than
    /// [`ClientBuilder::outbox_limit`] bytes. Senders that wait for room are served first come, first served.
    ///
    /// `Ok` means accepted, not received. Messages arrive in the order of the calls, unless the connection
    /// ends first; [`disconnect`](Self::disconnect) returns the number of messages that were not written.
    /// Call it or [`flush`](Self::flush) before the program ends, because the end of `main` does not wait for
    /// queued messages.
    ///
    /// # Errors
    ///
    /// - [`Error::SocketIsClosed`] if there is no connection, or it ends before there is room.
    /// - [`Error::MessageTooLarge`] if the message exceeds the server's limit. The connection stays open.
    /// - [`Error::Separator`] for a text with U+001E by polling. The connection stays open.
    /// - [`Error::Json`] if a [`Message::Json`](crate::Message::Json) cannot be serialized.
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
    pub fn send(&self, message: impl IntoMessage) -> Result<()> {
        self.core.send(message.into_message(), WhenFull::Wait)
    }

    /// Sends a message like [`send`](Self::send), but never waits for room.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`] if there is no room, or if other senders wait for room already; otherwise those
    /// of [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Error};
    ///
    /// assert!(matches!(Client::new().try_send("hi"), Err(Error::SocketIsClosed)));
    /// ```
    pub fn try_send(&self, message: impl IntoMessage) -> Result<()> {
        self.core.send(message.into_message(), WhenFull::Fail)
    }

    /// Sends several messages as a group, which no message of another thread separates. A header and its
    /// attachments need this, as in Socket.IO.
    ///
    /// The messages are accepted together, or none of them is. If they need more room than the outbox has,
    /// the call waits in the line of senders like [`send`](Self::send). A group that is larger than the whole
    /// outbox is treated as one large message: it waits until the outbox is empty.
    ///
    /// The messages are read from the iterator and converted before the first one is accepted, so the group
    /// is in memory as a whole. A panic of the iterator passes to the caller, and nothing is sent. By polling
    /// a group may take several POSTs, which follow one another. The client's own answers to pings may come
    /// between the messages. If the connection ends before all of them are written, the rest counts as
    /// [unsent](crate::Stats::unsent). An empty group is always `Ok`.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), for any of the messages. Then none of them is sent.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use engineio::Message;
    ///
    /// # let client = engineio::Client::new();
    /// client.send_all(["first", "second"])?;
    ///
    /// // A Socket.IO event with an attachment.
    /// let header = r#"51-["upload",{"_placeholder":true,"num":0}]"#;
    /// client.send_all([Message::from(header), Message::from(vec![1, 2, 3])])?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn send_all(&self, messages: impl IntoIterator<Item: IntoMessage>) -> Result<()> {
        self.core.send_all(messages.into_iter().map(IntoMessage::into_message), WhenFull::Wait)
    }

    /// Sends a group of messages like [`send_all`](Self::send_all), but never waits for room.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`] if there is no room for the whole group, or if other senders wait for room
    /// already; otherwise those of [`send_all`](Self::send_all). In each case no message of the group is
    /// sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Error};
    ///
    /// let client = Client::new();
    /// assert!(matches!(client.try_send_all(["header", "attachment"]), Err(Error::SocketIsClosed)));
    /// ```
    pub fn try_send_all(&self, messages: impl IntoIterator<Item: IntoMessage>) -> Result<()> {
        self.core.send_all(messages.into_iter().map(IntoMessage::into_message), WhenFull::Fail)
    }

    /// Serializes a value as JSON and sends it like [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if the value cannot be serialized; otherwise those of [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = engineio::Client::new();
    /// client.send_json(&("point", 3, 4))?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send(self.core.options.json.serialize(value)?)
    }

    /// Serializes a value as JSON and sends it like [`try_send`](Self::try_send).
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if the value cannot be serialized; otherwise those of [`try_send`](Self::try_send).
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Error};
    ///
    /// assert!(matches!(Client::new().try_send_json(&[1, 2]), Err(Error::SocketIsClosed)));
    /// ```
    pub fn try_send_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.try_send(self.core.options.json.serialize(value)?)
    }

    /// Waits until all messages that were accepted before this call are written: to the socket, or, by
    /// polling, until the server has confirmed them. Messages that other threads send after the call began
    /// are not waited for.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] after `timeout`; the messages stay queued. [`Error::SocketIsClosed`] if there is no
    /// connection, or it ends before those messages are written.
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

    /// Ends the connection: writes the queued messages, tells the server, and returns when the disconnect
    /// handler has run, or after the request timeout. Received messages that were not delivered yet are
    /// dropped.
    ///
    /// This method can be called from any thread, at any time, and more than once. It also ends an attempt to
    /// connect and the [reconnection policy](ClientBuilder::reconnection). A call while the disconnect
    /// handler runs on another thread waits for that handler, whichever side has ended the connection.
    /// Without a connection the call only returns the count of the last connection, if no earlier call has
    /// returned it.
    ///
    /// In a handler of an open connection the call returns `Ok` at once. From then on nothing can be sent,
    /// and the disconnect handler runs when the current handler has returned. The number of unsent messages
    /// is not known before that: see [`Stats::unsent`](crate::Stats::unsent).
    ///
    /// # Errors
    ///
    /// [`Error::Unsent`] with the number of messages that were accepted but are not known to be written. The
    /// number belongs to the connection that this call ends, or to the last one if there is no connection any
    /// more. Each count is returned once: the next call returns `Ok`. Calls at the same time may all return
    /// the count.
    ///
    /// By websocket, on Linux and Android, written messages count too if the server's system has not
    /// confirmed them when the request timeout ends the call: they may not arrive.
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

    /// Ends the connection like [`disconnect`](Self::disconnect), with options.
    ///
    /// # Errors
    ///
    /// Those of [`disconnect`](Self::disconnect).
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
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes another handle to the same client. A clone keeps the client alive, even if it is made in a handler.
impl Clone for Client {
    fn clone(&self) -> Self {
        match &self.handle {
            Some(handle) => Client { core: self.core.clone(), handle: Some(handle.clone()) },
            None => self.core.handle(),
        }
    }
}

/// The session id is not shown, because it is enough to take the session over.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state())
            .field("transport", &self.transport().ok())
            .finish_non_exhaustive()
    }
}
