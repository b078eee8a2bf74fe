use std::fmt;

use super::Error;

/// The kind of an [`Error`], for comparisons and for labels of metrics. The names that
/// [`as_str`](Self::as_str) returns stay the same in later versions.
///
/// # Examples
///
/// ```
/// use engineio::{Client, ErrorKind};
///
/// let error = Client::new().send("hi").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::SocketIsClosed);
/// assert_eq!(error.kind().as_str(), "socket_is_closed");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// [`Error::InvalidUrl`]
    InvalidUrl,
    /// [`Error::InvalidOption`]
    InvalidOption,
    /// [`Error::InvalidEvent`]
    InvalidEvent,
    /// [`Error::AlreadyConnected`]
    AlreadyConnected,
    /// [`Error::NotConnected`]
    NotConnected,
    /// [`Error::Connection`]
    Connection,
    /// [`Error::ConnectHandler`]
    ConnectHandler,
    /// [`Error::SocketIsClosed`]
    SocketIsClosed,
    /// [`Error::Timeout`]
    Timeout,
    /// [`Error::QueueFull`]
    QueueFull,
    /// [`Error::MessageTooLarge`]
    MessageTooLarge,
    /// [`Error::Separator`]
    Separator,
    /// [`Error::Unsent`]
    Unsent,
    /// [`Error::Json`]
    Json,
    /// [`Error::WebSocketClosed`]
    WebSocketClosed,
    /// [`Error::Protocol`]
    Protocol,
}

impl ErrorKind {
    /// The name in lower case, with underscores, such as `message_too_large`.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::InvalidUrl => "invalid_url",
            ErrorKind::InvalidOption => "invalid_option",
            ErrorKind::InvalidEvent => "invalid_event",
            ErrorKind::AlreadyConnected => "already_connected",
            ErrorKind::NotConnected => "not_connected",
            ErrorKind::Connection => "connection",
            ErrorKind::ConnectHandler => "connect_handler",
            ErrorKind::SocketIsClosed => "socket_is_closed",
            ErrorKind::Timeout => "timeout",
            ErrorKind::QueueFull => "queue_full",
            ErrorKind::MessageTooLarge => "message_too_large",
            ErrorKind::Separator => "separator",
            ErrorKind::Unsent => "unsent",
            ErrorKind::Json => "json",
            ErrorKind::WebSocketClosed => "websocket_closed",
            ErrorKind::Protocol => "protocol",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error {
    /// The kind of the error.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(engineio::Error::QueueFull.kind(), engineio::ErrorKind::QueueFull);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::InvalidUrl { .. } => ErrorKind::InvalidUrl,
            Error::InvalidOption { .. } => ErrorKind::InvalidOption,
            Error::InvalidEvent { .. } => ErrorKind::InvalidEvent,
            Error::AlreadyConnected => ErrorKind::AlreadyConnected,
            Error::NotConnected => ErrorKind::NotConnected,
            Error::Connection { .. } => ErrorKind::Connection,
            Error::ConnectHandler { .. } => ErrorKind::ConnectHandler,
            Error::SocketIsClosed => ErrorKind::SocketIsClosed,
            Error::Timeout { .. } => ErrorKind::Timeout,
            Error::QueueFull => ErrorKind::QueueFull,
            Error::MessageTooLarge { .. } => ErrorKind::MessageTooLarge,
            Error::Separator => ErrorKind::Separator,
            Error::Unsent { .. } => ErrorKind::Unsent,
            Error::Json(_) => ErrorKind::Json,
            Error::WebSocketClosed { .. } => ErrorKind::WebSocketClosed,
            Error::Protocol { .. } => ErrorKind::Protocol,
        }
    }

    /// The kind of the I/O error that says the same.
    fn io_kind(&self) -> std::io::ErrorKind {
        use std::io::ErrorKind as Io;
        match self {
            Error::InvalidUrl { .. }
            | Error::InvalidOption { .. }
            | Error::InvalidEvent { .. }
            | Error::MessageTooLarge { .. }
            | Error::Separator => Io::InvalidInput,
            Error::Json(_) | Error::Protocol { .. } => Io::InvalidData,
            Error::NotConnected | Error::SocketIsClosed => Io::NotConnected,
            Error::Timeout { .. } => Io::TimedOut,
            Error::QueueFull => Io::WouldBlock,
            Error::Unsent { .. } => Io::WriteZero,
            Error::WebSocketClosed { .. } => Io::ConnectionAborted,
            Error::Connection { source, .. } => {
                let cause = source.as_ref().and_then(|cause| cause.downcast_ref::<std::io::Error>());
                cause.map_or(Io::Other, std::io::Error::kind)
            }
            Error::AlreadyConnected | Error::ConnectHandler { .. } => Io::Other,
        }
    }
}

/// Converts the error for functions that return I/O errors. The I/O error contains this crate's error. Its
/// kind corresponds to the error, such as `TimedOut` or `NotConnected`. For [`Error::Connection`], it is the
/// kind of the I/O error that caused the failure, or `Other` if there is none.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::new(error.io_kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_named_like_its_variant() {
        let errors = [
            (Error::option("x", "y"), "InvalidOption"),
            (Error::connection("x"), "Connection"),
            (Error::SocketIsClosed, "SocketIsClosed"),
            (Error::MessageTooLarge { size: 2, max: 1 }, "MessageTooLarge"),
            (Error::websocket_closed(None, ""), "WebSocketClosed"),
        ];
        for (error, name) in errors {
            let kind = error.kind();
            assert_eq!(format!("{kind:?}"), name);
            assert_eq!(kind.to_string().replace('_', ""), name.to_lowercase());
        }
    }
}
