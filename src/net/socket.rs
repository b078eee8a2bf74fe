use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use native_tls::TlsStream;
use rustix::event::PollFlags;

use super::progress::Progress;
use super::tcp::Tcp;
use crate::clock::Moment;
use crate::sync::{RelaxedU64, after};

/// The times at which bytes last came from the server and went to it. All sockets of a connection share it,
/// and write it at every read and write.
#[derive(Debug)]
pub(crate) struct LastActivity {
    /// In microseconds of the clock that [`Moment`] reads.
    received: RelaxedU64,
    sent: RelaxedU64,
    /// The time at which the peer was last seen to take more of a request that takes long.
    uploaded: RelaxedU64,
}

impl LastActivity {
    pub(crate) fn new() -> Self {
        let now = Moment::now().as_micros();
        LastActivity {
            received: RelaxedU64::new(now),
            sent: RelaxedU64::new(now),
            uploaded: RelaxedU64::new(0),
        }
    }

    pub(crate) fn mark_received(&self, now: Moment) {
        self.received.store(now.as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn mark_sent(&self, now: Moment) {
        self.sent.store(now.as_micros(), Ordering::Relaxed);
    }

    pub(super) fn mark_uploaded(&self, now: Moment) {
        self.uploaded.store(now.as_micros(), Ordering::Relaxed);
    }

    /// The time at which the peer was last seen to take more of a request that takes long.
    pub(super) fn uploaded(&self) -> Moment {
        Moment::from_micros(self.uploaded.load(Ordering::Relaxed))
    }

    /// The time of the last received byte.
    pub(crate) fn received(&self) -> Moment {
        Moment::from_micros(self.received.load(Ordering::Relaxed))
    }

    /// The time of the last byte that the system took to send.
    pub(crate) fn sent(&self) -> Moment {
        Moment::from_micros(self.sent.load(Ordering::Relaxed))
    }
}

/// The behaviour of a read or write on a [`Socket`] that is not ready.
#[derive(Clone)]
pub(crate) enum Patience {
    /// Fail with `WouldBlock`. The caller then waits in [`Tcp::wait`], without holding its lock.
    None,
    /// Wait until the request has not moved for `limit`, or until `end`, and then fail with `TimedOut`.
    /// What arrives counts as progress only in the `body` of the answer: a head can be preceded by any
    /// number of others.
    Moving { limit: Duration, end: Option<Instant>, body: bool },
    /// Wait as long as there is time, such as while the server lives, and then fail with `TimedOut`.
    While(Arc<dyn TimeLeft>),
}

/// Tells how long a wait may still take, such as for a server that may be silent. It is asked again at the
/// end of every wait.
pub(crate) trait TimeLeft: Send + Sync {
    fn time_left(&self) -> Duration;
}

/// A TCP or Unix socket with the patience of its reads and writes: a wait is a `poll(2)` with an exact
/// deadline, under TLS as well.
pub(crate) struct Socket {
    tcp: Arc<Tcp>,
    patience: Patience,
    /// Kept up to date under [`Patience::Moving`].
    progress: Progress,
    activity: Arc<LastActivity>,
    /// Set by a write until the next read, which first waits for the answer.
    asked: bool,
    /// Set when a read has met the end of the connection.
    ended: bool,
    /// The number of bytes that the system has taken to send.
    sent: u64,
}

impl Socket {
    pub(crate) fn new(tcp: Arc<Tcp>, activity: Arc<LastActivity>) -> io::Result<Self> {
        // Nagle's algorithm would hold the first message after an upgrade back for 40 ms, until a delayed
        // ACK.
        tcp.stream().set_nodelay(true)?;
        Ok(Self::unix(tcp, activity))
    }

    /// A Unix socket.
    pub(crate) fn unix(stream: Arc<Tcp>, activity: Arc<LastActivity>) -> Self {
        let progress = Progress::new(Instant::now());
        Socket {
            tcp: stream,
            patience: Patience::None,
            progress,
            activity,
            asked: false,
            ended: false,
            sent: 0,
        }
    }

    pub(crate) fn tcp(&self) -> &Arc<Tcp> {
        &self.tcp
    }

    /// The number of bytes that the system has taken to send since the connection was made.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn set_patience(&mut self, patience: Patience) {
        if let (Patience::Moving { body: false, .. }, Patience::Moving { body: true, .. }) =
            (&self.patience, &patience)
        {
            self.progress.answered(Instant::now());
        }
        self.patience = patience;
    }

    /// True if the peer may still be taking what was written.
    pub(crate) fn is_uploading(&self) -> bool {
        self.progress.is_uploading()
    }

    fn retry<T>(
        &mut self,
        flags: PollFlags,
        mut io: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match io(self.tcp.stream()) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(flags, e)?,
                done => return done,
            }
        }
    }

    /// Waits until the socket may be ready. Without patience, fails with `refusal` at once.
    fn wait(&mut self, flags: PollFlags, refusal: io::Error) -> io::Result<()> {
        match &self.patience {
            Patience::None => Err(refusal),
            Patience::Moving { limit, end, .. } => self.wait_moving(flags, *limit, *end),
            Patience::While(time) => match time.time_left() {
                Duration::ZERO => Err(ErrorKind::TimedOut.into()),
                left => match self.tcp.wait(flags, Some(after(left))) {
                    Err(e) if e.kind() != ErrorKind::TimedOut => Err(e),
                    _ => Ok(()),
                },
            },
        }
    }

    /// Waits for the answer before the first read after a write. The answer takes a while, so a read without
    /// this wait would find nothing, and would be wasted.
    fn wait_for_answer(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.asked) || matches!(self.patience, Patience::None) {
            return Ok(());
        }
        match self.wait(PollFlags::IN, ErrorKind::WouldBlock.into()) {
            // The read is tried even then: the answer may have come while this thread got no CPU time.
            Err(e) if e.kind() != ErrorKind::TimedOut => Err(e),
            _ => Ok(()),
        }
    }

    /// Waits until the socket may be ready, or until nothing has moved for `limit`.
    fn wait_moving(&mut self, flags: PollFlags, limit: Duration, end: Option<Instant>) -> io::Result<()> {
        loop {
            let now = Instant::now();
            let stalled = self.progress.deadline(limit);
            let deadline = end.map_or(stalled, |end| end.min(stalled));
            if now >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            // The progress of an upload is checked now and then. Most answers come before the first check.
            let until = if self.progress.is_uploading() { deadline.min(now + limit / 4) } else { deadline };
            match self.tcp.wait(flags, Some(until)) {
                Err(e) if e.kind() == ErrorKind::TimedOut => {
                    if self.progress.look(self.tcp.stream(), Instant::now()) {
                        self.activity.mark_uploaded(Moment::now());
                    }
                }
                ready => {
                    // There is room in the system's buffers because the peer has taken something.
                    if ready.is_ok() && flags == PollFlags::OUT {
                        self.activity.mark_uploaded(Moment::now());
                    }
                    return ready;
                }
            }
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.wait_for_answer()?;
        let count = self.retry(PollFlags::IN, |mut tcp| tcp.read(buf))?;
        if count == 0 {
            self.ended = true;
        } else {
            self.activity.mark_received(Moment::now());
            match self.patience {
                Patience::Moving { body: true, .. } => self.progress.received(count, Instant::now()),
                Patience::Moving { limit, .. } if !self.progress.in_time(limit, Instant::now()) => {
                    return Err(ErrorKind::TimedOut.into());
                }
                _ => {}
            }
        }
        Ok(count)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.retry(PollFlags::OUT, |mut tcp| tcp.write(buf))?;
        self.activity.mark_sent(Moment::now());
        self.sent += count as u64;
        self.asked = true;
        if let Patience::Moving { .. } = self.patience {
            self.progress.written(count, Instant::now());
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection to the server, plain or encrypted.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
    /// TLS to the server, inside of TLS to a proxy.
    TlsInTls(Box<TlsStream<TlsStream<Socket>>>),
}

impl Stream {
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => tls.get_ref(),
            Stream::TlsInTls(tls) => tls.get_ref().get_ref(),
        }
    }

    pub(crate) fn set_patience(&mut self, patience: Patience) {
        match self {
            Stream::Plain(socket) => socket.set_patience(patience),
            Stream::Tls(tls) => tls.get_mut().set_patience(patience),
            Stream::TlsInTls(tls) => tls.get_mut().get_mut().set_patience(patience),
        }
    }

    /// True if the connection has ended without the close_notify of TLS: someone may have cut it (RFC 8446,
    /// section 6.1). OpenSSL's reads report both kinds of end in the same way. After a close_notify, however,
    /// they do not read from the socket again, so `ended` is not set.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_tls() && self.socket().ended
    }

    /// The certificate of the peer, in DER.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        let certificate = match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => tls.peer_certificate().ok()?,
            Stream::TlsInTls(tls) => tls.peer_certificate().ok()?,
        };
        certificate?.to_der().ok()
    }

    pub(crate) fn is_tls(&self) -> bool {
        !matches!(self, Stream::Plain(_))
    }

    /// Tells the peer that nothing more will be written. Reading goes on.
    pub(crate) fn finish(&mut self) {
        // A failure is ignored: the FIN tells the peer the same.
        let _ = match self {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(tls) => tls.shutdown(),
            Stream::TlsInTls(tls) => tls.shutdown().and_then(|()| tls.get_mut().shutdown()),
        };
        self.socket().tcp().finish();
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buf),
            Stream::Tls(tls) => tls.read(buf),
            Stream::TlsInTls(tls) => tls.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(buf),
            Stream::Tls(tls) => tls.write(buf),
            Stream::TlsInTls(tls) => tls.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(tls) => tls.flush(),
            Stream::TlsInTls(tls) => tls.flush(),
        }
    }
}
