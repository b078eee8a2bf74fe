use std::sync::Arc;
use std::time::Duration;

use log::Log;
use ureq::Agent;
use ureq::http::header::{COOKIE, HeaderName, HeaderValue, PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::json::{Json, JsonCodec};
use crate::logger::Logger;
use crate::net::{AgentSource, Headers, ProxySettings, TlsSettings, cookies};
use crate::reconnection::Reconnection;
use crate::transport::{TransportKind, WebSocketSettings};

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
    options: Options,
    websocket: WebSocketOptions,
}

/// What a client was built with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) request_timeout: Duration,
    pub(crate) timestamp_requests: bool,
    pub(crate) tls: TlsSettings,
    pub(crate) agent: Option<AgentSource>,
    pub(crate) proxy: ProxySettings,
    pub(crate) outbox_limit: usize,
    pub(crate) inbox_limit: usize,
    pub(crate) max_message_size: usize,
    pub(crate) packets_per_post: usize,
    pub(crate) websocket: WebSocketSettings,
    pub(crate) reconnection: Option<Reconnection>,
    pub(crate) json: Json,
    pub(crate) logger: Logger,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            request_timeout: Duration::from_secs(5),
            timestamp_requests: true,
            tls: TlsSettings::default(),
            agent: None,
            proxy: ProxySettings::default(),
            outbox_limit: 4 << 20,
            inbox_limit: 4 << 20,
            max_message_size: 64 << 20,
            packets_per_post: 16,
            websocket: WebSocketSettings::default(),
            reconnection: None,
            json: Json::default(),
            logger: Logger::default(),
        }
    }
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        ClientBuilder { options: Options::default(), websocket: WebSocketOptions::default() }
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

    /// Accepts servers whose certificates these authorities have signed, on both transports, in addition to those
    /// that the system accepts. May be called more than once. Default: none.
    ///
    /// `pem` is the content of a PEM file, with one or more certificates. A server's own certificate does as well,
    /// if it is self-signed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let client = engineio::Client::builder().ca_certificate(std::fs::read("ca.pem")?).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ca_certificate(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.options.tls.authorities.push(pem.as_ref().into());
        self
    }

    /// The certificate that the client shows to servers that ask for one, on both transports, and its private key.
    /// Default: none.
    ///
    /// Both are the contents of PEM files, or of one file that holds both. Certificates of the authorities in
    /// between may follow the client's own. The key is PKCS#8 (`PRIVATE KEY`), PKCS#1 (`RSA PRIVATE KEY`) or SEC1
    /// (`EC PRIVATE KEY`), and not encrypted.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::fs::read;
    ///
    /// let client =
    ///     engineio::Client::builder().client_certificate(read("client.pem")?, read("client.key")?).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_certificate(mut self, cert_pem: impl AsRef<[u8]>, key_pem: impl AsRef<[u8]>) -> Self {
        self.options.tls.identity = Some((cert_pem.as_ref().into(), key_pem.as_ref().into()));
        self
    }

    /// Uses the configuration and the cookies of a ureq agent for all connections, on both transports. Default:
    /// none.
    ///
    /// What holds of it: the proxy, the TLS settings (authorities, client certificate, verification, SNI), the user
    /// agent, redirects, middleware, and timeouts, where they are shorter than the client's own. Cookies for the
    /// server are copied from it when a connection is made, and those that the server sets go back into it. The
    /// agent itself stays as it is: connections have an agent of their own, with their own sockets, so a resolver
    /// or a connector of the agent's is not used. Settings of the client are added to those of the agent.
    ///
    /// ureq's built-in list of authorities, its default, is that of the system here. Timeouts do not bound
    /// a long poll, which ends when the server has been silent for too long.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let agent: ureq::Agent = ureq::Agent::config_builder()
    ///     .user_agent("my-app/1.0")
    ///     .timeout_connect(Some(Duration::from_secs(2)))
    ///     .build()
    ///     .into();
    /// let client = engineio::Client::builder().http_agent(agent).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn http_agent(mut self, agent: Agent) -> Self {
        self.options.agent = Some(AgentSource::Shared(agent));
        self
    }

    /// As [`http_agent`](Self::http_agent), with a fresh agent for each connection: one that reads new credentials,
    /// or starts without cookies.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::builder().http_agent_factory(ureq::Agent::new_with_defaults).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn http_agent_factory<F>(mut self, factory: F) -> Self
    where
        F: Fn() -> Agent + Send + Sync + 'static,
    {
        self.options.agent = Some(AgentSource::Factory(Arc::new(factory)));
        self
    }

    /// Connects through a proxy, on both transports. Default: what the environment says.
    ///
    /// | URL | proxy |
    /// |---|---|
    /// | `http://proxy:3128`, `proxy:3128` | HTTP; port 80 if none is given |
    /// | `https://proxy:3129` | HTTP, reached by TLS, for which the client's TLS options hold; port 443 if none is given |
    /// | `socks5://proxy:1080`, `socks5h://proxy:1080` | SOCKS5; port 1080 if none is given |
    ///
    /// With credentials it is `http://user:password@proxy:3128`, with what is special in them percent-encoded. HTTP
    /// proxies get them as `Basic`.
    ///
    /// Every connection is a tunnel through the proxy (by `CONNECT`, on HTTP), to `http://` and `ws://` servers as
    /// well, so that polling and websocket behave the same; an HTTP proxy may have to be told to allow that for
    /// other ports than 443. The names of servers are resolved by the proxy, with `socks5://` too.
    ///
    /// In the environment, `https_proxy` is the proxy for `https://` and `wss://` servers, `http_proxy` that for
    /// `http://` and `ws://`, and `all_proxy` that for those without one of their own, all of them also in capitals.
    /// `no_proxy` lists servers that are connected to directly, local ones among them: names, which hold for the
    /// names below them too, `.example.org` for the names below only, addresses, networks as in `10.0.0.0/8`, and `*`
    /// for all. It is read at each connect. An [agent](Self::http_agent) with a proxy of its own, or with none, takes
    /// precedence over the environment, and this option over both, without exceptions.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::builder().proxy("http://user:password@proxy.example.org:3128").build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.options.proxy = ProxySettings::Url(url.into());
        self
    }

    /// Connects to servers directly, whatever the environment and the [agent](Self::http_agent) say. Default: they
    /// decide, as [`proxy`](Self::proxy) tells.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::builder().no_proxy().build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn no_proxy(mut self) -> Self {
        self.options.proxy = ProxySettings::Off;
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

    /// Options of the websocket transport. Default: [`WebSocketOptions::new`].
    pub fn websocket_options(mut self, options: WebSocketOptions) -> Self {
        self.websocket = options;
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

    /// Writes and reads JSON by another library, or in another style. Default: serde_json.
    ///
    /// It is used for [`Message::Json`](crate::Message::Json), [`Client::send_json`] and
    /// [`decode_json`](Self::decode_json); [`Message::json`](crate::Message::json) reads by serde_json.
    pub fn json(mut self, codec: impl JsonCodec) -> Self {
        self.options.json.codec = Some(Arc::new(codec));
        self
    }

    /// Whether a received text that is JSON arrives as [`Message::Json`](crate::Message::Json), unless it starts
    /// with a digit. Default: false, a text stays a text, and [`Message::json`](crate::Message::json) reads it on
    /// demand.
    pub fn decode_json(mut self, decode: bool) -> Self {
        self.options.json.decode = decode;
        self
    }

    /// Writes the client's log lines to a log of its own. Default: the `log` facade of the process, with target
    /// `engineio`.
    ///
    /// Errors are failed handlers; warnings are fallbacks and losses; infos are states and transports; debug
    /// lines are packets, with their sizes; trace lines are their contents.
    ///
    /// # Examples
    ///
    /// ```
    /// struct Stderr;
    ///
    /// impl log::Log for Stderr {
    ///     fn enabled(&self, metadata: &log::Metadata) -> bool {
    ///         metadata.level() <= log::Level::Info
    ///     }
    ///     fn log(&self, record: &log::Record) {
    ///         eprintln!("{}: {}", record.level(), record.args());
    ///     }
    ///     fn flush(&self) {}
    /// }
    ///
    /// let client = engineio::Client::builder().logger(Stderr).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn logger(mut self, log: impl Log + 'static) -> Self {
        self.options.logger.set_own(Arc::new(log));
        self
    }

    /// Logs nothing but errors: handlers that failed. Default: everything that the log lets through.
    pub fn log_errors_only(mut self) -> Self {
        self.options.logger.set_errors_only();
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a value that cannot be used: a timeout or a limit of zero, a malformed header, a
    /// certificate or a key that cannot be read, or that do not belong together, a proxy's URL that cannot be used.
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
        options.proxy.check()?;
        self.options.websocket = self.websocket.settings(options.max_message_size)?;
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
    /// of the default one. A `Proxy-Authorization` is for an HTTP proxy, in place of the credentials in its URL,
    /// and is not sent to the server. Those that frame a request, such as `Content-Type`, are refused by `connect_with`.
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

    pub(crate) fn parsed_headers(&self) -> Result<Headers> {
        parse_headers("header", &self.headers)
    }
}

/// The headers in the form that goes on the wire, and the cookies among them.
fn parse_headers(option: &'static str, headers: &[(String, String)]) -> Result<Headers> {
    let mut parsed = Headers::default();
    for (name, value) in headers {
        let invalid = |what: &str| Error::option(option, format!("{name:?} {what}"));
        let header = name.parse::<HeaderName>().map_err(|_| invalid("is not a header's name"))?;
        let mut header_value: HeaderValue = value.parse().map_err(|_| invalid("has an invalid value"))?;
        if RESERVED_HEADERS.contains(&header.as_str()) {
            return Err(invalid("is set by the client itself"));
        }
        if header == COOKIE {
            parsed.cookies.extend(cookies::parse(value).map_err(|e| invalid(&format!("is invalid: {e}")))?);
        } else {
            // Headers may carry credentials: no `Debug` shows them.
            header_value.set_sensitive(true);
            parsed.plain.push((header, header_value));
        }
    }
    Ok(parsed)
}

/// Headers that say how a request is framed, or that the websocket's handshake needs as they are.
const RESERVED_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
];

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

/// Options of the websocket transport, for [`ClientBuilder::websocket_options`].
///
/// # Examples
///
/// ```
/// use engineio::{Client, WebSocketOptions};
///
/// let options = WebSocketOptions::new().origin("https://example.org").max_message_size(1 << 20);
/// let client = Client::builder().websocket_options(options).build()?;
/// # Ok::<(), engineio::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "options do nothing before they are given to a builder"]
pub struct WebSocketOptions {
    headers: Vec<(String, String)>,
    subprotocols: Vec<String>,
    max_message_size: Option<usize>,
    max_frame_size: Option<usize>,
    read_buffer_size: Option<usize>,
    write_buffer_size: Option<usize>,
}

impl WebSocketOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header to the opening request of the websocket only. Default: none.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The `Origin` header of the opening request. Default: none, as there is no web page.
    pub fn origin(self, origin: impl Into<String>) -> Self {
        self.header("Origin", origin)
    }

    /// The subprotocols to offer, the best first (RFC 6455, section 1.9). Default: none.
    ///
    /// A server may choose none of them. If it chooses another one, the websocket is not used.
    pub fn subprotocols<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// The size of a received message above which the connection ends, in bytes. Default:
    /// [`ClientBuilder::max_message_size`].
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = Some(bytes);
        self
    }

    /// As [`max_message_size`](Self::max_message_size), for each frame of a fragmented message. Default: the same.
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.max_frame_size = Some(bytes);
        self
    }

    /// The buffer into which the socket is read, in bytes. It lives as long as the connection. Default: 8 KiB.
    pub fn read_buffer_size(mut self, bytes: usize) -> Self {
        self.read_buffer_size = Some(bytes);
        self
    }

    /// How many bytes of a batch are gathered before the socket is written to. Default: 128 KiB.
    pub fn write_buffer_size(mut self, bytes: usize) -> Self {
        self.write_buffer_size = Some(bytes);
        self
    }

    /// Checks the options, and fills in what the client's own say.
    fn settings(&self, max_message_size: usize) -> Result<WebSocketSettings> {
        const OPTION: &str = "websocket_options";
        let mut headers = parse_headers(OPTION, &self.headers)?;
        if !headers.cookies.is_empty() {
            return Err(Error::option(OPTION, "cookies belong in ConnectOptions::header"));
        }
        if headers.plain.iter().any(|(name, _)| *name == PROXY_AUTHORIZATION) {
            return Err(Error::option(OPTION, "Proxy-Authorization belongs in ConnectOptions::header"));
        }
        let sizes =
            [self.max_message_size, self.max_frame_size, self.read_buffer_size, self.write_buffer_size];
        if sizes.contains(&Some(0)) {
            return Err(Error::option(OPTION, "sizes must be above zero"));
        }
        if !self.subprotocols.is_empty() {
            let value = HeaderValue::try_from(self.subprotocols.join(", "));
            let value = value.map_err(|_| Error::option(OPTION, "a subprotocol has an invalid name"))?;
            headers.plain.push((SEC_WEBSOCKET_PROTOCOL, value));
        }
        let defaults = WebSocketSettings::default();
        let max_message = self.max_message_size.unwrap_or(max_message_size);
        Ok(WebSocketSettings {
            headers: headers.plain,
            subprotocols: self.subprotocols.clone(),
            max_message,
            max_frame: self.max_frame_size.unwrap_or(max_message),
            read_buffer: self.read_buffer_size.unwrap_or(defaults.read_buffer),
            write_buffer: self.write_buffer_size.unwrap_or(defaults.write_buffer),
        })
    }
}

/// Shows the names of the headers only: their values may be secret.
impl std::fmt::Debug for WebSocketOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketOptions")
            .field("headers", &header_names(&self.headers))
            .field("subprotocols", &self.subprotocols)
            .field("max_message_size", &self.max_message_size)
            .field("max_frame_size", &self.max_frame_size)
            .field("read_buffer_size", &self.read_buffer_size)
            .field("write_buffer_size", &self.write_buffer_size)
            .finish()
    }
}

fn header_names(headers: &[(String, String)]) -> Vec<&str> {
    headers.iter().map(|(name, _)| name.as_str()).collect()
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
