use std::time::Duration;

use ureq::http::header::{COOKIE, HeaderName, HeaderValue};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::logger::Logger;
use crate::net::{Headers, TlsSettings, cookies};
use crate::reconnection::Reconnection;
use crate::transport::TransportKind;

/// Options of a [`Client`], for all of its connections.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let client = engineio::Client::builder().request_timeout(Duration::from_secs(10)).build()?;
/// # Ok::<(), engineio::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `build`"]
pub struct ClientBuilder {
    pub(crate) options: Options,
}

/// What a client was built with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) request_timeout: Duration,
    pub(crate) timestamp_requests: bool,
    pub(crate) tls: TlsSettings,
    pub(crate) outbox_limit: usize,
    pub(crate) inbox_limit: usize,
    pub(crate) max_message_size: usize,
    pub(crate) packets_per_post: usize,
    pub(crate) reconnection: Option<Reconnection>,
    pub(crate) logger: Logger,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            request_timeout: Duration::from_secs(5),
            timestamp_requests: true,
            tls: TlsSettings::default(),
            outbox_limit: 4 << 20,
            inbox_limit: 4 << 20,
            max_message_size: 64 << 20,
            packets_per_post: 16,
            reconnection: None,
            logger: Logger::default(),
        }
    }
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        ClientBuilder { options: Options::default() }
    }

    /// How long the server may take for the handshake, for the websocket's opening (name lookup, TCP, TLS and
    /// HTTP together), for the answer to the upgrade's probe, for each POST, and for a graceful disconnect.
    /// Default: 5 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.options.request_timeout = timeout;
        self
    }

    /// Whether requests carry the query parameter `t`, a timestamp that keeps caches from answering.
    /// Default: true.
    pub fn timestamp_requests(mut self, timestamps: bool) -> Self {
        self.options.timestamp_requests = timestamps;
        self
    }

    /// Whether the server's certificate must be valid and for its host, on both transports. Default: true.
    ///
    /// With `false`, anybody in between can read and change everything.
    pub fn ssl_verify(mut self, verify: bool) -> Self {
        self.options.tls.verify = verify;
        self
    }

    /// How much may wait to be written, in bytes of memory. Past it [`Client::send`] blocks, and
    /// [`Client::try_send`] fails. A single message may be larger. Default: 4 MiB.
    pub fn outbox_limit(mut self, bytes: usize) -> Self {
        self.options.outbox_limit = bytes;
        self
    }

    /// How much may wait for a slow handler, in bytes of memory. Past it the client stops reading, so that TCP
    /// holds the server back; pings are not answered then either. Default: 4 MiB.
    pub fn inbox_limit(mut self, bytes: usize) -> Self {
        self.options.inbox_limit = bytes;
        self
    }

    /// The size of a message, and of a polling response, above which a received one ends the connection, in
    /// bytes. Default: 64 MiB.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.options.max_message_size = bytes;
        self
    }

    /// How many packets a POST carries at most. Default: 16, as python-engineio's server loses what is above
    /// that, without an error, unless its own limit was raised.
    pub fn packets_per_post(mut self, packets: usize) -> Self {
        self.options.packets_per_post = packets;
        self
    }

    /// Connects again when a connection is lost. Default: it does not.
    ///
    /// The disconnect handler is called for each connection that is lost, the connect handler for each that
    /// is made, and [`Client::wait`] goes on meanwhile. A disconnect handler that connects by itself takes
    /// precedence.
    pub fn reconnection(mut self, policy: Reconnection) -> Self {
        self.options.reconnection = Some(policy);
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a value that cannot be used: a timeout or a limit of zero.
    pub fn build(self) -> Result<Client> {
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
        Ok(Client::from_options(self.options))
    }
}

/// Options of one connection, for [`Client::connect_with`].
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
    /// of the default one. Those that frame a request, such as `Content-Type`, are refused by `connect_with`.
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
    /// ignored, as by the other clients.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The headers in the form that goes on the wire, and the cookies among them.
    pub(crate) fn parsed_headers(&self) -> Result<Headers> {
        let mut headers = Headers::default();
        for (name, value) in &self.headers {
            let invalid = |what: &str| Error::option("header", format!("{name:?} {what}"));
            let parsed = name.parse::<HeaderName>().map_err(|_| invalid("is not a header's name"))?;
            let mut value_parsed: HeaderValue = value.parse().map_err(|_| invalid("has an invalid value"))?;
            if RESERVED_HEADERS.contains(&parsed.as_str()) {
                return Err(invalid("is set by the client itself"));
            }
            if parsed == COOKIE {
                headers
                    .cookies
                    .extend(cookies::parse(value).map_err(|e| invalid(&format!("is invalid: {e}")))?);
                continue;
            }
            // Headers may carry credentials: no `Debug` shows them.
            value_parsed.set_sensitive(true);
            headers.plain.push((parsed, value_parsed));
        }
        Ok(headers)
    }
}

/// Headers that say how a request is framed, or that the websocket's handshake needs as they are.
const RESERVED_HEADERS: [&str; 8] = [
    "connection",
    "content-length",
    "content-type",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
];

/// Shows the names of the headers only: their values may be secret.
impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ConnectOptions")
            .field("headers", &headers)
            .field("transports", &self.transports)
            .field("path", &self.path)
            .finish()
    }
}

/// How to end a connection, for [`Client::disconnect_with`].
///
/// # Examples
///
/// ```
/// let disconnect = engineio::Disconnect::new().reason("the user logged out");
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing before they are given to `disconnect_with`"]
pub struct Disconnect {
    pub(crate) abort: bool,
    pub(crate) reason: Option<String>,
}

impl Disconnect {
    /// The defaults: write what is queued, wait for the end.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the connection at once: what is queued is not written, the server is not told, and the call does
    /// not wait for the handlers. Default: false.
    pub fn abort(mut self, abort: bool) -> Self {
        self.abort = abort;
        self
    }

    /// The reason given to the disconnect handler, as [`Reason::Other`](crate::Reason::Other). Default:
    /// [`Reason::ClientDisconnect`](crate::Reason::ClientDisconnect).
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}
