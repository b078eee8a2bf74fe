//! Our connector for ureq: ureq's transport seam, with our own sockets, TLS and proxies beneath.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::replace;
use std::net::TcpStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use native_tls::TlsConnector;
use ureq::config::Config;
use ureq::http::{HeaderValue, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, ShutdownHandle, Transport,
};
use url::Url;

use super::buffers::HttpBuffers;
use super::dial::{self, AnsweredAddresses};
use super::exchange::Exchange;
use super::http::IDLE;
use super::proxy::{Proxy, Routes};
use super::redirect;
use super::socket::{LastActivity, Patience, Socket, Stream, TimeLeft};
use super::tls::TlsSettings;
use crate::error::{Error, Result};
use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// The state that the connector, its transports and the client share.
pub(super) struct Link {
    pub(super) activity: Arc<LastActivity>,
    pub(super) answered: Arc<AnsweredAddresses>,
    /// The URL whose host may see the user's client certificate.
    pub(super) home: Url,
    pub(super) tls: TlsSettings,
    pub(super) routes: Routes,
    /// The user's own `Proxy-Authorization`.
    pub(super) proxy_authorization: Option<HeaderValue>,
    pub(super) timeout: Duration,
    pub(super) handover: Mutex<Handover>,
    /// Set when the server has closed an idle connection early.
    pub(super) closes_early: AtomicBool,
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
    /// The TLS for a server. A redirect to another host does not show it the user's certificate.
    fn tls_for(&self, uri: &Uri) -> Result<TlsConnector> {
        let at_home = Url::parse(&uri.to_string()).is_ok_and(|url| redirect::is_at_home(&self.home, &url));
        if at_home { self.tls.connector() } else { self.tls.without_identity().connector() }
    }

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
    fn dial(&self, details: &ConnectionDetails) -> Result<Stream, ureq::Error> {
        let other = |e: Error| ureq::Error::Other(Box::new(e));
        let secure = details.needs_tls();
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = details.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let limit = details.timeout.not_zero().map_or(self.link.timeout, |left| *left).min(self.link.timeout);
        let deadline = Instant::now() + limit;
        let connector = if secure { Some(self.link.tls_for(details.uri).map_err(other)?) } else { None };
        let proxy = self.link.routes.find(details.uri).map_err(other)?;
        let socket = match &proxy {
            Some(proxy) => {
                dial::tcp(proxy.host(), proxy.port(), deadline, &self.link.answered, &self.link.activity)
                    .map_err(|e| other(proxy.unreachable(e)))?
            }
            None => {
                dial::tcp(host, port, deadline, &self.link.answered, &self.link.activity).map_err(other)?
            }
        };
        // From here on `HttpClient::close` can interrupt this connection.
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

    /// Opens a tunnel through a proxy, on a connection to that proxy.
    fn tunnel(
        &self,
        proxy: &Proxy,
        socket: Socket,
        (host, port): (&str, u16),
        deadline: Instant,
    ) -> Result<Stream> {
        let mut stream = Stream::Plain(socket);
        if proxy.is_secure() {
            let connector = self.link.tls.connector()?;
            stream =
                dial::tls(&connector, proxy.host(), stream, deadline).map_err(|e| proxy.unreachable(e))?;
        }
        stream.set_patience(Patience::Until(Some(deadline)));
        proxy.open_tunnel(&mut stream, host, port, self.link.proxy_authorization.as_ref())?;
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
        let (link, exchange) = (self.link.clone(), self.exchange.clone());
        Ok(Some(HttpTransport { stream: Some(stream), buffers, link, exchange, phase: Phase::New }))
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
    exchange: Arc<Exchange>,
    phase: Phase,
}

/// The place of a connection between its requests and responses.
#[derive(Clone, Copy)]
enum Phase {
    New,
    /// A request is being written, and no byte of its response has come.
    Asked,
    /// Bytes of a response have come, the last of them at that time.
    Answered(Instant),
}

impl HttpTransport {
    fn stream(&mut self, timeout: NextTimeout) -> io::Result<&mut Stream> {
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
        if !matches!(self.phase, Phase::Asked) {
            self.exchange.begin(matches!(self.phase, Phase::Answered(_)));
            self.phase = Phase::Asked;
        }
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
        let count = read(stream, self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        if count > 0 {
            if matches!(self.phase, Phase::Asked) {
                self.exchange.answered(self.buffers.input());
            }
            self.phase = Phase::Answered(Instant::now());
        }
        Ok(count > 0)
    }

    /// An idle connection can carry another request if nothing has arrived on it: neither bytes nor the end.
    fn is_open(&mut self) -> bool {
        let Some(stream) = &self.stream else { return false };
        let peeked = stream.socket().tcp().peek(&mut [0]);
        let is_open = matches!(peeked, Err(e) if e.kind() == ErrorKind::WouldBlock);
        if !is_open && matches!(self.phase, Phase::Answered(at) if at.elapsed() < IDLE) {
            self.link.closes_early.store(true, Ordering::Relaxed);
        }
        is_open
    }

    fn is_tls(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_tls)
    }
}

/// Reads, and fails with `BrokenPipe` where the connection ends in any way but a clean one: ureq takes other
/// errors for the end of a body without a length.
fn read(stream: &mut Stream, buf: &mut [u8]) -> io::Result<usize> {
    match stream.read(buf) {
        Ok(0) if stream.is_cut() => {
            let what = "the connection ended without TLS's close_notify";
            Err(io::Error::new(ErrorKind::BrokenPipe, what))
        }
        Err(e) if BROKEN.contains(&e.kind()) => Err(io::Error::new(ErrorKind::BrokenPipe, e)),
        done => done,
    }
}

const BROKEN: [ErrorKind; 3] =
    [ErrorKind::UnexpectedEof, ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset];

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
