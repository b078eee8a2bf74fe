use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::header::{PROXY_AUTHORIZATION, USER_AGENT};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use ureq::{Agent, Body, RequestBuilder, ResponseExt};

use super::agent;
use super::connector::{Dialer, Handover, Link, NoResolver, WHILE_ALIVE, WHILE_MOVING, Zone};
use super::cookies::{self, OwnCookie};
use super::dial::{AnsweredAddresses, KnownAddresses};
use super::http_error::{ERROR_BODY, HttpError, failed, redacted, refused, unanswered};
use super::proxy::Routes;
use super::socket::{LastActivity, Patience, Stream, TimeLeft};
use super::tls::TlsSettings;
use crate::error::{Error, Result};
use crate::sync::{Mutex, lock};

/// How long an idle connection is kept for another request. Servers close theirs after 2 s (gunicorn), 5 s
/// (Node, uvicorn) or more: a POST on a connection that is being closed is lost, and must not be sent twice.
const IDLE: Duration = Duration::from_millis(1500);

/// Settings for every HTTP request of a client.
#[derive(Clone)]
pub(crate) struct HttpSettings {
    pub(crate) tls: TlsSettings,
    /// The settings for TLS to a proxy.
    pub(crate) proxy_tls: TlsSettings,
    /// The limit for each step of a request: the name lookup, the TCP connection, TLS, the wait for the
    /// answer, and any stall of an upload or download.
    pub(crate) timeout: Duration,
    pub(crate) headers: Headers,
    /// The user's own agent. Its configuration and its cookies apply to the requests.
    pub(crate) agent: Option<Agent>,
    pub(crate) routes: Routes,
    /// The addresses that have answered the client so far.
    pub(crate) answered: Arc<AnsweredAddresses>,
    /// The zone of the server's address, if that is a link-local IPv6 address.
    pub(crate) zone: Option<String>,
}

/// The user's headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers {
    /// All headers except `Cookie`.
    pub(crate) plain: Vec<(HeaderName, HeaderValue)>,
    /// The cookies of the user's `Cookie` headers.
    pub(crate) cookies: Vec<OwnCookie>,
}

impl Headers {
    /// Removes `Proxy-Authorization`, which is meant for a proxy and must not reach the server.
    fn take_proxy_authorization(&mut self) -> Option<HeaderValue> {
        let index = self.plain.iter().position(|(name, _)| *name == PROXY_AUTHORIZATION)?;
        let value = self.plain.remove(index).1;
        self.plain.retain(|(name, _)| *name != PROXY_AUTHORIZATION);
        Some(value)
    }

    /// Adds a `User-Agent` with the name and version of this crate, unless the user has set one.
    fn add_user_agent(&mut self) {
        if !self.plain.iter().any(|(name, _)| *name == USER_AGENT) {
            let value = HeaderValue::from_static(concat!("engineio/", env!("CARGO_PKG_VERSION")));
            self.plain.push((USER_AGENT, value));
        }
    }
}

/// The HTTP side of one connection: the requests of long polling and the opening handshake of the websocket.
///
/// Both go through one ureq agent, so that cookies, headers, redirects, TLS and timeouts are the same for
/// both. The agent belongs to this connection alone, because `close` shuts it down for good. Creating an
/// agent is cheap: sockets and TLS come from our own connector.
#[derive(Clone)]
pub(crate) struct HttpClient {
    agent: Agent,
    link: Arc<Link>,
    settings: Arc<HttpSettings>,
}

/// The result that ureq returns for a request.
type Answer = Result<ureq::http::Response<Body>, ureq::Error>;

/// A successful response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) body: Vec<u8>,
    /// Set after a redirect: the URL that answered, without its query, which may be secret.
    pub(crate) redirected: Option<String>,
}

/// A connection after `101 Switching Protocols`.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    /// Bytes that followed the head of the response.
    pub(crate) early: Vec<u8>,
    pub(crate) headers: HeaderMap,
    pub(crate) activity: Arc<LastActivity>,
}

impl HttpClient {
    /// Creates a client for the server at `url`.
    pub(crate) fn new(mut settings: HttpSettings, url: &str) -> Self {
        let config = match &settings.agent {
            Some(lender) => lender.config().clone(),
            None => Agent::config_builder().proxy(None).build(),
        };
        if settings.agent.is_some() {
            settings.tls = settings.tls.with_agent(config.tls_config());
        }
        if agent::wants_default_user_agent(&config) {
            settings.headers.add_user_agent();
        }
        settings.timeout = agent::shorter(settings.timeout, &config);
        let link = Arc::new(Link {
            activity: Arc::new(LastActivity::new()),
            zone: Zone::new(url, settings.zone.as_deref()),
            addresses: Arc::new(KnownAddresses::new(settings.answered.clone())),
            tls: settings.tls.clone(),
            proxy_tls: settings.proxy_tls.clone(),
            routes: settings.routes.clone(),
            proxy_authorization: settings.headers.take_proxy_authorization(),
            timeout: settings.timeout,
            longest_line: Arc::default(),
            handover: Mutex::default(),
            server: Mutex::default(),
        });
        let agent = Agent::with_parts(config, Dialer(link.clone()), NoResolver);
        if let Ok(uri) = url.parse::<Uri>() {
            if let Some(lender) = &settings.agent {
                agent::copy_cookies(lender, &agent, &uri);
            }
            // The user's own `Cookie` headers go in last, to win over cookies of the same name from the
            // user's agent.
            cookies::insert(&agent, &settings.headers.cookies, &uri);
        }
        HttpClient { agent, link, settings: Arc::new(settings) }
    }

    /// Creates a fresh client with the same settings and cookies, for one last request after this one was
    /// closed.
    pub(crate) fn reopened(&self, url: &str) -> Self {
        let link = Arc::new(Link {
            activity: Arc::new(LastActivity::new()),
            zone: self.link.zone.clone(),
            addresses: self.link.addresses.clone(),
            tls: self.link.tls.clone(),
            proxy_tls: self.link.proxy_tls.clone(),
            routes: self.link.routes.clone(),
            proxy_authorization: self.link.proxy_authorization.clone(),
            timeout: self.link.timeout,
            longest_line: Arc::default(),
            handover: Mutex::default(),
            server: Mutex::default(),
        });
        let agent = Agent::with_parts(self.agent.config().clone(), Dialer(link.clone()), NoResolver);
        if let Ok(uri) = url.parse::<Uri>() {
            agent::copy_cookies(&self.agent, &agent, &uri);
        }
        HttpClient { agent, link, settings: self.settings.clone() }
    }

    /// The proxy that requests to `url` go through, for the log.
    pub(crate) fn proxy(&self, url: &str) -> Option<impl fmt::Display> {
        url.parse::<Uri>().ok().and_then(|uri| self.link.routes.find(&uri).ok().flatten())
    }

    pub(crate) fn activity(&self) -> &Arc<LastActivity> {
        &self.link.activity
    }

    /// Sends a GET, which may take as long as each of its steps ends within the request timeout.
    pub(crate) fn get(&self, url: &str, max_body: usize) -> Result<Response, HttpError> {
        let request = self.prepare(self.agent.get(url), &[]);
        let response = self.run(url, || request.call()).map_err(|e| unanswered(e, url))?;
        let location = redacted(response.get_uri());
        let redirected = url.parse().is_ok_and(|asked| redacted(&asked) != location).then_some(location);
        let response = read(response, max_body)?.map_err(failed)?;
        Ok(Response { redirected, ..response })
    }

    /// Sends a GET that may take forever, as long as the server lives. Returns `None` if the server has been
    /// silent for too long.
    pub(crate) fn poll(
        &self,
        url: &str,
        server: &Arc<dyn TimeLeft>,
        max_body: usize,
    ) -> Result<Option<Response>, HttpError> {
        *lock(&self.link.server) = Some(server.clone());
        let silent = |e: &ureq::Error| matches!(e, ureq::Error::Io(e) if e.kind() == ErrorKind::TimedOut);
        let request = self.prepare(self.agent.get(url), &[]).config();
        // The agent's timeouts that do not bound the wait for the server's answer stay.
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

    /// Adds the client's settings and headers. The headers in `own` are for this request alone, and replace
    /// the user's headers of the same name.
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
        self.count_lines(&request);
        // The transport has its own limits for each step.
        let body = self.agent.config().timeouts().recv_body.unwrap_or(WHILE_MOVING);
        request
            .config()
            .timeout_recv_body(Some(body))
            .http_status_as_error(false)
            .save_redirect_history(true)
            .max_idle_age(IDLE)
            .build()
    }

    /// Makes room for the longest line of the request's head.
    fn count_lines<B>(&self, request: &RequestBuilder<B>) {
        /// The rest of the line: the method and the version, or the colon, with the line's end.
        const REST: usize = 32;
        let url = request.uri_ref().map_or(0, |uri| uri.path().len() + uri.query().map_or(0, str::len));
        let headers = request.headers_ref().into_iter().flatten();
        let header = headers.map(|(name, value)| name.as_str().len() + value.len()).max().unwrap_or_default();
        // The jar's cookies share a line.
        let jar = self.agent.cookie_jar_lock();
        let cookies: usize = jar.iter().map(|cookie| cookie.name().len() + cookie.value().len() + 3).sum();
        self.link.longest_line.add(url.max(header).max(cookies) + REST);
    }

    /// Runs a request to `url`, and passes the cookies that its responses set on to the user's agent.
    fn run(&self, url: &str, request: impl FnOnce() -> Answer) -> Answer {
        let request = || self.without_refusal_by_proxy(url, request()?);
        let Some(lender) = &self.settings.agent else { return request() };
        let before = url.parse().map_or_else(|_| Vec::new(), |uri| agent::matching(&self.agent, &uri));
        let response = request()?;
        agent::return_cookies(lender, &self.agent, &before, &response);
        Ok(response)
    }

    /// Turns the answer of a proxy that wants to be logged in to into an error. Only a proxy sends this
    /// status.
    fn without_refusal_by_proxy(&self, url: &str, response: ureq::http::Response<Body>) -> Answer {
        if response.status() == 407 {
            if let Some(proxy) = url.parse().ok().and_then(|uri| self.link.forwarder(&uri)) {
                let error = proxy.wants_login(response.headers(), self.link.proxy_authorization.as_ref());
                return Err(ureq::Error::Other(Box::new(error)));
            }
        }
        Ok(response)
    }

    /// Sends a POST, which may take as long as each of its steps ends within the request timeout.
    pub(crate) fn post(&self, url: &str, content_type: &str, body: &[u8]) -> Result<Response, HttpError> {
        let request = self.prepare(self.agent.post(url).header("Content-Type", content_type), &[]);
        // A client that follows a 301 or 302 sends a GET (RFC 9110, section 15.4): the body would be lost
        // silently.
        let request = request.config().max_redirects(0).build();
        read(self.run(url, || request.send(body)).map_err(failed)?, ERROR_BODY)?.map_err(failed)
    }

    /// Sends a GET that asks the server to switch to the websocket protocol (RFC 6455, section 4.1), and
    /// takes the connection over from ureq.
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
        let mut request = self.prepare(request, headers);
        if url.parse().is_ok_and(|uri| self.link.forwarder(&uri).is_some()) {
            // An idle connection to the proxy forwards requests, and is no tunnel.
            request = request.config().max_idle_age(Duration::ZERO).build();
        }
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

    /// Ends every request in flight at once, and makes every later one fail.
    pub(crate) fn close(&self) {
        self.agent.clone().shutdown();
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// Reads the body of a successful response. The outer error stands for any other status, the inner one for a
/// failure to read.
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
