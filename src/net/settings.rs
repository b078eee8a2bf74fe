use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::http::header::PROXY_AUTHORIZATION;
use ureq::http::{HeaderName, HeaderValue};

use super::cookies::OwnCookie;
use super::dial::{AnsweredAddresses, DialSettings};
use super::proxy::Routes;
use super::tls::TlsSettings;
use crate::logger::Logger;

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
    pub(crate) dial: DialSettings,
    /// The zone of the server's address, if that is a link-local IPv6 address.
    pub(crate) zone: Option<String>,
    pub(crate) logger: Logger,
    /// True if the client has connected to this server before, so that its URL is right.
    pub(crate) known: bool,
}

/// The user's headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers {
    /// All headers except `Cookie`.
    pub(crate) plain: Vec<(HeaderName, HeaderValue)>,
    /// The content of the user's `Cookie` headers.
    pub(crate) cookies: Vec<OwnCookie>,
}

impl Headers {
    /// Removes `Proxy-Authorization`, which is meant for a proxy and must not reach the server.
    pub(super) fn take_proxy_authorization(&mut self) -> Option<HeaderValue> {
        let index = self.plain.iter().position(|(name, _)| *name == PROXY_AUTHORIZATION)?;
        let value = self.plain.remove(index).1;
        self.plain.retain(|(name, _)| *name != PROXY_AUTHORIZATION);
        Some(value)
    }
}
