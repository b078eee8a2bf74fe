//! Our connector for ureq: ureq's transport seam, with our own sockets, TLS and proxies beneath.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Instant;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, ShutdownHandle};

use super::buffers::HttpBuffers;
use super::certificate;
use super::dial::{self, Limits, Lookup, Waiter};
use super::exchange::Exchange;
use super::http_transport::HttpTransport;
use super::link::{Link, host};
use super::proxy::{Forward, Proxy};
use super::socket::{Patience, Socket, Stream};
use super::tcp::Tcp;
use super::tls::TlsSettings;
use super::tls_error;
use crate::error::{Error, Result};

/// The connector that opens every connection through [`dial`].
pub(super) struct Dialer {
    pub(super) link: Arc<Link>,
    pub(super) exchange: Arc<Exchange>,
    /// The size of the output buffers, in bytes.
    pub(super) output: usize,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    fn dial(&self, details: &ConnectionDetails) -> Result<(Stream, Option<Forward>)> {
        let limits = self.limits(details);
        if let Some(path) = &self.link.dial.socket {
            return self.unix(path, limits, details).map(|socket| (Stream::Plain(socket), None));
        }
        let tls = details.needs_tls().then(|| self.link.tls_for(details.uri));
        let connector = tls.as_ref().map(TlsSettings::connector).transpose()?;
        let (stream, forward) = self.open(limits, details)?;
        let (Some(connector), Some(tls), None) = (connector, tls, &forward) else {
            return Ok((stream, forward));
        };
        let host = host(details.uri);
        let stream = dial::tls(&connector, host, stream, limits)
            .map_err(|e| with_names(e, &tls, host, limits, || Ok(self.open(limits, details)?.0)))?;
        Ok((stream, None))
    }

    /// Opens a connection to the server without TLS, or one to a proxy that forwards the request.
    fn open(&self, limits: Limits<'_>, details: &ConnectionDetails) -> Result<(Stream, Option<Forward>)> {
        let host = host(details.uri);
        let port = details.uri.port_u16().unwrap_or(if details.needs_tls() { 443 } else { 80 });
        let Some(proxy) = self.link.routes.find(details.uri)? else {
            let zoned = self.link.zone.as_ref().and_then(|zone| zone.zoned(host));
            let socket = self.tcp(zoned.unwrap_or(host), port, limits, details)?;
            return Ok((Stream::Plain(socket), None));
        };
        let mut stream = self.connect_to_proxy(&proxy, limits, details)?;
        if let Some(forward) = self.link.forward(&proxy, details.uri) {
            return Ok((stream, Some(forward)));
        }
        stream.set_patience(Patience::While(Arc::new(limits.next())));
        proxy.open_tunnel(&mut stream, host, port, self.link.proxy_authorization.as_ref())?;
        Ok((stream, None))
    }

    fn limits(&self, details: &ConnectionDetails) -> Limits<'_> {
        let all = details.timeout.not_zero().and_then(|all| Instant::now().checked_add(*all));
        Limits { step: self.link.timeout, end: all, activity: &self.link.activity }
    }

    /// Opens a TCP connection that `HttpClient::close` can interrupt at any time, also while it is made.
    fn tcp(&self, host: &str, port: u16, limits: Limits<'_>, details: &ConnectionDetails) -> Result<Socket> {
        let register = |waiter| register(details, waiter);
        let tcp = dial::tcp(host, port, limits, &self.link.addresses, &self.link.dial, &register)?;
        Socket::new(tcp, self.link.activity.clone())
            .map_err(|e| Error::connection_from(format!("cannot use the socket to {host} port {port}"), e))
    }

    /// Connects to the server's Unix socket. Neither a proxy nor TLS is on the way.
    fn unix(&self, path: &Path, limits: Limits<'_>, details: &ConnectionDetails) -> Result<Socket> {
        if details.needs_tls() {
            return Err(Error::connection("TLS is not supported on Unix sockets"));
        }
        let register = |waiter| register(details, waiter);
        let stream = dial::unix(path, &limits.next(), &register)?;
        Ok(Socket::unix(stream, self.link.activity.clone()))
    }

    fn connect_to_proxy(
        &self,
        proxy: &Proxy,
        limits: Limits<'_>,
        details: &ConnectionDetails,
    ) -> Result<Stream> {
        let socket = self.tcp(proxy.host(), proxy.port(), limits, details);
        let stream = Stream::Plain(socket.map_err(|e| proxy.unreachable(e))?);
        if !proxy.is_secure() {
            return Ok(stream);
        }
        let (tls, host) = (&self.link.proxy_tls, proxy.host());
        let open = || Ok(Stream::Plain(self.tcp(host, proxy.port(), limits, details)?));
        dial::tls(&tls.connector()?, host, stream, limits)
            .map_err(|e| proxy.unreachable(with_names(e, tls, host, limits, open)))
    }
}

/// Makes a wait known to ureq, whose agent interrupts it at its shutdown.
fn register(details: &ConnectionDetails, waiter: Waiter) -> Result<()> {
    let handle = match waiter {
        Waiter::Lookup(lookup) => lookup as Weak<dyn ShutdownHandle>,
        Waiter::Connect(tcp) => tcp as Weak<dyn ShutdownHandle>,
    };
    (details.register_shutdown)(handle).map_err(|e| dial::closed(e.into_io()))
}

/// Adds the names of the server's certificate to the error that it is for another host. They are read from
/// another connection, because a failed handshake does not give the certificate. Nothing is sent on it.
fn with_names(
    mut error: Error,
    tls: &TlsSettings,
    host: &str,
    limits: Limits<'_>,
    open: impl FnOnce() -> Result<Stream>,
) -> Error {
    if !tls_error::is_for_another_host(&error) {
        return error;
    }
    let read = || {
        let connector = tls.for_any_host().connector()?;
        let stream = dial::tls(&connector, host, open()?, limits)?;
        Ok::<_, Error>(stream.certificate().and_then(|certificate| certificate::hosts(&certificate)))
    };
    // Without the names, the error says what is known.
    if let (Ok(Some(names)), Error::Connection { message, .. }) = (read(), &mut error) {
        message.push_str(&format!("; it is for {names}"));
    }
    error
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
        let buffers = HttpBuffers::new(details.config, self.output, link.longest_line.clone());
        Ok(Some(HttpTransport::new(stream, forward, buffers, link, exchange)))
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
