//! The public methods that every program needs.

use std::time::Duration;

use super::{Client, ClientBuilder};
// The documentation links to these.
#[cfg(doc)]
use super::State;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::message::IntoMessage;
use crate::options::{ConnectOptions, Disconnect, Options};
use crate::session::WhenFull;
use crate::sync::now;

/// Connect, send, wait and disconnect.
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

    /// Makes a builder for a client whose options differ from the defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use engineio::Client;
    ///
    /// let client = Client::builder()
    ///     .request_timeout(Duration::from_secs(10))
    ///     .build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Connects with default options: long polling first, then an upgrade to websocket if the server offers
    /// it. [`connect_with`](Self::connect_with) takes options, and its documentation describes the URL.
    ///
    /// # Errors
    ///
    /// The same as for [`connect_with`](Self::connect_with).
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

    /// Sends a message. On an idle websocket, the calling thread writes it at once. Otherwise the message is
    /// queued, and `send` blocks until the queued messages take no more than [`ClientBuilder::outbox_limit`]
    /// bytes together with the new one. A message that is larger than this limit waits until the outbox is
    /// empty. Senders that wait for room are served in the order of their calls.
    ///
    /// `Ok` means that the message was accepted, and not that the server has received it. Messages arrive in
    /// the order of the calls, unless the connection ends first. Call [`disconnect`](Self::disconnect) or
    /// [`flush`](Self::flush) before the program ends, because the end of `main` does not wait for queued
    /// messages. `disconnect` returns the number of messages that were not written.
    ///
    /// # Errors
    ///
    /// - [`Error::SocketIsClosed`] if there is no connection, or if it ends before there is room.
    /// - [`Error::MessageTooLarge`] if the message exceeds the server's limit. The connection stays open.
    /// - [`Error::Separator`] if a text contains U+001E and the transport is polling. The connection stays
    ///   open.
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

    /// Blocks until the connection is over: its disconnect handler has run, and its threads have ended. If
    /// that handler connects again, or a [reconnection policy](ClientBuilder::reconnection) does, this call
    /// waits for the end of the new connection too. It also waits while another thread is connecting.
    ///
    /// Without a connection, this call returns at once. In a handler, it also returns at once and logs an
    /// error, because it would wait for that handler itself. There is no time limit;
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

    /// Ends the connection: writes the queued messages, tells the server, and returns when the disconnect
    /// handler has run, or after the request timeout. Received messages that were not delivered yet are
    /// dropped.
    ///
    /// This method can be called from any thread, at any time, and more than once. It also ends an attempt to
    /// connect and the [reconnection policy](ClientBuilder::reconnection). If the disconnect handler is
    /// already running on another thread, the call waits for it, whichever side has ended the connection. If
    /// there is no connection any more, the call only returns the number of unsent messages of the last one,
    /// unless an earlier call has returned that number.
    ///
    /// In a handler of an open connection, the call returns `Ok` at once. From then on, nothing can be sent,
    /// and the disconnect handler runs when the current handler has returned. The number of unsent messages
    /// is not known before that: see [`Stats::unsent`](crate::Stats::unsent).
    ///
    /// # Errors
    ///
    /// [`Error::Unsent`] with the number of messages that were accepted but are not known to be written. The
    /// number belongs to the connection that this call ends, or to the last one if there is no connection any
    /// more. Each number is returned once: the next call returns `Ok`. Calls that run at the same time may
    /// all return it.
    ///
    /// On Linux and Android, if the request timeout ends the call, the number includes messages that were
    /// written to a websocket but that the server's operating system has not confirmed. They may not arrive.
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

    /// Connects to the server at `url` and returns when the connect handler has run.
    ///
    /// If the disconnect handler of the previous connection is still running on another thread, this call
    /// first waits for that handler to return, for one second at most.
    ///
    /// The scheme is `http`, `https`, `ws` or `wss`; `ws` means the same as `http`, and `wss` the same as
    /// `https`. The query of the URL is sent to the server, and a user and password in the URL are sent as
    /// Basic authorization. The path of the URL is not used: see [`ConnectOptions::path`]. The query
    /// parameters `EIO`, `transport`, `sid`, `j` and `b64` of the URL are not sent, because they have a
    /// meaning in the protocol. The client sets the first three itself.
    ///
    /// A server can also listen on a Unix socket. Its URL is `unix:///run/app.sock`, or
    /// `http+unix://%2Frun%2Fapp.sock` with the path percent-encoded, as other HTTP clients write it. Both
    /// transports work there, without TLS. The `Host` header is `localhost` unless [`ConnectOptions::header`]
    /// sets another one. No proxy is used, whatever the options and the environment say. A redirect stays on
    /// the socket if it is relative or leads to the host in the `Host` header; any other redirect is an
    /// error. A redirect from a server at any other URL never leads to a socket. On systems without Unix
    /// sockets, a URL of a Unix socket is an [`Error::InvalidUrl`].
    ///
    /// A link-local IPv6 address may contain its zone, the name of the network interface, as in
    /// `http://[fe80::1%25eth0]:5000` (RFC 6874).
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidUrl`] or [`Error::InvalidOption`] if an argument is unusable.
    /// - [`Error::AlreadyConnected`] if the state is not [`State::Disconnected`].
    /// - [`Error::Connection`], [`Error::Timeout`], [`Error::Protocol`] or [`Error::WebSocketClosed`] if no
    ///   transport works.
    /// - [`Error::ConnectHandler`] if the connect handler fails.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use engineio::{Client, ConnectOptions, TransportKind};
    ///
    /// let client = Client::new();
    /// let options = ConnectOptions::new()
    ///     .header("X-Tenant", "acme")
    ///     .transports([TransportKind::WebSocket]);
    /// client.connect_with("https://example.org", options.clone())?;
    /// client.disconnect()?;
    /// client.connect_with("unix:///run/app.sock", options)?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn connect_with(&self, url: impl AsRef<str>, options: ConnectOptions) -> Result<()> {
        self.core.connect(url.as_ref(), &options)
    }

    /// Waits like [`wait`](Self::wait), for at most `timeout`. Returns true if the connection is over. In a
    /// handler, it returns false at once.
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

    /// Ends the connection like [`disconnect`](Self::disconnect), with options.
    ///
    /// # Errors
    ///
    /// The same as for [`disconnect`](Self::disconnect).
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
