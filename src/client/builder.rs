//! The builder of a client: the options that hold for all of its connections.

// The documentation has the methods of these modules in this order, and `build` at the end.
mod general;
mod network;

use super::Client;
use crate::error::{Error, Result};
use crate::options::{Options, WebSocketOptions};
use crate::sync::LONGEST_WAIT;

/// The options of a [`Client`], for all of its connections.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use engineio::{Client, Reconnection};
///
/// let client = Client::builder()
///     .request_timeout(Duration::from_secs(10))
///     .reconnection(Reconnection::new())
///     .build()?;
/// # Ok::<(), engineio::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `build`"]
pub struct ClientBuilder {
    options: Options,
    websocket: WebSocketOptions,
}

impl ClientBuilder {
    pub(super) fn new() -> Self {
        ClientBuilder { options: Options::default(), websocket: WebSocketOptions::default() }
    }

    /// Builds the client.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if a value is unusable: a timeout or a limit of zero, a malformed header, a
    /// certificate or a key that cannot be read, a wrong password, a key that does not belong to its
    /// certificate, an unusable proxy URL, an invalid host name in [`resolve`](Self::resolve), or an unusable
    /// value in [`websocket_options`](Self::websocket_options).
    pub fn build(mut self) -> Result<Client> {
        let options = &self.options;
        if options.request_timeout.is_zero() {
            return Err(Error::option("request_timeout", "must be above zero"));
        }
        for (name, limit) in [
            ("outbox_limit", options.outbox_limit),
            ("inbox_limit", options.inbox_limit),
            ("max_message_size", options.max_message_size),
            ("packets_per_post", options.packets_per_post),
        ] {
            if limit == 0 {
                return Err(Error::option(name, "must be above zero"));
            }
        }
        options.tls.check()?;
        options.proxy_tls.check().map_err(|e| match e {
            Error::InvalidOption { reason, .. } => Error::option("proxy_ca_certificate", reason),
            other => other,
        })?;
        options.proxy.check()?;
        self.options.dial.normalize()?;
        self.options.request_timeout = self.options.request_timeout.min(LONGEST_WAIT);
        self.options.websocket = self.websocket.settings(self.options.max_message_size)?;
        Ok(Client::from_options(self.options))
    }
}
