//! A connection as ureq sees it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use ureq::Timeout;
use ureq::config::Config;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

use super::buffers::HttpBuffers;
use super::connector::{Link, WHILE_ALIVE};
use super::proxy::Forward;
use super::socket::{Patience, Stream};
use crate::error::Error;
use crate::sync::lock;

/// A [`Stream`] as ureq sees it.
pub(super) struct HttpTransport {
    /// `None` only while the transport is dropped.
    stream: Option<Stream>,
    buffers: HttpBuffers,
    /// Set on a connection to a proxy that forwards the requests.
    forward: Option<Forward>,
    /// True until the first part of a request is written.
    is_new_request: bool,
    link: Arc<Link>,
}

impl HttpTransport {
    pub(super) fn new(stream: Stream, forward: Option<Forward>, config: &Config, link: Arc<Link>) -> Self {
        let buffers = HttpBuffers::new(config, link.longest_line.clone());
        HttpTransport { stream: Some(stream), buffers, forward, is_new_request: true, link }
    }

    /// The behaviour of a read or write: a poll lasts as long as the server lives, any other request until it
    /// stalls. ureq's own deadline, `timeout`, comes from the user's agent.
    fn patience(&self, timeout: NextTimeout) -> Patience {
        if timeout.per_read.is_some_and(|limit| *limit == WHILE_ALIVE) {
            if let Some(server) = &*lock(&self.link.server) {
                return Patience::Alive(server.clone());
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
        let is_poll = matches!(patience, Patience::Alive(_));
        let (stream, buffers) = self.stream(patience)?;
        stream.write_all(buffers.held()).map_err(|e| unsent(e, is_poll))?;
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

/// The error of a request that cannot be written. The timeout of a poll stays what it is: it means that the
/// server is silent.
fn unsent(error: io::Error, is_poll: bool) -> ureq::Error {
    if error.kind() == ErrorKind::TimedOut && !is_poll {
        let what = "sending the request: the server, or the network, takes no more of it";
        return ureq::Error::Other(Box::new(Error::Timeout { what }));
    }
    error.into()
}

impl Transport for HttpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let can_wait = self.buffers.hold(amount);
        // A body that has waited for a `100 Continue` comes after an answer too, but begins with a packet's type.
        let is_head = [&b"GET "[..], b"POST "].iter().any(|method| self.buffers.held().starts_with(method));
        let is_head = std::mem::take(&mut self.is_new_request) && is_head;
        if let Some(forward) = self.forward.as_ref().filter(|_| is_head) {
            let rewritten = forward.rewrite(self.buffers.held());
            self.buffers.replace_held(&rewritten);
        }
        if can_wait { Ok(()) } else { self.flush(timeout) }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.flush(timeout)?;
        self.buffers.written();
        self.is_new_request = true;
        let is_forwarded = self.forward.is_some();
        let patience = self.patience(timeout.for_read());
        let is_poll = matches!(patience, Patience::Alive(_));
        let (stream, buffers) = self.stream(patience)?;
        match stream.read(buffers.input_append_buf()) {
            Ok(count) => {
                buffers.input_appended(count);
                Ok(count > 0)
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
