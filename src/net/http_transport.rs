//! A connection as ureq sees it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use ureq::Timeout;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

use super::buffers::HttpBuffers;
use super::exchange::Exchange;
use super::link::{IDLE, Link, WHILE_ALIVE};
use super::proxy::Forward;
use super::socket::{Patience, Stream};
use super::tls_error;
use crate::error::Error;
use crate::sync::{Ordering, lock};

/// A [`Stream`] as ureq sees it.
pub(super) struct HttpTransport {
    /// `None` only while the transport is dropped.
    stream: Option<Stream>,
    buffers: HttpBuffers,
    /// Set on a connection to a proxy that forwards the requests.
    forward: Option<Forward>,
    phase: Phase,
    link: Arc<Link>,
    exchange: Arc<Exchange>,
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
    pub(super) fn new(
        stream: Stream,
        forward: Option<Forward>,
        buffers: HttpBuffers,
        link: Arc<Link>,
        exchange: Arc<Exchange>,
    ) -> Self {
        HttpTransport { stream: Some(stream), buffers, forward, phase: Phase::New, link, exchange }
    }

    /// Notes the first part of a request, which has just been put into the buffer.
    fn begin(&mut self) {
        self.exchange.begin(matches!(self.phase, Phase::Answered(_)));
        self.phase = Phase::Asked;
        if let Some(forward) = &self.forward {
            let rewritten = forward.rewrite(self.buffers.held());
            self.buffers.replace_held(&rewritten);
        }
    }

    /// Notes bytes of the response, which are the last in the buffer.
    fn received(&mut self) {
        if matches!(self.phase, Phase::Asked) {
            self.exchange.answered(self.buffers.input());
        }
        self.phase = Phase::Answered(Instant::now());
    }

    /// The behaviour of a read or write: a poll lasts as long as the server lives, any other request until it
    /// stalls. ureq's own deadline, `timeout`, comes from the user's agent.
    fn patience(&self, timeout: NextTimeout) -> Patience {
        if timeout.per_read.is_some_and(|limit| *limit == WHILE_ALIVE) {
            if let Some(server) = &*lock(&self.link.server) {
                return Patience::While(server.clone());
            }
        }
        let end = timeout.not_zero().and_then(|after| Instant::now().checked_add(*after));
        Patience::Moving { limit: self.link.timeout, end, body: timeout.reason == Timeout::RecvBody }
    }

    /// Sends what is held.
    fn flush(&mut self, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.buffers.held().is_empty() {
            return Ok(());
        }
        let patience = self.patience(timeout.for_write());
        let is_poll = matches!(patience, Patience::While(_));
        let (stream, buffers) = self.stream(patience)?;
        stream.write_all(buffers.held()).map_err(|e| unsent(explained(stream, e), is_poll))?;
        buffers.sent();
        Ok(())
    }

    /// The stream with this patience, and the buffers.
    fn stream(&mut self, patience: Patience) -> io::Result<(&mut Stream, &mut HttpBuffers)> {
        let stream = self.stream.as_mut().ok_or(ErrorKind::NotConnected)?;
        stream.set_patience(patience);
        Ok((stream, &mut self.buffers))
    }
}

/// The server's TLS alert in place of the error of a write, if there is one. With TLS 1.3 a server refuses a
/// client certificate after the client's handshake is over, and its reset may arrive before the request is
/// written.
fn explained(stream: &mut Stream, error: io::Error) -> io::Error {
    if !stream.is_tls() || (error.kind() != ErrorKind::BrokenPipe && !BROKEN.contains(&error.kind())) {
        return error;
    }
    stream.set_patience(Patience::None);
    match stream.read(&mut [0; 1]) {
        Err(alert) if tls_error::refusal(&alert.to_string()).is_some() => alert,
        _ => error,
    }
}

/// The error of a request that cannot be written. The timeout of a poll stays what it is: it means that the
/// server is silent.
fn unsent(error: io::Error, is_poll: bool) -> ureq::Error {
    if error.kind() == ErrorKind::TimedOut && !is_poll {
        let what = "sending the request (the server or the network accepts no more data)";
        return ureq::Error::Other(Box::new(Error::Timeout { what }));
    }
    error.into()
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

impl Transport for HttpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let can_wait = self.buffers.hold(amount);
        if !matches!(self.phase, Phase::Asked) {
            self.begin();
        }
        if can_wait { Ok(()) } else { self.flush(timeout) }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.flush(timeout)?;
        self.buffers.written();
        let is_forwarded = self.forward.is_some();
        let patience = self.patience(timeout.for_read());
        let is_poll = matches!(patience, Patience::While(_));
        let (stream, buffers) = self.stream(patience)?;
        match read(stream, buffers.input_append_buf()) {
            Ok(0) => Ok(false),
            Ok(count) => {
                buffers.input_appended(count);
                self.received();
                Ok(true)
            }
            Err(e) if stream.socket().is_uploading() => Err(unsent(e, is_poll)),
            Err(e) if e.kind() == ErrorKind::TimedOut && is_forwarded && !is_poll => {
                let what = "waiting for the proxy's answer";
                Err(ureq::Error::Other(Box::new(Error::Timeout { what })))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// An idle connection can carry another request if nothing has arrived on it: neither bytes nor the end.
    fn is_open(&mut self) -> bool {
        let Some(stream) = &self.stream else { return false };
        let peeked = stream.socket().tcp().stream().peek(&mut [0]);
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
