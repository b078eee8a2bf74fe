//! The state, the identity and the counters of a client and its connection, for the program to read.

use std::sync::Arc;

use super::{Client, State};
use crate::error::{Error, Result};
use crate::protocol::Handshake;
use crate::stats::Stats;
use crate::transport::TransportKind;

/// State, identity and statistics.
impl Client {
    /// The transport of the current connection.
    ///
    /// # Errors
    ///
    /// [`Error::NotConnected`] if there is no connection.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(engineio::Client::new().transport().is_err());
    /// ```
    pub fn transport(&self) -> Result<TransportKind> {
        self.core.session().map(|session| session.transport_kind()).ok_or(Error::NotConnected)
    }

    /// The session id that the server has assigned; `None` without a connection.
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

    /// True if the state is [`State::Connected`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!engineio::Client::new().is_connected());
    /// ```
    pub fn is_connected(&self) -> bool {
        self.state() == State::Connected
    }

    /// True while the [reconnection policy](crate::ClientBuilder::reconnection) is connecting again. This
    /// includes its pauses, in which the state is [`State::Disconnected`], and its attempts. The result is
    /// still false in the disconnect handler, which runs before the policy begins.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!engineio::Client::new().is_reconnecting());
    /// ```
    pub fn is_reconnecting(&self) -> bool {
        self.core.is_reconnecting()
    }

    /// The server's handshake; `None` without a connection.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(engineio::Client::new().handshake(), None);
    /// ```
    pub fn handshake(&self) -> Option<Handshake> {
        self.core.session().map(|session| session.handshake().clone())
    }

    /// The error that ended the last connection, with more detail than its [`Reason`](crate::Reason): an HTTP
    /// status, a websocket close code, an I/O or TLS error. The result is `None` if there is no such detail,
    /// or while the current connection has not ended.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(engineio::Client::new().last_error().is_none());
    /// ```
    pub fn last_error(&self) -> Option<Arc<Error>> {
        self.core.last_error()
    }

    /// The counts of messages and bytes that the client has sent and received, and that wait to be written or
    /// handled. The call reads a few counters and does not slow the connection down.
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
