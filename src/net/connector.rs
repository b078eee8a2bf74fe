//! Our connector for ureq: ureq's transport seam, with our own sockets, TLS and proxies beneath.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::mem::replace;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{HeaderValue, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, ShutdownHandle, Transport,
};

use super::buffers::HttpBuffers;
use super::dial::{self, KnownAddresses, Limits, Lookup, Waiter};
use super::proxy::{Proxy, Routes};
use super::socket::{LastActivity, Patience, Socket, Stream, TimeLeft};
use super::tls::TlsSettings;
use crate::error::{Error, Result};
use crate::sync::{Mutex, lock};

/// The state that the connector, its transports and the client share.
pub(super) struct Link {
    pub(super) activity: Arc<LastActivity>,
    pub(super) addresses: Arc<KnownAddresses>,
    pub(super) tls: TlsSettings,
    pub(super) routes: Routes,
    /// The user's own `Proxy-Authorization`.
    pub(super) proxy_authorization: Option<HeaderValue>,
    pub(super) timeout: Duration,
    pub(super) handover: Mutex<Handover>,
    /// Tells the reads of polls how long they may wait. Set by each poll.
    pub(super) server: Mutex<Option<Arc<dyn TimeLeft>>>,
}

/// Marks the reads of a poll, which wait as long as the server lives.
pub(super) const WHILE_ALIVE: Duration = Duration::new(u32::MAX as u64, 1);

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
    /// Sets the handover and returns the one before.
    pub(super) fn set_handover(&self, handover: Handover) -> Handover {
        replace(&mut lock(&self.handover), handover)
    }

    fn hand_over(&self, stream: Stream, early: &[u8]) {
        let mut handover = lock(&self.handover);
        if !matches!(*handover, Handover::Off) {
            *handover = Handover::Done { stream, early: early.to_vec() };
        }
    }
}

/// The connector that opens every connection through [`dial`].
pub(super) struct Dialer(pub(super) Arc<Link>);

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    fn dial(&self, details: &ConnectionDetails) -> Result<Stream> {
        let secure = details.needs_tls();
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = details.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let limits = self.limits(details);
        let connector = if secure { Some(self.0.tls.connector()?) } else { None };
        let stream = match self.0.routes.find(details.uri)? {
            Some(proxy) => self.tunnel(&proxy, (host, port), limits, details)?,
            None => Stream::Plain(self.tcp(host, port, limits, details)?),
        };
        match connector {
            Some(connector) => dial::tls(&connector, host, stream, limits.next()),
            None => Ok(stream),
        }
    }

    fn limits(&self, details: &ConnectionDetails) -> Limits {
        let all = details.timeout.not_zero().and_then(|all| Instant::now().checked_add(*all));
        Limits { step: self.0.timeout, end: all }
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
        let tcp = dial::tcp(host, port, limits, &self.0.addresses, &register)?;
        Socket::new(tcp, self.0.activity.clone())
            .map_err(|e| Error::connection_from(format!("cannot use the socket to {host} port {port}"), e))
    }

    /// Opens a tunnel through a proxy.
    fn tunnel(
        &self,
        proxy: &Proxy,
        (host, port): (&str, u16),
        limits: Limits,
        details: &ConnectionDetails,
    ) -> Result<Stream> {
        let socket = self.tcp(proxy.host(), proxy.port(), limits, details);
        let mut stream = Stream::Plain(socket.map_err(|e| proxy.unreachable(e))?);
        if proxy.is_secure() {
            let connector = self.0.tls.connector()?;
            stream = dial::tls(&connector, proxy.host(), stream, limits.next())
                .map_err(|e| proxy.unreachable(e))?;
        }
        stream.set_patience(Patience::Until(Some(limits.next())));
        proxy.open_tunnel(&mut stream, host, port, self.0.proxy_authorization.as_ref())?;
        Ok(stream)
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
        let stream = self.dial(details).map_err(|e| ureq::Error::Other(Box::new(e)))?;
        let buffers = HttpBuffers::new(details.config);
        Ok(Some(HttpTransport { stream: Some(stream), buffers, link: self.0.clone() }))
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

/// A [`Stream`] as ureq sees it.
pub(super) struct HttpTransport {
    /// `None` only while the transport is dropped.
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
        // A call of `stream()` would borrow all of `self`, and the buffers are needed too.
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

    /// An idle connection can carry another request if nothing has arrived on it: neither bytes nor the end.
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
