use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::mem::replace;
use std::net::TcpStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::header::{PROXY_AUTHORIZATION, USER_AGENT};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Agent, Body, RequestBuilder, ResponseExt};

use super::agent;
use super::buffers::HttpBuffers;
use super::cookies::{self, OwnCookie};
use super::dial::{self, Known};
use super::http_error::{ERROR_BODY, HttpError, failed, refused, unanswered};
use super::proxy::{Proxy, Routes};
use super::socket::{LastActivity, Patience, Socket, Stream, TimeLeft};
use super::tls::TlsSettings;
use crate::error::{Error, Result};
use crate::sync::{Mutex, lock};

/// How long an idle connection is kept for another request. Servers close theirs after 2 s (gunicorn), 5 s (Node,
/// uvicorn) or more: a POST on a connection that is being closed is lost, and must not be sent twice.
const IDLE: Duration = Duration::from_millis(1500);

/// Marks the reads of a poll, which wait as long as the server lives.
const WHILE_ALIVE: Duration = Duration::new(u32::MAX as u64, 1);

/// What every HTTP request of a client is made with.
#[derive(Clone)]
pub(crate) struct HttpSettings {
    pub(crate) tls: TlsSettings,
    /// Bounds a request, from the name lookup to the last byte of the body.
    pub(crate) timeout: Duration,
    pub(crate) headers: Headers,
    /// The user's own, whose configuration and cookies are used.
    pub(crate) agent: Option<Agent>,
    pub(crate) routes: Routes,
}

/// The user's headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers {
    /// All but `Cookie`.
    pub(crate) plain: Vec<(HeaderName, HeaderValue)>,
    /// What `Cookie` headers hold.
    pub(crate) cookies: Vec<OwnCookie>,
}

impl Headers {
    /// Takes out what is for a proxy and not for the server.
    fn take_proxy_authorization(&mut self) -> Option<HeaderValue> {
        let index = self.plain.iter().position(|(name, _)| *name == PROXY_AUTHORIZATION)?;
        let value = self.plain.remove(index).1;
        self.plain.retain(|(name, _)| *name != PROXY_AUTHORIZATION);
        Some(value)
    }

    /// Sends the crate's own name, unless the user has given another.
    fn name_ourselves(&mut self) {
        if !self.plain.iter().any(|(name, _)| *name == USER_AGENT) {
            let value = HeaderValue::from_static(concat!("engineio/", env!("CARGO_PKG_VERSION")));
            self.plain.push((USER_AGENT, value));
        }
    }
}

/// The HTTP side of one connection: long polling's requests and the websocket's opening handshake.
///
/// Both go through one ureq agent, so that cookies, headers, redirects, TLS and timeouts are the same for both.
/// The agent is private to the connection, as closing it ends it for good. It costs nothing to make: sockets
/// and TLS come from a connector of ours, through ureq's transport seam.
#[derive(Clone)]
pub(crate) struct HttpClient {
    agent: Agent,
    link: Arc<Link>,
    settings: Arc<HttpSettings>,
}

/// What the connector, its transports and the client share.
struct Link {
    activity: Arc<LastActivity>,
    known: Arc<Known>,
    tls: TlsSettings,
    routes: Routes,
    /// The user's own `Proxy-Authorization`.
    proxy_authorization: Option<HeaderValue>,
    timeout: Duration,
    handover: Mutex<Handover>,
    /// Tells the reads of polls how long they may wait.
    server: Mutex<Option<Arc<dyn TimeLeft>>>,
}

/// How the stream of a 101 comes out of ureq: its transport leaves it here when ureq drops it.
#[derive(Debug, Default)]
enum Handover {
    /// Dropped streams are closed.
    #[default]
    Off,
    Wanted,
    Done {
        stream: Stream,
        /// Bytes that came behind the response's head.
        early: Vec<u8>,
    },
}

impl Link {
    fn set_handover(&self, handover: Handover) -> Handover {
        replace(&mut lock(&self.handover), handover)
    }

    fn hand_over(&self, stream: Stream, early: &[u8]) {
        let mut handover = lock(&self.handover);
        if !matches!(*handover, Handover::Off) {
            *handover = Handover::Done { stream, early: early.to_vec() };
        }
    }
}

/// What ureq gives back for a request.
type Answer = Result<ureq::http::Response<Body>, ureq::Error>;

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) body: Vec<u8>,
    /// The place that answered, where that is not the one that was asked: without the query, which may be secret.
    pub(crate) redirected: Option<String>,
}

/// A connection after `101 Switching Protocols`.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    /// Bytes that came behind the response's head.
    pub(crate) early: Vec<u8>,
    pub(crate) headers: HeaderMap,
    pub(crate) activity: Arc<LastActivity>,
}

impl HttpClient {
    /// A client for the server of that URL.
    pub(crate) fn new(mut settings: HttpSettings, url: &str) -> Self {
        let config = match &settings.agent {
            Some(lender) => lender.config().clone(),
            None => Agent::config_builder().proxy(None).build(),
        };
        if settings.agent.is_some() {
            settings.tls = settings.tls.with_agent(config.tls_config());
        }
        if agent::wants_default_user_agent(&config) {
            settings.headers.name_ourselves();
        }
        settings.timeout = agent::shorter(settings.timeout, &config);
        let link = Arc::new(Link {
            activity: Arc::new(LastActivity::new()),
            known: Arc::default(),
            tls: settings.tls.clone(),
            routes: settings.routes.clone(),
            proxy_authorization: settings.headers.take_proxy_authorization(),
            timeout: settings.timeout,
            handover: Mutex::default(),
            server: Mutex::default(),
        });
        let agent = Agent::with_parts(config, Dialer(link.clone()), NoResolver);
        if let Ok(uri) = url.parse::<Uri>() {
            if let Some(lender) = &settings.agent {
                agent::copy_cookies(lender, &agent, &uri);
            }
            // The more deliberate choice, and so the last.
            cookies::insert(&agent, &settings.headers.cookies, &uri);
        }
        HttpClient { agent, link, settings: Arc::new(settings) }
    }

    /// Another that is as this one was, with its cookies for that URL: for a last word, when this one is closed.
    pub(crate) fn reopened(&self, url: &str) -> Self {
        let link = Arc::new(Link {
            activity: Arc::new(LastActivity::new()),
            known: self.link.known.clone(),
            tls: self.link.tls.clone(),
            routes: self.link.routes.clone(),
            proxy_authorization: self.link.proxy_authorization.clone(),
            timeout: self.link.timeout,
            handover: Mutex::default(),
            server: Mutex::default(),
        });
        let agent = Agent::with_parts(self.agent.config().clone(), Dialer(link.clone()), NoResolver);
        if let Ok(uri) = url.parse::<Uri>() {
            agent::copy_cookies(&self.agent, &agent, &uri);
        }
        HttpClient { agent, link, settings: self.settings.clone() }
    }

    /// The proxy for requests to that URL, for the log.
    pub(crate) fn proxy(&self, url: &str) -> Option<impl fmt::Display> {
        url.parse::<Uri>().ok().and_then(|uri| self.link.routes.find(&uri).ok().flatten())
    }

    pub(crate) fn activity(&self) -> &Arc<LastActivity> {
        &self.link.activity
    }

    /// A GET that has the request timeout to end.
    pub(crate) fn get(&self, url: &str, max_body: usize) -> Result<Response, HttpError> {
        let request = self.prepare(self.agent.get(url), &[]);
        let response = self.run(url, || request.call()).map_err(|e| unanswered(e, url))?;
        let place = place(response.get_uri());
        let redirected = url.parse().is_ok_and(|asked| self::place(&asked) != place).then_some(place);
        let response = read(response, max_body)?.map_err(failed)?;
        Ok(Response { redirected, ..response })
    }

    /// A GET that may take for ever, as long as the server lives: `None` when it has been silent for too long.
    pub(crate) fn poll(
        &self,
        url: &str,
        server: &Arc<dyn TimeLeft>,
        max_body: usize,
    ) -> Result<Option<Response>, HttpError> {
        *lock(&self.link.server) = Some(server.clone());
        let silent = |e: &ureq::Error| matches!(e, ureq::Error::Io(e) if e.kind() == ErrorKind::TimedOut);
        let request = self.prepare(self.agent.get(url), &[]).config();
        // Of the agent's timeouts, those that do not bound the wait for the server's answer stay.
        let request = request.timeout_global(None).timeout_per_call(None).timeout_per_read(Some(WHILE_ALIVE));
        let request = request.timeout_recv_response(None).timeout_recv_body(None).build();
        let answer = match self.run(url, || request.call()) {
            Ok(response) => read(response, max_body)?,
            Err(e) => Err(e),
        };
        match answer {
            Ok(response) => Ok(Some(response)),
            Err(e) if silent(&e) => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }

    /// Adds the client's settings, and headers of the request's own, which replace those of all requests.
    fn prepare<B>(
        &self,
        mut request: RequestBuilder<B>,
        own: &[(HeaderName, HeaderValue)],
    ) -> RequestBuilder<B> {
        let replaced = |name: &HeaderName| own.iter().any(|(other, _)| other == name);
        let plain = self.settings.headers.plain.iter().filter(|(name, _)| !replaced(name));
        for (name, value) in own.iter().chain(plain) {
            request = request.header(name, value);
        }
        let config = request.config().timeout_global(Some(self.settings.timeout));
        config.http_status_as_error(false).save_redirect_history(true).max_idle_age(IDLE).build()
    }

    /// Runs a request to that URL, and passes the cookies of its answers on to the user's agent.
    fn run(&self, url: &str, request: impl FnOnce() -> Answer) -> Answer {
        let Some(lender) = &self.settings.agent else { return request() };
        let before = url.parse().map_or_else(|_| Vec::new(), |uri| agent::matching(&self.agent, &uri));
        let response = request()?;
        agent::return_cookies(lender, &self.agent, &before, &response);
        Ok(response)
    }

    /// A POST that has the request timeout to end.
    pub(crate) fn post(&self, url: &str, content_type: &str, body: &[u8]) -> Result<Response, HttpError> {
        let request = self.prepare(self.agent.post(url).header("Content-Type", content_type), &[]);
        // To follow a 301 or 302 is to GET (RFC 9110, section 15.4): the body would be lost without an error.
        let request = request.config().max_redirects(0).build();
        read(self.run(url, || request.send(body)).map_err(failed)?, ERROR_BODY)?.map_err(failed)
    }

    /// A GET that asks to switch to the websocket protocol (RFC 6455, section 4.1), and takes the connection over
    /// from ureq.
    pub(crate) fn upgrade(
        &self,
        url: &str,
        key: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Upgraded, HttpError> {
        let request = self
            .agent
            .get(url)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", key);
        let request = self.prepare(request, headers);
        self.link.set_handover(Handover::Wanted);
        // ureq drops the connection of a 101 before it returns the response.
        let response = self.run(url, || request.call());
        let handover = self.link.set_handover(Handover::Off);
        let response = response.map_err(|e| unanswered(e, url))?;
        if response.status() != 101 {
            return Err(refused(response));
        }
        let Handover::Done { mut stream, early } = handover else {
            return Err(HttpError::reached(Error::connection(
                "the connection was closed while it was upgraded",
            )));
        };
        stream.set_patience(Patience::None);
        Ok(Upgraded {
            stream,
            early,
            headers: response.headers().clone(),
            activity: self.link.activity.clone(),
        })
    }

    /// Ends every request in flight, and every later one, at once.
    pub(crate) fn close(&self) {
        self.agent.clone().shutdown();
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// The body of a successful answer, or the error that reading it met.
fn read(
    response: ureq::http::Response<Body>,
    max: usize,
) -> Result<Result<Response, ureq::Error>, HttpError> {
    if !response.status().is_success() {
        return Err(refused(response));
    }
    let limit = u64::try_from(max).unwrap_or(u64::MAX);
    let body = response.into_body().with_config().limit(limit).read_to_vec();
    Ok(body.map(|body| Response { body, redirected: None }))
}

/// A URL without credentials and query.
pub(super) fn place(uri: &Uri) -> String {
    let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
    let port =
        uri.port_u16().filter(|port| (scheme, *port) != ("http", 80) && (scheme, *port) != ("https", 443));
    format!("{scheme}://{host}{}{}", port.map_or(String::new(), |port| format!(":{port}")), uri.path())
}

/// ureq's connector: opens sockets through [`dial`].
struct Dialer(Arc<Link>);

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    fn dial(&self, details: &ConnectionDetails) -> Result<Stream, ureq::Error> {
        let other = |e: Error| ureq::Error::Other(Box::new(e));
        let secure = details.needs_tls();
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = details.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let limit = details.timeout.not_zero().map_or(self.0.timeout, |left| *left).min(self.0.timeout);
        let deadline = Instant::now() + limit;
        let connector = if secure { Some(self.0.tls.connector().map_err(other)?) } else { None };
        let proxy = self.0.routes.find(details.uri).map_err(other)?;
        let socket = match &proxy {
            Some(proxy) => dial::tcp(proxy.host(), proxy.port(), deadline, &self.0.known, &self.0.activity)
                .map_err(|e| other(proxy.unreachable(e)))?,
            None => dial::tcp(host, port, deadline, &self.0.known, &self.0.activity).map_err(other)?,
        };
        // From here on `close` can interrupt what this connection does.
        let handle: Weak<TcpStream> = Arc::downgrade(socket.tcp());
        (details.register_shutdown)(handle as Weak<dyn ShutdownHandle>)?;
        let stream = match &proxy {
            Some(proxy) => self.tunnel(proxy, socket, (host, port), deadline).map_err(other)?,
            None => Stream::Plain(socket),
        };
        match connector {
            Some(connector) => dial::tls(&connector, host, stream, deadline).map_err(other),
            None => Ok(stream),
        }
    }

    /// The way through a proxy, on a connection to it.
    fn tunnel(
        &self,
        proxy: &Proxy,
        socket: Socket,
        (host, port): (&str, u16),
        deadline: Instant,
    ) -> Result<Stream> {
        let mut stream = Stream::Plain(socket);
        if proxy.is_secure() {
            let connector = self.0.tls.connector()?;
            stream =
                dial::tls(&connector, proxy.host(), stream, deadline).map_err(|e| proxy.unreachable(e))?;
        }
        stream.set_patience(Patience::Until(Some(deadline)));
        proxy.open_tunnel(&mut stream, host, port, self.0.proxy_authorization.as_ref())?;
        Ok(stream)
    }
}

impl Connector for Dialer {
    type Out = HttpTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<HttpTransport>, ureq::Error> {
        let stream = self.dial(details)?;
        let buffers = HttpBuffers::new(details.config);
        Ok(Some(HttpTransport { stream: Some(stream), buffers, link: self.0.clone() }))
    }
}

/// The dialer resolves by itself, with a deadline.
#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

/// ureq's side of a [`Stream`].
struct HttpTransport {
    /// Absent only while it is dropped.
    stream: Option<Stream>,
    buffers: HttpBuffers,
    link: Arc<Link>,
}

impl HttpTransport {
    fn stream(&mut self, timeout: NextTimeout) -> std::io::Result<&mut Stream> {
        let after = timeout.not_zero().map(|after| *after);
        let stream = self.stream.as_mut().ok_or(ErrorKind::NotConnected)?;
        stream.set_patience(Patience::Until(after.and_then(|after| Instant::now().checked_add(after))));
        Ok(stream)
    }
}

impl Transport for HttpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream(timeout.for_write())?;
        // Borrowed apart: the stream reads from the buffers.
        if let Some(stream) = &mut self.stream {
            stream.write_all(&self.buffers.output()[..amount])?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.buffers.written();
        let server = lock(&self.link.server).clone();
        let server = server.filter(|_| timeout.per_read.is_some_and(|limit| *limit == WHILE_ALIVE));
        let stream = self.stream(timeout.for_read())?;
        if let Some(server) = server {
            stream.set_patience(Patience::Alive(server));
        }
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let count = stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// An idle connection is good for another request if nothing has come on it: neither bytes nor the end.
    fn is_open(&mut self) -> bool {
        let Some(stream) = &self.stream else { return false };
        let peeked = stream.socket().tcp().peek(&mut [0]);
        matches!(peeked, Err(e) if e.kind() == ErrorKind::WouldBlock)
    }

    fn is_tls(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_tls)
    }
}

impl Drop for HttpTransport {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.link.hand_over(stream, self.buffers.input());
        }
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").finish_non_exhaustive()
    }
}
