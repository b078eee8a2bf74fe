use std::fmt;
use std::io::ErrorKind;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::header::{
    CONNECTION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use url::Url;

use super::agent;
use super::body::{self, BodyError};
use super::excerpt;
use super::http_error::{HttpError, failed, refused, unanswered};
use super::link::{Handover, Link};
use super::redirect::redacted;
use super::settings::HttpSettings;
use super::socket::{LastActivity, Patience, Stream, TimeLeft};
use super::user_agent::{Answer, Failure, Lanes, Place, Request, UserAgent};
use crate::error::{Error, Result};
use crate::sync::{Mutex, lock};

/// The limit for the answer to a POST, in bytes. Servers answer with two, and a login page in place of that
/// may be large.
const POST_BODY: usize = 1 << 20;

/// The `User-Agent` of requests, unless the user sets one.
const DEFAULT_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("engineio/", env!("CARGO_PKG_VERSION")));

/// The configuration of ureq when the user sets no agent. It is built once, because each build looks for a
/// proxy in the environment, although the proxy is chosen by our own code.
static CONFIG: LazyLock<Config> = LazyLock::new(|| Agent::config_builder().proxy(None).build());

/// The HTTP side of one connection: the requests of long polling and the opening handshake of the websocket.
///
/// Both go through one user agent, so that cookies, headers, redirects, TLS and timeouts are the same for
/// both. It belongs to this connection alone, because `close` shuts its ureq agents down for good. Creating
/// one is cheap: sockets and TLS come from our own connector.
#[derive(Clone)]
pub(crate) struct HttpClient(Arc<UserAgent>);

/// A successful response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) body: Vec<u8>,
    pub(crate) place: Place,
}

impl Response {
    /// A description of the body, if it is an HTML page. No packet starts like one.
    pub(crate) fn as_page(&self) -> Option<String> {
        if !excerpt::is_html(&self.body) {
            return None;
        }
        let place = redacted(&self.place.url);
        let quoted = excerpt::of_body(&self.body).map_or(String::new(), |quoted| format!(": {quoted:?}"));
        Some(format!("an HTML page, from {place}{quoted}"))
    }
}

/// A connection after `101 Switching Protocols`.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    /// Bytes that followed the head of the response.
    pub(crate) early: Vec<u8>,
    pub(crate) headers: HeaderMap,
    pub(crate) place: Place,
    pub(crate) activity: Arc<LastActivity>,
}

impl HttpClient {
    /// Creates a client for the server at `url`.
    pub(crate) fn new(mut settings: HttpSettings, url: &Url) -> Result<Self> {
        let config = match &settings.agent {
            Some(lender) => lender.config().clone(),
            None => CONFIG.clone(),
        };
        if settings.agent.is_some() {
            settings.tls = settings.tls.with_agent(config.tls_config());
        }
        let user_agent = agent::wants_default_user_agent(&config).then_some(DEFAULT_USER_AGENT);
        settings.timeout = agent::shorter(settings.timeout, &config);
        let home = url.clone();
        let link = Arc::new(Link::new(&mut settings, home.clone()));
        let agent = UserAgent {
            lanes: Lanes::new(config, settings.agent.is_some(), &link),
            jar: Arc::default(),
            lent: Mutex::default(),
            link,
            settings: Arc::new(settings),
            home,
            user_agent,
            warned: Mutex::default(),
        };
        // The user's own cookies go in last, to win over those of the user's agent.
        agent.lend(&agent.home);
        lock(&agent.jar).add_own(&agent.settings.headers.cookies, &agent.home);
        Ok(HttpClient(Arc::new(agent)))
    }

    /// Creates a fresh client with the same settings and cookies, for one last request after this one was
    /// closed.
    pub(crate) fn reopened(&self) -> Self {
        let link = Arc::new(self.0.link.reopened());
        HttpClient(Arc::new(UserAgent {
            lanes: Lanes::new(self.0.lanes.config().clone(), self.has_users_agent(), &link),
            jar: self.0.jar.clone(),
            lent: Mutex::new(lock(&self.0.lent).clone()),
            link,
            settings: self.0.settings.clone(),
            home: self.0.home.clone(),
            user_agent: self.0.user_agent.clone(),
            warned: Mutex::default(),
        }))
    }

    #[cfg(any(test, fuzz))]
    pub(super) fn agent(&self) -> &UserAgent {
        &self.0
    }

    /// True if the user has set an agent. Requests then run its middleware, and lock its cookie jar.
    pub(crate) fn has_users_agent(&self) -> bool {
        self.0.settings.agent.is_some()
    }

    /// The proxy that requests to `url` go through, for the log.
    pub(crate) fn proxy(&self, url: &Url) -> Option<impl fmt::Display> {
        url.as_str().parse::<Uri>().ok().and_then(|uri| self.0.link.routes.find(&uri).ok().flatten())
    }

    pub(crate) fn activity(&self) -> &Arc<LastActivity> {
        &self.0.link.activity
    }

    /// Sends a GET. It has no time limit as a whole, but each of its steps has to end within the request
    /// timeout.
    pub(crate) fn get(&self, url: &Url, max_body: usize) -> Result<Response, HttpError> {
        self.get_openly(url, max_body).map_err(|e| e.without_sid(url))
    }

    fn get_openly(&self, url: &Url, max_body: usize) -> Result<Response, HttpError> {
        let answer = self.0.send(url, &Request::default());
        let answer = answer.map_err(|failure| self.unanswered(failure, url))?;
        read(answer, max_body)?.map_err(|failure| failure.told(failed))
    }

    /// Builds the error for a request of the handshake. If the server is known, the URL and the options are
    /// right, and the error does not ask about them.
    fn unanswered(&self, failure: Failure, url: &Url) -> HttpError {
        let HttpSettings { known, tls, .. } = &*self.0.settings;
        failure.told(|error, start| match known {
            true => failed(error, start),
            false => unanswered(error, start, url, tls.identity.is_some()),
        })
    }

    /// Sends a GET that may take forever, as long as the server lives. Returns `None` if the server has been
    /// silent for too long.
    pub(crate) fn poll(
        &self,
        url: &Url,
        server: &Arc<dyn TimeLeft>,
        max_body: usize,
    ) -> Result<Option<Response>, HttpError> {
        *lock(&self.0.link.server) = Some(server.clone());
        let silent = |failure: &Failure| match failure {
            Failure::Exchange { error: ureq::Error::Io(e), .. } => e.kind() == ErrorKind::TimedOut,
            _ => false,
        };
        let answer = match self.0.send(url, &Request { while_alive: true, ..Request::default() }) {
            Ok(answer) => read(answer, max_body).map_err(|e| e.without_sid(url))?,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(response) => Ok(Some(response)),
            Err(failure) if silent(&failure) => Ok(None),
            Err(failure) => Err(failure.told(failed).without_sid(url)),
        }
    }

    /// Sends a POST, which may take as long as each of its steps ends within the request timeout, but only
    /// until `deadline`.
    pub(crate) fn post(
        &self,
        url: &Url,
        content_type: &'static str,
        body: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Response, HttpError> {
        let request = Request { post: Some((content_type, body)), deadline, ..Request::default() };
        let answer = self.0.send(url, &request).map_err(|failure| failure.told(failed));
        let read = answer.and_then(|answer| read(answer, POST_BODY)?.map_err(|failure| failure.told(failed)));
        read.map_err(|e| e.without_sid(url))
    }

    /// Sends a GET that asks the server to switch to the websocket protocol (RFC 6455, section 4.1), and
    /// takes the connection over from ureq. The offer of `extensions` goes along wherever a redirect leads,
    /// and the user's `headers` do not. With `fresh`, the request gets a connection of its own.
    pub(crate) fn upgrade(
        &self,
        url: &Url,
        fresh: bool,
        key: &str,
        extensions: Option<HeaderValue>,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Upgraded, HttpError> {
        let key =
            HeaderValue::try_from(key).map_err(|e| HttpError::reached(Error::connection(e.to_string())))?;
        let mut fixed = vec![
            (CONNECTION, HeaderValue::from_static("Upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            (SEC_WEBSOCKET_KEY, key),
        ];
        fixed.extend(extensions.map(|offer| (SEC_WEBSOCKET_EXTENSIONS, offer)));
        self.0.link.set_handover(Handover::Wanted);
        // ureq drops the connection of a 101 before it returns the response.
        let answer = self.0.send(url, &Request { fixed: &fixed, own: headers, fresh, ..Request::default() });
        let handover = self.0.link.set_handover(Handover::Off);
        let answer = answer.map_err(|failure| self.unanswered(failure, url).without_sid(url))?;
        if answer.response.status() != 101 {
            return Err(refused(answer).without_sid(url));
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
            headers: answer.response.into_parts().0.headers,
            place: answer.place,
            activity: self.0.link.activity.clone(),
        })
    }

    /// Ends every request in flight at once, and makes every later one fail.
    pub(crate) fn close(&self) {
        self.0.lanes.shutdown();
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// Reads the body of a successful response. The outer error stands for any other status, the inner one for a
/// failure to read.
fn read(answer: Answer, max: usize) -> Result<Result<Response, Failure>, HttpError> {
    if !answer.response.status().is_success() {
        return Err(refused(answer));
    }
    let Answer { response, place } = answer;
    Ok(match body::read(response, max) {
        Ok(body) => Ok(Response { body, place }),
        Err(BodyError::Transport(error)) => {
            Err(Failure::Exchange { error, start: Vec::new(), place: Box::new(place) })
        }
        Err(BodyError::Encoding(error)) => Err(Failure::Body { error, place: Box::new(place) }),
    })
}
