//! Proxies: the choice of the proxy for a connection, and the way through it.
//!
//! An HTTP proxy forwards plain requests, which have the target in absolute form. Many proxies open no
//! tunnel to any other port than 443, so this is the only way to a plain server. A websocket, TLS, and any
//! connection through a SOCKS proxy need a tunnel.

mod connect;
mod environment;
mod forward;
mod socks5;

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

use ureq::http::header::PROXY_AUTHENTICATE;
use ureq::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use ureq::{Agent, ProxyProtocol};

use super::authorization::basic;
use crate::error::{Error, Result};
use environment::Environment;
pub(super) use forward::Forward;

/// The name of the builder's option.
const OPTION: &str = "proxy";

/// The user's setting for proxies.
#[derive(Clone, Default)]
pub(crate) enum ProxySettings {
    /// The user's ureq agent decides, or the environment if there is no agent.
    #[default]
    Default,
    Off,
    Url(String),
}

impl ProxySettings {
    /// Checks the URL.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] says what is wrong with it.
    pub(crate) fn check(&self) -> Result<()> {
        if let ProxySettings::Url(url) = self { Proxy::parse(url, OPTION).map(drop) } else { Ok(()) }
    }
}

/// Hides the password, and all of a malformed URL, where the password may be anywhere.
impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxySettings::Default => f.write_str("Default"),
            ProxySettings::Off => f.write_str("Off"),
            ProxySettings::Url(url) => match Proxy::parse(url, OPTION) {
                Ok(proxy) => proxy.fmt(f),
                Err(_) => f.write_str("Invalid"),
            },
        }
    }
}

/// The proxies for the connections of one client.
#[derive(Debug, Clone)]
pub(crate) enum Routes {
    Direct,
    Through(Proxy),
    Environment(Environment),
}

impl Routes {
    /// Finds out what decides about proxies, and reads the environment if the environment does.
    pub(crate) fn new(settings: &ProxySettings, agent: Option<&Agent>) -> Result<Self> {
        let of_agent = agent.map(|agent| agent.config().proxy());
        Ok(match (settings, of_agent) {
            (ProxySettings::Off, _) | (ProxySettings::Default, Some(None)) => Routes::Direct,
            (ProxySettings::Url(url), _) => Routes::Through(Proxy::parse(url, OPTION)?),
            (ProxySettings::Default, Some(Some(proxy))) if !proxy.is_from_env() => {
                Routes::Through(Proxy::new(proxy.clone(), "http_agent")?)
            }
            (ProxySettings::Default, _) => Routes::Environment(Environment::read()),
        })
    }

    /// The proxy for connections to `target`, if they go through one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] names an environment variable whose value is unusable.
    pub(super) fn find(&self, target: &Uri) -> Result<Option<Proxy>> {
        match self {
            Routes::Direct => Ok(None),
            Routes::Through(proxy) => Ok((!proxy.inner.is_no_proxy(target)).then(|| proxy.clone())),
            Routes::Environment(environment) => environment.find(target),
        }
    }
}

/// A proxy whose URL has been checked.
#[derive(Clone)]
pub(crate) struct Proxy {
    inner: ureq::Proxy,
    /// The option or environment variable that the URL comes from.
    source: &'static str,
}

impl Proxy {
    fn parse(url: &str, source: &'static str) -> Result<Self> {
        let parsed = ureq::Proxy::new(url.trim());
        // The error shows neither the URL nor the cause, because both may contain the password.
        let parsed = parsed.map_err(|_| {
            Error::option(source, "not the URL of a proxy, such as http://proxy:3128 or socks5://proxy:1080")
        });
        Proxy::new(parsed?, source)
    }

    fn new(inner: ureq::Proxy, source: &'static str) -> Result<Self> {
        let invalid = |what| Err(Error::option(source, what));
        if inner.host().is_empty() || inner.host() == "[]" {
            return invalid("the proxy's URL has no host");
        }
        // ureq silently replaces a port that is not a number with the default.
        let authority = inner.uri().authority().map_or("", |authority| authority.as_str());
        let host_and_port = authority.rsplit('@').next().unwrap_or_default();
        if host_and_port.len() > inner.host().len() && !matches!(inner.uri().port_u16(), Some(1..)) {
            return invalid("the proxy's URL has an invalid port");
        }
        let user = inner.username().unwrap_or_default();
        let password = inner.password().unwrap_or_default();
        match inner.protocol() {
            ProxyProtocol::Http | ProxyProtocol::Https => {}
            ProxyProtocol::Socks5 | ProxyProtocol::Socks5h => {
                // The limits are those of RFC 1929, section 2.
                if user.len() > 255 || password.len() > 255 {
                    return invalid("SOCKS5 allows user names and passwords of up to 255 bytes");
                }
            }
            _ => return invalid("SOCKS4 is not supported; use socks5:// or http://"),
        }
        Ok(Proxy { inner, source })
    }

    /// The proxy's host, without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.inner.host().trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.inner.port()
    }

    /// True if the connection to the proxy itself uses TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.inner.protocol() == ProxyProtocol::Https
    }

    /// The way of plain requests to `target` through this proxy, if it forwards them. An HTTP proxy gets
    /// `authorization`, if given, in place of the credentials in the proxy's URL.
    pub(super) fn forward(&self, target: &Uri, authorization: Option<&HeaderValue>) -> Option<Forward> {
        let is_http = matches!(self.inner.protocol(), ProxyProtocol::Http | ProxyProtocol::Https);
        let forwards = is_http && target.scheme_str() == Some("http");
        forwards.then(|| Forward::new(target, authorization.cloned().or_else(|| self.authorization())))
    }

    /// The error of a request that the proxy has not forwarded, as it wants other credentials or any.
    pub(super) fn wants_login(&self, answer: &HeaderMap, authorization: Option<&HeaderValue>) -> Error {
        let status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        let ways = answer.get_all(PROXY_AUTHENTICATE).iter();
        let ways: Vec<_> = ways.map(|way| String::from_utf8_lossy(way.as_bytes()).into_owned()).collect();
        let what = connect::wants_login(&ways, authorization.is_some() || self.authorization().is_some());
        self.refused(Some(status.as_u16()), &what)
    }

    fn refused(&self, status: Option<u16>, what: &str) -> Error {
        Error::refused(format!("{self} {what}"), status, None)
    }

    /// The value of `Proxy-Authorization` for the credentials in the URL.
    fn authorization(&self) -> Option<HeaderValue> {
        self.credentials().map(|(user, password)| basic(user, password))
    }

    fn credentials(&self) -> Option<(&str, &str)> {
        let (user, password) = (self.inner.username(), self.inner.password());
        (user.is_some() || password.is_some())
            .then(|| (user.unwrap_or_default(), password.unwrap_or_default()))
    }

    /// Opens a tunnel to `host` on a connection to the proxy. It reads the proxy's answer and not a byte
    /// beyond it. An HTTP proxy gets `authorization`, if given, in place of the credentials in the proxy's
    /// URL.
    pub(super) fn open_tunnel<S: Read + Write>(
        &self,
        stream: &mut S,
        host: &str,
        port: u16,
        authorization: Option<&HeaderValue>,
    ) -> Result<()> {
        let opened = match self.inner.protocol() {
            ProxyProtocol::Http | ProxyProtocol::Https => {
                let own = self.authorization();
                connect::open_tunnel(stream, host, port, authorization.or(own.as_ref()))
            }
            _ => socks5::open_tunnel(stream, host, port, self.credentials()),
        };
        opened.map_err(|refusal| match refusal {
            Refusal::Io(e) if e.kind() == ErrorKind::TimedOut => {
                Error::Timeout { what: "waiting for the proxy's answer" }
            }
            Refusal::Io(e) if e.kind() == ErrorKind::UnexpectedEof => {
                Error::connection(format!("{self} closed the connection"))
            }
            Refusal::Io(e) => Error::connection_from(format!("the connection to {self} broke"), e),
            Refusal::Answer { status, what } => self.refused(status, &what),
        })
    }

    /// Builds the error for a failed connection to the proxy.
    pub(super) fn unreachable(&self, error: Error) -> Error {
        if error.is_timeout() {
            return Error::Timeout { what: "connecting to the proxy" };
        }
        Error::connection_from(format!("cannot connect to {self}"), error)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {}:{} (set by `{}`)", self.inner.host(), self.port(), self.source)
    }
}

/// Hides the credentials.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The reason why no tunnel was opened.
#[derive(Debug)]
enum Refusal {
    Io(io::Error),
    Answer {
        /// The HTTP status, if the proxy sent one.
        status: Option<u16>,
        /// A phrase with the proxy as its subject, such as "closed the connection".
        what: String,
    },
}

impl Refusal {
    fn answer(what: impl Into<String>) -> Self {
        Refusal::Answer { status: None, what: what.into() }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Io(error)
    }
}

#[cfg(test)]
mod tests;
