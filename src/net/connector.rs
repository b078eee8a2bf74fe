//! Our connector for ureq: ureq's transport seam, with our own sockets, TLS and proxies beneath.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Instant;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, ShutdownHandle};

use super::dial::{self, Limits, Lookup, Waiter};
use super::exchange::Exchange;
use super::http_transport::HttpTransport;
use super::link::{Link, host};
use super::proxy::{Forward, Proxy};
use super::socket::{Patience, Socket, Stream};
use super::tcp::Tcp;
use crate::error::{Error, Result};

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
                let zoned = self.link.zone.as_ref().and_then(|zone| zone.zoned(host));
                let host = zoned.unwrap_or(host);
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

impl ShutdownHandle for Tcp {
    fn shutdown(&self) {
        self.close();
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
