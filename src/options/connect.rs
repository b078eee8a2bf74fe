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
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            headers: Vec::new(),
            transports: vec![TransportKind::Polling, TransportKind::WebSocket],
            path: "engine.io".into(),
        }
    }
}

impl ConnectOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header to every HTTP request and to the websocket's opening request. Default: none.
    ///
    /// Cookies of a `Cookie` header are merged with those that the server sets. A `User-Agent` takes the place
    /// of the default one. A `Proxy-Authorization` is for an HTTP proxy, in place of the credentials in its URL,
    /// and is not sent to the server. Those that frame a request, such as `Content-Type`, are refused by `connect_with`.
    ///
    /// When the server redirects within its origin, or from http to https on its host, all headers follow. They stay
    /// behind on a redirect to any other place, with the cookies of a `Cookie` header and the credentials of the URL,
    /// and a warning in the log names them.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The transports to use, in the order in which they are tried. Default: polling, then websocket.
    ///
    /// With polling first and websocket in the list, a connection starts with polling and is upgraded. The
    /// first transport that works is used; the others are for when it does not.
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> Self {
        self.transports = transports.into_iter().collect();
        self
    }

    /// The path of the Engine.IO endpoint on the server. Default: `engine.io`. The path of the URL itself is
    /// not used, as by the other clients: the log warns of one that differs.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    pub(crate) fn parsed_headers(&self) -> Result<Headers> {
        parse_headers("header", &self.headers)
    }
}

/// Shows the names of the headers only: their values may be secret.
impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("headers", &header_names(&self.headers))
            .field("transports", &self.transports)
            .field("path", &self.path)
            .finish()
    }
}
