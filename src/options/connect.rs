//! The options of one connection.

use super::headers::{header_names, parse_headers};
use crate::error::Result;
use crate::net::Headers;
use crate::transport::TransportKind;

/// Options of one connection, for [`Client::connect_with`](crate::Client::connect_with).
///
/// # Examples
///
/// ```
/// use engineio::{ConnectOptions, TransportKind};
///
/// let options = ConnectOptions::new()
///     .header("X-Tenant", "acme")
///     .transports([TransportKind::WebSocket])
///     .path("my/engine.io");
/// ```
#[derive(Clone)]
#[must_use = "options do nothing before they are given to `connect_with`"]
pub struct ConnectOptions {
    headers: Vec<(String, String)>,
    pub(crate) transports: Vec<TransportKind>,
    pub(crate) path: String,
    pub(crate) trailing_slash: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            headers: Vec::new(),
            transports: vec![TransportKind::Polling, TransportKind::WebSocket],
            path: "engine.io".into(),
            trailing_slash: true,
        }
    }
}

impl ConnectOptions {
    /// Makes options with the default values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header to every HTTP request and to the websocket's opening request. Default: none.
    ///
    /// The cookies of a `Cookie` header are merged with those that the server sets. A `User-Agent` header
    /// replaces the default one. A `Proxy-Authorization` header is sent to an HTTP proxy instead of the
    /// credentials in the proxy's URL, and is not sent to the server. Some headers are reserved for the
    /// client, such as `Content-Type` and `Upgrade`: with them, `connect_with` returns
    /// [`Error::InvalidOption`](crate::Error::InvalidOption).
    ///
    /// If the server redirects within its origin, or from http to https on its host, all headers are sent to
    /// the new URL too. A redirect to any other URL is followed without these headers, without the cookies of
    /// a `Cookie` header and without the credentials of the URL. A warning in the log names what is left out.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds headers like [`header`](Self::header), from a map or a list of pairs.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashMap;
    ///
    /// use engineio::ConnectOptions;
    ///
    /// let tokens = HashMap::from([("X-Tenant", "acme"), ("X-Token", "secret")]);
    /// let options = ConnectOptions::new()
    ///     .headers(tokens)
    ///     .headers([("X-Trace", "1".to_owned())]);
    /// ```
    pub fn headers<N: Into<String>, V: Into<String>>(
        mut self,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.headers.extend(headers.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Sets the transports, in the order in which they are tried. Default: polling, then websocket.
    ///
    /// The client uses the first transport that works. It tries the next one only if the failure may be due
    /// to the transport, and not, for example, if the server cannot be reached. If polling comes first and
    /// websocket is in the list, a connection starts with polling and is upgraded to websocket.
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> Self {
        self.transports = transports.into_iter().collect();
        self
    }

    /// Sets the path of the Engine.IO endpoint on the server. Default: `engine.io`. As in other clients, the
    /// path of the URL is not used. If the URL has another path, a warning is logged, or printed to stderr if
    /// there is no logger.
    ///
    /// Slashes at the beginning and at the end make no difference, because
    /// [`trailing_slash`](Self::trailing_slash) sets whether requests have one at the end. The root path is
    /// `/`. Percent-encode characters that a path cannot contain, such as `?`, `#` and spaces:
    /// `my%20app/engine.io`. `connect_with` returns [`Error::InvalidOption`](crate::Error::InvalidOption) if
    /// the path contains such a character, is empty, or has a `.` or `..` segment.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::ConnectOptions;
    ///
    /// let socketio = ConnectOptions::new().path("socket.io");
    /// let root = ConnectOptions::new().path("/");
    /// ```
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets whether the path of each request ends with a slash, as in `/engine.io/?EIO=4`. Default: true.
    ///
    /// Most servers require or accept the slash. Set this to false for a server that refuses it, such as
    /// npm's `engine.io` with `addTrailingSlash: false`, or a router that matches the exact path. The root
    /// path is `/` in both cases.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use engineio::{Client, ConnectOptions};
    ///
    /// // The requests go to https://example.org/api/realtime?EIO=4&...
    /// let options = ConnectOptions::new().path("api/realtime").trailing_slash(false);
    /// Client::new().connect_with("https://example.org", options)?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn trailing_slash(mut self, slash: bool) -> Self {
        self.trailing_slash = slash;
        self
    }

    /// The headers in the form in which they are sent.
    pub(crate) fn parsed_headers(&self) -> Result<Headers> {
        parse_headers("header", &self.headers)
    }
}

/// Only the names of the headers are shown, because the values may be secret.
impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("headers", &header_names(&self.headers))
            .field("transports", &self.transports)
            .field("path", &self.path)
            .field("trailing_slash", &self.trailing_slash)
            .finish()
    }
}
