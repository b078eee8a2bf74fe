mod cause;
mod kind;

use std::{fmt, io};

use serde_json::Value;

use crate::printable::{BoxError, Printable, printable, printable_cause};

pub use cause::ErrorCause;
pub use kind::ErrorKind;

/// The result type of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate. Clones share the causes.
///
/// | reaction | errors |
/// |---|---|
/// | [correct the input](#correct-the-input) | [`InvalidUrl`], [`InvalidOption`], [`InvalidEvent`] |
/// | [change the message](#change-the-message) | [`Separator`], [`MessageTooLarge`], [`Json`] |
/// | [try again](#try-again), or [give up](#give-up) | [`Connection`], [`Timeout`], [`Protocol`] |
/// | [connect again](#connect-again) | [`SocketIsClosed`], [`NotConnected`], [`WebSocketClosed`] |
/// | [wait, or drop the message](#wait-or-drop-the-message) | [`QueueFull`] |
/// | send the unsent messages again on the next connection | [`Unsent`] |
/// | correct the connect handler, then connect again | [`ConnectHandler`] |
/// | use the open connection, or disconnect first | [`AlreadyConnected`] |
///
/// `Display` shows the text of an error, and `Debug` the text and all causes. [`kind`](Self::kind) is for
/// comparisons and for labels of metrics. `From` and `?` convert this type into a [`std::io::Error`]. They
/// also convert serde_json's errors and [`UnknownTransport`](crate::UnknownTransport) into this type.
///
/// # Correct the input
///
/// The text says what is wrong with the URL or the option:
///
/// ```
/// use engineio::{Client, Error};
///
/// let error = Client::new().connect("localhost:5000").unwrap_err();
/// if let Error::InvalidUrl { reason, .. } = &error {
///     println!("check the URL: {reason}");
/// }
/// # assert!(error.to_string().contains("add http:// or https://"));
/// ```
///
/// # Change the message
///
/// The connection stays open, so another message can follow:
///
/// ```
/// use engineio::{Client, Error};
///
/// fn send(client: &Client, text: &str) -> engineio::Result<()> {
///     match client.send(text) {
///         // Over polling, such a text can only be sent as bytes.
///         Err(Error::Separator) => client.send(text.as_bytes()),
///         Err(Error::MessageTooLarge { max, .. }) => {
///             eprintln!("left out: the server takes {max} bytes");
///             Ok(())
///         }
///         sent => sent,
///     }
/// }
/// ```
///
/// # Try again
///
/// The server may not be up yet. [`Reconnection::first_connect`](crate::Reconnection::first_connect) repeats
/// `connect` in this way, with growing pauses:
///
/// ```
/// use std::time::Duration;
///
/// use engineio::{Client, Error};
///
/// fn connect(client: &Client, url: &str) -> engineio::Result<()> {
///     loop {
///         match client.connect(url) {
///             Err(Error::Timeout { .. }) => {}
///             // The server has not answered.
///             Err(Error::Connection { status: None, .. }) => {}
///             connected => return connected,
///         }
///         client.sleep(Duration::from_secs(1));
///     }
/// }
/// ```
///
/// # Give up
///
/// The status and the JSON body of a refusal tell whether another attempt makes sense:
///
/// ```
/// use engineio::{Client, Error};
///
/// fn connect(client: &Client, url: &str) -> engineio::Result<()> {
///     let connected = client.connect(url);
///     if let Err(Error::Connection { status, body, .. }) = &connected {
///         if matches!(status, Some(401 | 403)) {
///             let message = body.as_ref().map(|body| &body["message"]);
///             eprintln!("the server requires a login: {message:?}");
///         }
///     }
///     connected
/// }
/// ```
///
/// # Connect again
///
/// A [reconnection policy](crate::ClientBuilder::reconnection) connects again by itself. Without one:
///
/// ```
/// use engineio::{Client, Error};
///
/// fn send(client: &Client, url: &str, text: &str) -> engineio::Result<()> {
///     match client.send(text) {
///         Err(Error::SocketIsClosed) => {
///             client.connect(url)?;
///             client.send(text)
///         }
///         sent => sent,
///     }
/// }
/// ```
///
/// # Wait, or drop the message
///
/// [`Client::send`](crate::Client::send) waits for room. [`Client::try_send`](crate::Client::try_send) leaves
/// the choice to you:
///
/// ```
/// use engineio::{Client, Error};
///
/// fn report(client: &Client, temperature: f64) -> engineio::Result<()> {
///     match client.try_send(temperature.to_string()) {
///         // The next report comes soon.
///         Err(Error::QueueFull) => Ok(()),
///         sent => sent,
///     }
/// }
/// ```
///
/// [`InvalidUrl`]: Self::InvalidUrl
/// [`InvalidOption`]: Self::InvalidOption
/// [`InvalidEvent`]: Self::InvalidEvent
/// [`Separator`]: Self::Separator
/// [`MessageTooLarge`]: Self::MessageTooLarge
/// [`Json`]: Self::Json
/// [`Connection`]: Self::Connection
/// [`Timeout`]: Self::Timeout
/// [`Protocol`]: Self::Protocol
/// [`SocketIsClosed`]: Self::SocketIsClosed
/// [`NotConnected`]: Self::NotConnected
/// [`WebSocketClosed`]: Self::WebSocketClosed
/// [`QueueFull`]: Self::QueueFull
/// [`Unsent`]: Self::Unsent
/// [`ConnectHandler`]: Self::ConnectHandler
/// [`AlreadyConnected`]: Self::AlreadyConnected
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL that was passed to `connect` is unusable.
    #[error("invalid URL {url:?}: {reason}")]
    #[non_exhaustive]
    InvalidUrl {
        /// The URL, without its password and query.
        url: String,
        /// The problem with the URL.
        reason: String,
    },

    /// An option of the builder or of `connect_with` is unusable.
    #[error("invalid {option}: {reason}")]
    #[non_exhaustive]
    InvalidOption {
        /// The name of the option.
        option: &'static str,
        /// The problem with its value.
        reason: String,
    },

    /// The name passed to [`Client::on`](crate::Client::on) is not in [`EVENT_NAMES`](crate::EVENT_NAMES).
    #[error("there is no event {name:?}: the events are \"connect\", \"message\" and \"disconnect\"")]
    #[non_exhaustive]
    InvalidEvent {
        /// The name that was passed.
        name: String,
    },

    /// `connect` was called while the client was connected, connecting or disconnecting.
    #[error("the client is already connected")]
    AlreadyConnected,

    /// The client has no connection, and the call needs one. [`Client::transport`](crate::Client::transport)
    /// returns this error; the methods that send return [`SocketIsClosed`](Self::SocketIsClosed) instead.
    #[error("the client is not connected")]
    NotConnected,

    /// The connection could not be established, or broke.
    #[error("{message}")]
    #[non_exhaustive]
    Connection {
        /// A description of the failure, with control characters as escapes.
        message: String,
        /// The HTTP status, if the server or a proxy answered with an unexpected one.
        status: Option<u16>,
        /// The JSON body of that response, if it had one, exactly as the server sent it.
        body: Option<Box<Value>>,
        /// The cause, if there is one.
        #[source]
        source: Option<ErrorCause>,
    },

    /// The connect handler failed or panicked, so the connection was closed.
    #[error("the connect handler failed: {message}")]
    #[non_exhaustive]
    ConnectHandler {
        /// The handler's error, or the text of its panic.
        message: String,
    },

    /// Nothing can be sent, because there is no connection, or because it is closed or closing. With a
    /// [reconnection policy](crate::ClientBuilder::reconnection), this is also the error between two
    /// connections. The policy then connects again without a call of `connect`, unless it gives up.
    #[error("there is no open connection: `connect` was not called, or the connection is over")]
    SocketIsClosed,

    /// An operation took longer than its time limit.
    #[error("timed out: {what}")]
    #[non_exhaustive]
    Timeout {
        /// The operation that took too long.
        what: &'static str,
    },

    /// [`Client::try_send`](crate::Client::try_send), or another method that never waits for room, was called
    /// while the outbox was full, or while other senders waited for room.
    #[error("the outbox is full")]
    QueueFull,

    /// The message is larger than the server accepts, and was not sent. The connection stays open.
    #[error(
        "the message takes {size} bytes on the wire, but the server accepts at most {max}, its `maxPayload` \
         (`max_http_buffer_size` in Python, `maxHttpBufferSize` in JavaScript)"
    )]
    #[non_exhaustive]
    MessageTooLarge {
        /// The encoded size in bytes.
        size: usize,
        /// The server's `maxPayload` in bytes.
        max: usize,
    },

    /// The text contains U+001E, which separates packets on the polling transport and cannot be escaped. Such
    /// a text can be sent over websocket, or as a binary message.
    #[error("a text with U+001E cannot be sent over polling; send it as a binary message")]
    Separator,

    /// The connection ended before all messages that `send` had accepted were written. The unsent messages
    /// are the last ones that were accepted. [`Client::disconnect`](crate::Client::disconnect) returns this
    /// error once for each connection.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use engineio::{Client, Error};
    ///
    /// # let client = Client::new();
    /// let lines = ["first", "second", "third"];
    /// client.connect("http://localhost:5000")?;
    /// client.send_all(lines)?;
    /// match client.disconnect() {
    ///     Ok(()) => println!("all are written"),
    ///     Err(Error::Unsent { messages, .. }) => {
    ///         let unsent = &lines[lines.len() - messages..];
    ///         println!("these are for the next connection: {unsent:?}");
    ///     }
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), engineio::Error>(())
    /// ```
    #[error("{messages} message(s) were not sent before the connection ended")]
    #[non_exhaustive]
    Unsent {
        /// The number of messages that were not written, or that may not have arrived.
        messages: usize,
    },

    /// A value could not be converted to JSON, or a message could not be converted to the requested type.
    #[error("JSON conversion failed")]
    Json(#[source] ErrorCause),

    /// The server closed the websocket. [`Client::last_error`](crate::Client::last_error) returns this error,
    /// and so does `connect` if the server closes the websocket before the session begins.
    #[error(
        "the server closed the websocket (code {}){}",
        code.map_or("none".into(), |code| code.to_string()),
        if reason.is_empty() { String::new() } else { format!(": \"{reason}\"") }
    )]
    #[non_exhaustive]
    WebSocketClosed {
        /// The close code (RFC 6455, section 7.4), if the server sent one.
        code: Option<u16>,
        /// The server's reason for closing, with control characters as escapes.
        reason: String,
    },

    /// The server broke the protocol. `connect` returns this error, and so does
    /// [`Client::last_error`](crate::Client::last_error) if the violation ended a connection.
    #[error("the server broke the protocol: {message}")]
    #[non_exhaustive]
    Protocol {
        /// The violation of the protocol.
        message: String,
    },
}

/// Shows the text of the error and of its causes, without repetitions. `unwrap`, and a `main` that returns
/// the error, print this form. Control characters are shown as escapes.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Printable(with_causes(self)))
    }
}

/// Drops the cause of a cause if it repeats the text, as OpenSSL's causes do.
fn undoubled(cause: BoxError) -> BoxError {
    let text = cause.to_string();
    match cause.source() {
        Some(inner) if text.contains(&inner.to_string()) => match cause.downcast_ref::<io::Error>() {
            Some(error) => Box::new(io::Error::new(error.kind(), text)),
            None => text.into(),
        },
        _ => cause,
    }
}

/// The text of an error and its causes, without repetitions.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.map(ToString::to_string).fold(error.to_string(), |told, cause| {
        match told.to_lowercase().contains(&cause.to_lowercase()) {
            true => told,
            false => format!("{told}: {cause}"),
        }
    })
}

impl Error {
    /// Returns true for [`Error::Timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!engineio::Error::QueueFull.is_timeout());
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Timeout { .. })
    }

    // These constructors make the text of a server printable: errors with such a text are made by them alone.

    pub(crate) fn connection(message: impl Into<String>) -> Self {
        Error::refused(message, None, None)
    }

    pub(crate) fn connection_from(message: impl Into<String>, source: impl Into<BoxError>) -> Self {
        let source = Some(ErrorCause::new(printable_cause(undoubled(source.into()))));
        Error::Connection { message: printable(message.into()), status: None, body: None, source }
    }

    /// The answer to a request has an unexpected status. The body stays as the server wrote it.
    pub(crate) fn refused(message: impl Into<String>, status: Option<u16>, body: Option<Value>) -> Self {
        let message = printable(message.into());
        Error::Connection { message, status, body: body.map(Box::new), source: None }
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Error::Protocol { message: printable(message.into()) }
    }

    pub(crate) fn websocket_closed(code: Option<u16>, reason: impl Into<String>) -> Self {
        Error::WebSocketClosed { code, reason: printable(reason.into()) }
    }

    pub(crate) fn json(source: impl Into<BoxError>) -> Self {
        Error::Json(ErrorCause::new(printable_cause(source.into())))
    }

    pub(crate) fn option(option: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidOption { option, reason: reason.into() }
    }
}

/// Lets `?` convert errors of serde_json in functions that return this crate's [`Result`].
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Error::json(error)
    }
}

#[cfg(test)]
mod tests;
