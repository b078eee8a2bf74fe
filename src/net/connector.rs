//! Our connector for ureq: ureq's transport seam, with our own sockets, TLS and proxies beneath.

use std::fmt;
use std::mem::replace;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use native_tls::TlsConnector;
use ureq::config::Config;
use ureq::http::{HeaderValue, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, ShutdownHandle};
use url::Url;

use super::buffers::LongestLine;
use super::dial::{self, KnownAddresses, Limits, Lookup, Waiter};
use super::exchange::Exchange;
use super::http_transport::HttpTransport;
use super::proxy::{Forward, Proxy, Routes};
use super::redirect;
use super::socket::{LastActivity, Patience, Socket, Stream, TimeLeft};
use super::tls::TlsSettings;
use crate::error::{Error, Result};
use crate::sync::{AtomicBool, Mutex, lock};

/// The state that the connector, its transports and the client share.
pub(super) struct Link {
    pub(super) activity: Arc<LastActivity>,
    pub(super) addresses: Arc<KnownAddresses>,
    pub(super) zone: Option<Zone>,
    /// The URL whose host may see the user's client certificate.
    pub(super) home: Url,
    pub(super) tls: TlsSettings,
    /// The settings for TLS to a proxy. The server's settings do not hold for it.
    pub(super) proxy_tls: TlsSettings,
    pub(super) routes: Routes,
    /// The user's own `Proxy-Authorization`.
    pub(super) proxy_authorization: Option<HeaderValue>,
    /// The limit for each step of a request, and for a stall of it.
    pub(super) timeout: Duration,
    pub(super) longest_line: Arc<LongestLine>,
    pub(super) handover: Mutex<Handover>,
    /// Set when the server has closed an idle connection early.
    pub(super) closes_early: AtomicBool,
    /// Tells the reads and writes of polls how long they may wait. Set by each poll.
    pub(super) server: Mutex<Option<Arc<dyn TimeLeft>>>,
}

/// The zone of the server's address. It holds for no other host, such as that of a redirect.
#[derive(Clone)]
pub(super) struct Zone {
    host: String,
    /// The address with its zone, as the system's resolver reads it: `fe80::1%eth0`.
    zoned: String,
}

impl Zone {
    pub(super) fn new(url: &str, zone: Option<&str>) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let host = host(&uri).to_owned();
        let zoned = format!("{host}%{}", zone?);
        Some(Zone { host, zoned })
    }
}

/// The host of a URL, without the brackets of an IPv6 address.
fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// Marks the reads and writes of a poll, which wait as long as the server lives.
pub(super) const WHILE_ALIVE: Duration = Duration::new(u32::MAX as u64, 1);

/// Marks the reads of a body: the transport does not know by itself where the head of a response ends. No
/// body takes this long.
pub(super) const WHILE_MOVING: Duration = Duration::from_secs(u32::MAX as u64);

/// The place where the stream of a 101 response leaves ureq: ureq drops the transport, which puts its stream
/// here.
#[derive(Debug, Default)]
pub(super) enum Handover {
    /// A dropped transport closes its stream.
    #[default]
    Off,
    Wanted,
    Done {
        stream: Stream,
        /// Bytes that followed the head of the response.
        early: Vec<u8>,
    },
}

impl Link {
    /// The TLS for a server. A redirect to another host does not show it the user's certificate.
    fn tls_for(&self, uri: &Uri) -> Result<TlsConnector> {
        let at_home = Url::parse(&uri.to_string()).is_ok_and(|url| redirect::is_at_home(&self.home, &url));
        if at_home { self.tls.connector() } else { self.tls.without_identity().connector() }
    }

    /// Sets the handover and returns the one before.
    pub(super) fn set_handover(&self, handover: Handover) -> Handover {
        replace(&mut lock(&self.handover), handover)
    }

    /// True while a websocket is opened. It needs a connection of its own, or a tunnel.
    fn is_upgrading(&self) -> bool {
        !matches!(*lock(&self.handover), Handover::Off)
    }

    /// True if a request to `target` needs a tunnel through a proxy that forwards other requests: an idle
    /// connection to that proxy is none.
    pub(super) fn needs_tunnel(&self, target: &Uri) -> bool {
        self.is_upgrading() && self.forwarder(target).is_some()
    }

    /// The way of a request to `target` through this proxy, if the proxy forwards it. A websocket needs a
    /// tunnel.
    fn forward(&self, proxy: &Proxy, target: &Uri) -> Option<Forward> {
        let forward = proxy.forward(target, self.proxy_authorization.as_ref());
        forward.filter(|_| !self.is_upgrading())
    }

    /// The proxy that forwards plain requests to `target`, if there is one.
    pub(super) fn forwarder(&self, target: &Uri) -> Option<Proxy> {
        self.routes.find(target).ok().flatten().filter(|proxy| proxy.forward(target, None).is_some())
    }

    pub(super) fn hand_over(&self, stream: Stream, early: &[u8]) {
        let mut handover = lock(&self.handover);
        if !matches!(*handover, Handover::Off) {
            *handover = Handover::Done { stream, early: early.to_vec() };
        }
    }
}

/// The connector that opens every connection through [`dial`].
pub(super) struct Dialer {
    pub(super) link: Arc<Link>,
    pub(super) exchange: Arc<Exchange>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    fn dial(&self, details: &ConnectionDetails) -> Result<(Stream, Option<Forward>)> {
        let secure = details.needs_tls();
        let host = host(details.uri);
        let port = details.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let limits = self.limits(details);
        let connector = if secure { Some(self.link.tls_for(details.uri)?) } else { None };
        let stream = match self.link.routes.find(details.uri)? {
            Some(proxy) => {
                let mut stream = self.connect_to_proxy(&proxy, limits, details)?;
                if let Some(forward) = self.link.forward(&proxy, details.uri) {
                    return Ok((stream, Some(forward)));
                }
                stream.set_patience(Patience::Until(Some(limits.next())));
                proxy.open_tunnel(&mut stream, host, port, self.link.proxy_authorization.as_ref())?;
                stream
            }
            None => {
                let zone = self.link.zone.as_ref().filter(|zone| zone.host == host);
                let host = zone.map_or(host, |zone| &zone.zoned);
                Stream::Plain(self.tcp(host, port, limits, details)?)
            }
        };
        match connector {
            Some(connector) => Ok((dial::tls(&connector, host, stream, limits.next())?, None)),
            None => Ok((stream, None)),
        }
    }

    fn limits(&self, details: &ConnectionDetails) -> Limits {
        let all = details.timeout.not_zero().and_then(|all| Instant::now().checked_add(*all));
        Limits { step: self.link.timeout, end: all }
    }

    /// Opens a TCP connection that `HttpClient::close` can interrupt at any time, also while it is made.
    fn tcp(&self, host: &str, port: u16, limits: Limits, details: &ConnectionDetails) -> Result<Socket> {
        let register = |waiter| {
            let handle = match waiter {
                Waiter::Lookup(lookup) => lookup as Weak<dyn ShutdownHandle>,
                Waiter::Connect(tcp) => tcp as Weak<dyn ShutdownHandle>,
            };
            (details.register_shutdown)(handle).map_err(|e| dial::closed(e.into_io()))
        };
        let tcp = dial::tcp(host, port, limits, &self.link.addresses, &register)?;
        Socket::new(tcp, self.link.activity.clone())
            .map_err(|e| Error::connection_from(format!("cannot use the socket to {host} port {port}"), e))
    }

    fn connect_to_proxy(&self, proxy: &Proxy, limits: Limits, details: &ConnectionDetails) -> Result<Stream> {
        let socket = self.tcp(proxy.host(), proxy.port(), limits, details);
        let stream = Stream::Plain(socket.map_err(|e| proxy.unreachable(e))?);
        if !proxy.is_secure() {
            return Ok(stream);
        }
        let connector = self.link.proxy_tls.connector()?;
        dial::tls(&connector, proxy.host(), stream, limits.next()).map_err(|e| proxy.unreachable(e))
    }
}

impl ShutdownHandle for Lookup {
    fn shutdown(&self) {
        self.interrupt();
    }
}

impl Connector for Dialer {
    type Out = HttpTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<HttpTransport>, ureq::Error> {
        let (stream, forward) = self.dial(details).map_err(|e| ureq::Error::Other(Box::new(e)))?;
        let (link, exchange) = (self.link.clone(), self.exchange.clone());
        Ok(Some(HttpTransport::new(stream, forward, details.config, link, exchange)))
    }
}

/// The resolver that resolves nothing: the dialer looks names up by itself, with a deadline.
#[derive(Debug)]
pub(super) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}
