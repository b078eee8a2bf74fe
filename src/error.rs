use std::error::Error as StdError;
use std::fmt;

use serde_json::Value;

type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, cut by what a caller can do about it.
///
/// # Examples
///
/// ```
/// use engineio::{Client, Error};
///
/// match Client::new().connect("localhost:5000") {
///     Err(Error::InvalidUrl { reason, .. }) => println!("{reason}"),
///     other => panic!("a URL needs a scheme: {other:?}"),
/// }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL given to `connect` cannot be used.
    #[error("invalid URL {url:?}: {reason}")]
    #[non_exhaustive]
    InvalidUrl {
        /// The URL, without its password and query.
        url: String,
        /// What is wrong with it.
        reason: String,
    },

    /// An option of the builder or of `connect_with` cannot be used.
    #[error("invalid {option}: {reason}")]
    #[non_exhaustive]
    InvalidOption {
        /// The name of the option.
        option: &'static str,
        /// What is wrong with its value.
        reason: String,
    },

    /// [`Client::on`](crate::Client::on) was given a name that is not in [`EVENT_NAMES`](crate::EVENT_NAMES).
    #[error("there is no event {name:?}: the events are \"connect\", \"message\" and \"disconnect\"")]
    #[non_exhaustive]
    InvalidEvent {
        /// The name.
        name: String,
    },

    /// `connect` was called on a client that is connected, or connecting, or not yet disconnected.
    #[error("the client is already connected")]
    AlreadyConnected,

    /// There is no connection to ask about.
    #[error("the client is not connected")]
    NotConnected,

    /// The connection could not be made, or broke.
    #[error("{message}")]
    #[non_exhaustive]
    Connection {
        /// What happened.
        message: String,
        /// The HTTP status, if the server or a proxy answered with an unexpected one.
        status: Option<u16>,
        /// The JSON body of that answer, if it had one.
        body: Option<Box<Value>>,
        /// The error below this one.
        #[source]
        source: Option<BoxError>,
    },

    /// The connect handler failed, and the connection was ended because of it.
    #[error("the connect handler failed: {message}")]
    #[non_exhaustive]
    ConnectHandler {
        /// The handler's error, or the text of its panic.
        message: String,
    },

    /// There is no connection, or it is over or being closed: nothing can be sent.
    #[error("there is no open connection")]
    SocketIsClosed,

    /// Something took longer than its limit.
    #[error("timed out: {what}")]
    #[non_exhaustive]
    Timeout {
        /// What took too long.
        what: &'static str,
    },

    /// `try_send` found the outbox full.
    #[error("the outbox is full")]
    QueueFull,

    /// The message is above the size that the server accepts. It was not sent; the connection goes on.
    #[error("the message takes {size} bytes on the wire, the server accepts {max}")]
    #[non_exhaustive]
    MessageTooLarge {
        /// The encoded size in bytes.
        size: usize,
        /// The server's `maxPayload` in bytes.
        max: usize,
    },

    /// The text holds U+001E, which separates packets on the polling transport and cannot be escaped.
    /// It can be sent by websocket, or as binary.
    #[error("a text with U+001E cannot be sent by polling; send it as binary")]
    Separator,

    /// The connection ended before everything that `send` had accepted was written.
    #[error("{messages} message(s) were not sent before the connection ended")]
    #[non_exhaustive]
    Unsent {
        /// How many messages were not written, or not known to have arrived.
        messages: usize,
    },

    /// A value could not be turned into JSON, or a message not into the type asked for.
    #[error("JSON conversion failed")]
    Json(#[source] BoxError),

    /// The server closed the websocket. Found in [`Client::last_error`](crate::Client::last_error).
    #[error("the server closed the websocket (code {}): {reason:?}", code.map_or("none".into(), |c| c.to_string()))]
    #[non_exhaustive]
    WebSocketClosed {
        /// The close code of RFC 6455, section 7.4, if there was one.
        code: Option<u16>,
        /// The server's text.
        reason: String,
    },

    /// The server broke the protocol. Found in [`Client::last_error`](crate::Client::last_error).
    #[error("the server broke the protocol: {message}")]
    #[non_exhaustive]
    Protocol {
        /// What it did.
        message: String,
    },
}

/// For `unwrap`, and for a `main` that returns the error: the text, and those of the causes that say something new.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !said.to_lowercase().contains(&text.to_lowercase()) {
                said = format!("{said}: {text}");
            }
            source = cause.source();
        }
        f.write_str(&said)
    }
}

impl Error {
    /// True for [`Error::Timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!engineio::Error::QueueFull.is_timeout());
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Timeout { .. })
    }

    pub(crate) fn connection(message: impl Into<String>) -> Self {
        Error::Connection { message: message.into(), status: None, body: None, source: None }
    }

    pub(crate) fn connection_from(message: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Error::Connection { message: message.into(), status: None, body: None, source: Some(source.into()) }
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Error::Protocol { message: message.into() }
    }

    pub(crate) fn option(option: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidOption { option, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_leads_with_the_text_and_repeats_nothing() {
        let refused = std::io::Error::from_raw_os_error(111);
        let error = Error::connection_from("no way to the server", refused);
        assert_eq!(format!("{error:?}"), "no way to the server: Connection refused (os error 111)");
        let doubled = Error::connection_from("no way: it broke", Box::new(Error::connection("it broke")));
        assert_eq!(format!("{doubled:?}"), "no way: it broke");
        assert_eq!(format!("{:?}", Error::QueueFull), "the outbox is full");
    }

    #[test]
    fn an_error_is_small() {
        // Every `Result` of the crate carries this size.
        assert!(size_of::<Error>() <= 64, "{}", size_of::<Error>());
    }

    #[test]
    fn causes_are_behind_source_and_not_in_the_text() {
        let cause = std::io::Error::other("the cause");
        let error = Error::connection_from("cannot connect", cause);
        assert_eq!(error.to_string(), "cannot connect");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("the cause"));
    }
}
