use std::sync::Arc;
use std::time::Duration;

use log::Log;
use ureq::Agent;

use super::Client;
use crate::error::{Error, Result};
use crate::json::JsonCodec;
use crate::net::{AgentSource, ProxySettings};
use crate::options::{Options, WebSocketOptions};
use crate::reconnection::Reconnection;

/// The longest timeout, 49 days: no sum with it overflows.
const LONGEST_TIMEOUT: Duration = Duration::from_millis(u32::MAX as u64);

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

impl Client {
    /// Options for a client.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::builder().ssl_verify(false).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder { options: Options::default(), websocket: WebSocketOptions::default() }
    }
}

impl ClientBuilder {
    /// How long the server may take for the handshake, for the websocket's opening (name lookup, TCP, TLS and
    /// HTTP together), for the answer to the upgrade's probe, for each POST, and for a graceful disconnect.
    /// Default: 5 s; 49 days at most.
    ///
    /// A POST with a big message has to get through in that time, on a slow line too.
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
    /// agent itself stays as it is: connections have an agent of their own, with their own sockets, so a resolver,
    /// an IP family or a connector of the agent's is not used. Settings of the client are added to those of the agent.
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
    /// One in small letters that is set and empty means none, whatever the others say.
    /// `no_proxy` lists servers that are connected to directly, local ones among them: names, which hold for the
    /// names below them too, `.example.org` for the names below only, addresses, networks as in `10.0.0.0/8`, and `*`
    /// for all; each may have a port, as in `example.org:8080`. It is read at each connect. An [agent](Self::http_agent) with a proxy of its own, or with none, takes
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

    /// The size of a message above which a received one ends the connection, in bytes. A polling response with many
    /// may be half as much again. A websocket keeps the memory that its biggest message took. Default: 64 MiB.
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
    /// is made, and [`Client::wait`] goes on meanwhile. That holds for connections that the server ends in order, too.
    /// A [`connect`](Client::connect) of your own, in the disconnect handler or during a pause, takes precedence; if it
    /// fails, the policy goes on. [`Client::disconnect`] ends it.
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
    /// demand. A handler that asks a message [`as_text`](crate::Message::as_text) does not get those that arrive as JSON.
    ///
    /// A text stays a text if its value would take more memory than 32 times the text and 16 MiB, or if it
    /// nests arrays and objects more than 127 levels deep. The memory is estimated before the text is
    /// decoded, by serde_json or by the codec of [`json`](Self::json): 32 bytes for each value and each
    /// string, 128 for an array that is not empty, and 640 for an object that is not empty and for each six
    /// members beyond eleven. So a list of numbers, or of flat objects of 30 characters and more, always
    /// arrives as JSON, and `[{"x":1,"y":2},...]` up to a length of about 700 kB.
    pub fn decode_json(mut self, decode: bool) -> Self {
        self.options.json.decode = decode;
        self
    }

    /// Whether Ctrl-C (SIGINT) disconnects the client before the process ends. Default: true.
    ///
    /// All connected clients disconnect at once, each for its request timeout at most, and attempts to connect end.
    /// Then the process does what it would have done: a handler that was there before the first connection has run,
    /// and the process goes on; without one it ends by the signal, at a second Ctrl-C at once, and until then neither
    /// [`Client::wait`] nor a `connect` that was ended returns. If the signal was ignored, it stays so. SIGTERM is the
    /// program's own business.
    ///
    /// A program says `false` here, and calls [`Client::disconnect`] itself, if it installs its handler after the first
    /// connection, as ours does not see that one and ends the process, or if its handler ends the process, as that one
    /// does not wait for the clients. Where there is no `/proc` to tell what was there before, a handler of the
    /// program's own runs and then the process ends, even if the signal was ignored. On Windows this has no effect.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # #[cfg(unix)] {
    /// use engineio::Client;
    /// use signal_hook::consts::SIGINT;
    /// use signal_hook::iterator::Signals;
    ///
    /// let client = Client::builder().handle_sigint(false).build()?;
    /// let mut signals = Signals::new([SIGINT])?;
    /// client.connect("http://localhost:5000")?;
    /// if signals.forever().next().is_some() {
    ///     client.disconnect()?;
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "sigint")]
    pub fn handle_sigint(mut self, handle: bool) -> Self {
        self.options.handle_sigint = handle;
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
        self.options.request_timeout = options.request_timeout.min(LONGEST_TIMEOUT);
        self.options.websocket = self.websocket.settings(self.options.max_message_size)?;
        Ok(Client::from_options(self.options))
    }
}
