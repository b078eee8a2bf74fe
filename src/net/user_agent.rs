//! The user agent: one loop for every request, with redirects and cookies of our own over ureq, whose own
//! stay unused.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE, USER_AGENT};
use ureq::http::{HeaderName, HeaderValue, Response, StatusCode, Uri};
use ureq::{Agent, Body, RequestBuilder};
use url::{Position, Url};

use super::agent;
use super::body;
use super::buffers;
use super::connector::{Dialer, NoResolver};
use super::cookies::Jar;
use super::exchange::Exchange;
use super::link::{IDLE, Link, WHILE_ALIVE, WHILE_MOVING};
#[allow(unused_imports, reason = "ureq's own method is used if it exists")]
use super::no_jar::WithoutJar;
use super::redirect;
use super::settings::HttpSettings;
use crate::error::{Error, Result};
use crate::logger::log;
use crate::sync::{Mutex, Ordering, after, lock};

/// The most bytes that are read of a redirect's body, to use its connection again.
const REDIRECT_BODY: u64 = 16 * 1024;

/// The most hosts for which the user's agent lends cookies.
const MOST_LENT: usize = 32;

/// A request, which may be sent to several places in turn.
#[derive(Default)]
pub(super) struct Request<'a> {
    /// The content type and the body of a POST. Without them the request is a GET.
    pub(super) post: Option<(&'static str, &'a [u8])>,
    /// Headers that the request needs wherever it is sent.
    pub(super) fixed: &'a [(HeaderName, HeaderValue)],
    /// The user's headers for this request alone. They replace the user's other headers of the same name.
    pub(super) own: &'a [(HeaderName, HeaderValue)],
    /// Set if the response may take as long as the server lives. Otherwise the request timeout bounds each of
    /// its steps.
    pub(super) while_alive: bool,
    /// Set if the request needs a connection that no other request has used.
    pub(super) fresh: bool,
    /// The time at which all of the request must be over.
    pub(super) deadline: Option<Instant>,
}

/// A response, and the place that it came from.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) place: Place,
}

/// The place that a response or a failure came from.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) url: Url,
    /// True if a redirect led there.
    pub(crate) redirected: bool,
}

/// A request without a response that can be used.
pub(super) enum Failure {
    Exchange {
        error: ureq::Error,
        /// The first bytes of the response.
        start: Vec<u8>,
        place: Box<Place>,
    },
    /// The body could not be decoded.
    Body { error: Error, place: Box<Place> },
    /// A redirect leads nowhere.
    Redirect(Error),
}

/// The ureq agents of a connection: one for the GETs, which come one after the other, and one for the POSTs.
///
/// So a poll finds the connection of the last one again, and a POST does not take it. An agent for one
/// request at a time holds at most one idle connection to a host, which is the newest by that. (A ureq agent
/// for all of them would give out the oldest.)
pub(super) struct Lanes {
    gets: Lane,
    posts: Lane,
}

/// A ureq agent, and what its connector has seen of the request in flight.
struct Lane {
    agent: Agent,
    exchange: Arc<Exchange>,
}

impl Lanes {
    /// `lent` is true if `config` comes from the user's agent.
    pub(super) fn new(config: Config, lent: bool, link: &Arc<Link>) -> Self {
        let lane = |config: Config, output: usize| {
            // A middleware of the user's agent may add headers that `LongestLine` does not know.
            let output = if lent { output.max(config.output_buffer_size()) } else { output };
            let exchange = Arc::<Exchange>::default();
            let dialer = Dialer { link: link.clone(), exchange: exchange.clone(), output };
            Lane { agent: Agent::with_parts(config, dialer, NoResolver), exchange }
        };
        Lanes { gets: lane(config.clone(), buffers::GET_OUTPUT), posts: lane(config, buffers::POST_OUTPUT) }
    }

    fn of(&self, request: &Request<'_>) -> &Lane {
        if request.post.is_some() { &self.posts } else { &self.gets }
    }

    pub(super) fn config(&self) -> &Config {
        self.gets.agent.config()
    }

    /// Ends every request in flight at once, and makes every later one fail.
    pub(super) fn shutdown(&self) {
        self.gets.agent.clone().shutdown();
        self.posts.agent.clone().shutdown();
    }
}

/// The user agent of one connection.
pub(super) struct UserAgent {
    pub(super) lanes: Lanes,
    pub(super) jar: Arc<Mutex<Jar>>,
    /// The hosts for which the user's agent has lent its cookies.
    pub(super) lent: Mutex<Vec<String>>,
    pub(super) link: Arc<Link>,
    pub(super) settings: Arc<HttpSettings>,
    /// The URL that the user gave headers and cookies for.
    pub(super) home: Url,
    /// The `User-Agent` in place of one of the user's. `None` if the user's own agent has one.
    pub(super) user_agent: Option<HeaderValue>,
    /// The place that the last warning about headers left behind named.
    pub(super) warned: Mutex<String>,
}

impl UserAgent {
    /// Sends a request, and follows redirects.
    pub(super) fn send(&self, url: &Url, request: &Request<'_>) -> Result<Answer, Failure> {
        let mut place = Place { url: url.clone(), redirected: false };
        let mut visited = Vec::new();
        let deadline = self.deadline(request);
        loop {
            let response = match self.exchange(request, &place.url, deadline) {
                Ok(response) => response,
                Err(error) => {
                    let start = self.lanes.of(request).exchange.start();
                    return Err(Failure::Exchange { error, start, place: Box::new(place) });
                }
            };
            let Some(location) = location(&response) else { return Ok(Answer { response, place }) };
            let status = response.status().as_u16();
            let to = self.follow(request, status, &place.url, location).map_err(Failure::Redirect)?;
            visited.push(std::mem::replace(&mut place.url, to));
            place.redirected = true;
            self.check_count(&visited, &place.url, status).map_err(Failure::Redirect)?;
            // A failure costs nothing but the connection, which is not used again.
            let _ = response.into_body().with_config().limit(REDIRECT_BODY).read_to_vec();
        }
    }

    /// The deadline for all of a request: its own, or that of the user's agent if that is sooner. A poll has
    /// none.
    fn deadline(&self, request: &Request<'_>) -> Option<Instant> {
        let global = self.lanes.config().timeouts().global.filter(|_| !request.while_alive);
        global.map(after).into_iter().chain(request.deadline).min()
    }

    /// Sends a request to one place, without following a redirect.
    fn exchange(
        &self,
        request: &Request<'_>,
        url: &Url,
        deadline: Option<Instant>,
    ) -> Result<Response<Body>, ureq::Error> {
        let uri: Uri = url.as_str().parse().map_err(|e| ureq::Error::Http(ureq::http::Error::from(e)))?;
        self.lend(url);
        let lane = self.lanes.of(request);
        let mut response = self.call(lane, request, url, &uri, deadline);
        // A server may close an idle connection just as the next request is sent on it (RFC 9112, section
        // 9.3.1). A GET is sent again then. A POST may have arrived, so it is not.
        let is_closed = |e: &ureq::Error| matches!(e, ureq::Error::Io(e) if e.kind() != ErrorKind::TimedOut);
        if request.post.is_none() && response.as_ref().is_err_and(is_closed) && lane.exchange.was_stale() {
            response = self.call(lane, request, url, &uri, deadline);
        }
        let response = self.without_refusal_by_proxy(&uri, response?)?;
        self.receive_cookies(&response, url);
        Ok(response)
    }

    /// Turns the answer of a proxy that wants to be logged in to into an error. Only a proxy sends this
    /// status.
    fn without_refusal_by_proxy(
        &self,
        uri: &Uri,
        response: Response<Body>,
    ) -> Result<Response<Body>, ureq::Error> {
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            if let Some(proxy) = self.link.forwarder(uri) {
                let error = proxy.wants_login(response.headers(), self.link.proxy_authorization.as_ref());
                return Err(ureq::Error::Other(Box::new(error)));
            }
        }
        Ok(response)
    }

    fn call(
        &self,
        lane: &Lane,
        request: &Request<'_>,
        url: &Url,
        uri: &Uri,
        deadline: Option<Instant>,
    ) -> Result<Response<Body>, ureq::Error> {
        lane.exchange.reset();
        let response = match request.post {
            Some((content_type, body)) => {
                let builder = lane.agent.post(uri).header(CONTENT_TYPE, content_type);
                self.prepare(builder, request, (url, uri), deadline)?.send(body)
            }
            None => self.prepare(lane.agent.get(uri), request, (url, uri), deadline)?.call(),
        };
        // ureq's own jar would send what it has learned beside our own cookies.
        lane.agent.cookie_jar_lock().clear();
        response
    }

    /// Lends the cookies of the user's agent for the host, when it is first met.
    pub(super) fn lend(&self, url: &Url) {
        let (Some(lender), Some(host)) = (&self.settings.agent, url.host_str()) else { return };
        {
            let mut lent = lock(&self.lent);
            if lent.len() == MOST_LENT || lent.iter().any(|known| known == host) {
                return;
            }
            lent.push(host.to_owned());
        }
        // The user may hold the lock of that agent's jar: no lock of ours is held meanwhile.
        let cookies = agent::cookies_for(lender, url);
        let (mut jar, now) = (lock(&self.jar), SystemTime::now());
        cookies.iter().for_each(|(cookie, path)| jar.lend(cookie, path, url, now));
    }

    /// Stores the cookies of a response, and tells the user's agent of them.
    fn receive_cookies(&self, response: &Response<Body>, url: &Url) {
        let now = SystemTime::now();
        for header in response.headers().get_all(SET_COOKIE) {
            let changes = lock(&self.jar).receive(header.as_bytes(), url, now);
            if let Some(lender) = &self.settings.agent {
                changes.iter().for_each(|change| agent::give_back(lender, change, url));
            }
        }
    }

    /// Adds the headers and the settings.
    pub(super) fn prepare<B>(
        &self,
        mut builder: RequestBuilder<B>,
        request: &Request<'_>,
        (url, uri): (&Url, &Uri),
        deadline: Option<Instant>,
    ) -> Result<RequestBuilder<B>, ureq::Error> {
        for (name, value) in self.headers(request, url) {
            builder = builder.header(name, value);
        }
        let at_home = redirect::is_at_home(&self.home, url);
        if let Some(cookies) = lock(&self.jar).header(url, at_home, SystemTime::now()) {
            builder = builder.header(COOKIE, cookies);
        }
        self.count_lines(&builder);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(ureq::Error::Timeout(ureq::Timeout::Global));
        }
        // A server that closes idle connections at once would lose a POST on one of them.
        let may_be_lost = request.post.is_some() && self.link.closes_early.load(Ordering::Relaxed);
        let is_new = request.fresh || may_be_lost || self.link.needs_tunnel(uri);
        let idle = if is_new { Duration::ZERO } else { IDLE };
        // The transport has its own limits for each step.
        let body = self.lanes.config().timeouts().recv_body.unwrap_or(WHILE_MOVING);
        let config = builder.config().http_status_as_error(false).max_redirects(0).max_idle_age(idle);
        Ok(match request.while_alive {
            false => config.timeout_global(left).timeout_recv_body(Some(body)).build(),
            // The agent's timeouts that do not bound the wait for the server's answer stay.
            true => config
                .timeout_global(None)
                .timeout_per_call(None)
                .timeout_per_read(Some(WHILE_ALIVE))
                .timeout_recv_response(None)
                .timeout_recv_body(None)
                .build(),
        })
    }

    /// Makes room for the longest line of the request's head.
    fn count_lines<B>(&self, request: &RequestBuilder<B>) {
        /// The rest of the line: the method and the version, or the colon, with the line's end.
        const REST: usize = 32;
        let url = request.uri_ref().map_or(0, |uri| uri.path().len() + uri.query().map_or(0, str::len));
        let headers = request.headers_ref().into_iter().flatten();
        let header = headers.map(|(name, value)| name.as_str().len() + value.len()).max().unwrap_or_default();
        self.link.longest_line.add(url.max(header) + REST);
    }

    /// The headers for a request to that URL.
    fn headers<'a>(&'a self, request: &'a Request<'_>, url: &Url) -> Vec<(&'a HeaderName, &'a HeaderValue)> {
        let mut headers: Vec<_> = request.fixed.iter().map(|(name, value)| (name, value)).collect();
        if redirect::is_at_home(&self.home, url) {
            let replaced = |name: &HeaderName| request.own.iter().any(|(other, _)| other == name);
            let plain = self.settings.headers.plain.iter().filter(|(name, _)| !replaced(name));
            headers.extend(request.own.iter().chain(plain).map(|(name, value)| (name, value)));
        }
        if matches!(self.lanes.config().accept_encoding(), AutoHeaderValue::Default) {
            headers.push((&ACCEPT_ENCODING, &body::ACCEPTED));
        }
        if let (Some(value), false) = (&self.user_agent, headers.iter().any(|(name, _)| *name == USER_AGENT))
        {
            headers.push((&USER_AGENT, value));
        }
        headers
    }

    /// Decides where a redirect leads.
    ///
    /// # Errors
    ///
    /// The redirect must not be followed, or leads nowhere.
    pub(super) fn follow(
        &self,
        request: &Request<'_>,
        status: u16,
        from: &Url,
        location: &[u8],
    ) -> Result<Url> {
        let to = redirect::target(status, request.post.is_some(), from, location)?;
        let here = redirect::redacted(from);
        let to = self.on_socket(status, &here, to)?;
        if self.most_redirects() == 0 {
            let there = redirect::redacted(&to);
            let what = format!("{here} redirects to {there}, and ureq's agent follows no redirects");
            return Err(redirect::refused(status, what));
        }
        self.warn_of_headers(request, &here, &to);
        Ok(to)
    }

    /// Keeps a redirect on the Unix socket, if the requests go to one. The server may name itself by the
    /// `Host` header that the user gave.
    ///
    /// # Errors
    ///
    /// The redirect leads to another host, which the user has not asked for.
    fn on_socket(&self, status: u16, here: &str, mut to: Url) -> Result<Url> {
        let Some(path) = &self.link.dial.socket else { return Ok(to) };
        let hosts = self.settings.headers.plain.iter().filter(|(name, _)| *name == HOST);
        let authority = to[Position::BeforeHost..Position::AfterPort].to_owned();
        let named = hosts.filter_map(|(_, value)| value.to_str().ok()).any(|host| {
            to.scheme() == "http" && host.trim_end_matches(":80").eq_ignore_ascii_case(&authority)
        });
        if named {
            // Neither fails: the home has a host, and its scheme is the same.
            let _ = to.set_host(self.home.host_str());
            let _ = to.set_port(self.home.port());
        }
        if to.origin() == self.home.origin() {
            return Ok(to);
        }
        let there = redirect::redacted(&to);
        let path = path.display();
        let what = format!("{here}, on the Unix socket {path}, redirects to {there}: that is not followed");
        Err(redirect::refused(status, what))
    }

    /// The most redirects that are followed. A ureq agent of the user's may allow fewer of them.
    fn most_redirects(&self) -> u32 {
        let of_agent = self.settings.agent.as_ref().map(|agent| agent.config().max_redirects());
        of_agent.map_or(redirect::MOST, |most| most.min(redirect::MOST))
    }

    fn check_count(&self, visited: &[Url], to: &Url, status: u16) -> Result<()> {
        let most = self.most_redirects();
        if visited.len() <= most as usize {
            return Ok(());
        }
        let shown = redirect::redacted(to);
        let what = match visited.contains(to) {
            true => format!("the server redirects in a loop, to {shown} again and again"),
            false => format!("the server redirects more than {most} times, the last time to {shown}"),
        };
        Err(redirect::refused(status, what))
    }

    /// Tells which headers do not follow a redirect to another origin: once for each place.
    fn warn_of_headers(&self, request: &Request<'_>, here: &str, to: &Url) {
        if redirect::is_at_home(&self.home, to) {
            return;
        }
        let headers = &self.settings.headers;
        let own = request.own.iter().chain(&headers.plain).map(|(name, _)| name.as_str());
        let mut names: Vec<&str> = own.filter(|name| *name != HOST.as_str()).collect();
        if !headers.cookies.is_empty() {
            names.push("cookie");
        }
        names.sort_unstable();
        names.dedup();
        let origin = to.origin().ascii_serialization();
        if !names.is_empty() && std::mem::replace(&mut *lock(&self.warned), origin.clone()) != origin {
            let names = names.join(", ");
            log!(self.settings.logger, Warn, "{here} redirects to {origin}; headers left behind: {names}");
        }
    }
}

/// The value of `Location`, if the response is a redirect.
fn location(response: &Response<Body>) -> Option<&[u8]> {
    let location = response.headers().get_all(LOCATION).iter().next_back()?;
    redirect::is_redirect(response.status().as_u16()).then_some(location.as_bytes())
}
