use std::collections::VecDeque;
use std::io::ErrorKind;
use std::mem::{replace, take};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rustix::event::PollFlags;
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Message, WebSocket as Socket};

use super::{
    BURST, BURST_BYTES, Progress, Transport, TransportError, TransportKind, TrySend, Written, check_size,
    timestamp, too_long,
};
use crate::error::{Error, Result};
use crate::guarded::drop_guarded;
use crate::net::{HttpClient, HttpError, LastActivity, ReadAhead, TimeLeft, wait_for};
use crate::protocol::{Endpoint, Frame, Packet};
use crate::sync::after;

/// How many bytes are read at most before the lock is given up, whether they are whole messages or not.
const RATION: usize = 2 * BURST_BYTES;

/// How much of tungstenite's own answers may wait to be written, beyond what it buffers in any case.
const PONGS: usize = 4096;

/// Binary messages below this size are copied out of the read buffer, which they would keep in memory.
const COPY_BELOW: usize = 16 * 1024;

/// Binary messages from this size on are written without a copy; to share one may allocate.
const SHARE_FROM: usize = 4 * 1024;

/// What a websocket is opened with. Sizes are in bytes.
#[derive(Debug, Clone)]
pub(crate) struct WebSocketSettings {
    /// For the opening request alone.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Those that `headers` offers. Some servers take a token for one: no `Debug` shows them.
    pub(crate) subprotocols: Vec<HeaderValue>,
    pub(crate) max_message: usize,
    pub(crate) max_frame: usize,
    /// Allocated for as long as the connection lives.
    pub(crate) read_buffer: usize,
    pub(crate) write_buffer: usize,
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        WebSocketSettings {
            headers: Vec::new(),
            subprotocols: Vec::new(),
            max_message: 64 << 20,
            max_frame: 64 << 20,
            read_buffer: 4 * 1024,
            write_buffer: 128 * 1024,
        }
    }
}

/// One websocket frame for one packet, both ways at once on one socket.
///
/// The socket is non-blocking. Its lock is held for a burst of reads or of writes and never in a wait, which
/// is a `poll(2)` on the TCP socket: so one path serves TCP and TLS, whose session two threads cannot use at once.
pub(crate) struct WebSocket {
    tcp: Arc<TcpStream>,
    /// One that goes to whoever waits, within a millisecond. The system's goes to who is awake: a reader in a flood, which
    /// takes it again as soon as it has given it back, and the writer could wait for ever.
    inner: Mutex<Inner>,
    activity: Arc<LastActivity>,
    closed: AtomicBool,
}

struct Inner {
    socket: Socket<ReadAhead>,
    /// What ended reading, when packets before it had still to be handed on.
    ended: Option<TransportError>,
    max_message: usize,
    /// The `1` is written: what remains is to flush it and to half-close.
    finishing: bool,
    /// What was given to tungstenite since everything was last written.
    unflushed: Written,
    outgoing: Outgoing,
}

/// A buffer for the small binary messages that are written: tungstenite wants to own what it writes, and a share of
/// the user's bytes would be dropped under the lock.
#[derive(Default)]
struct Outgoing(BytesMut);

impl Outgoing {
    fn share(&mut self, bytes: &Bytes) -> Bytes {
        if bytes.len() >= SHARE_FROM {
            return bytes.clone();
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

impl WebSocket {
    /// Opens a websocket: a new session, or a second connection of session `sid` for the upgrade.
    pub(crate) fn open(
        http: &HttpClient,
        endpoint: &Endpoint,
        sid: Option<&str>,
        timestamps: bool,
        settings: &WebSocketSettings,
    ) -> Result<Self, HttpError> {
        let stamp = timestamps.then(timestamp);
        let url = endpoint.request_url(TransportKind::WebSocket.as_str(), sid, stamp.as_deref());
        let key = generate_key();
        let upgraded = http.upgrade(&url, &key, &settings.headers)?;
        verify(&upgraded.headers, &key, &settings.subprotocols).map_err(HttpError::reached)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(settings.read_buffer)
            .write_buffer_size(settings.write_buffer)
            // A text has the packet's type in front. A binary message of one byte too many is found in `packet`.
            .max_frame_size(Some(settings.max_frame.saturating_add(1)))
            .max_message_size(Some(settings.max_message.saturating_add(1)));
        let tcp = upgraded.stream.socket().tcp().clone();
        let stream = ReadAhead::new(upgraded.stream);
        let socket = Socket::from_partially_read(stream, upgraded.early, Role::Client, Some(config));
        let inner = Mutex::new(Inner {
            socket,
            ended: None,
            max_message: settings.max_message,
            finishing: false,
            unflushed: Written::default(),
            outgoing: Outgoing::default(),
        });
        Ok(WebSocket { tcp, inner, activity: upgraded.activity, closed: AtomicBool::new(false) })
    }

    /// As [`Transport::recv`], with a deadline for all of it.
    pub(crate) fn recv_by(
        &self,
        packets: &mut VecDeque<Packet>,
        deadline: Instant,
    ) -> Result<(), TransportError> {
        self.recv_while(packets, || deadline.saturating_duration_since(Instant::now()))
    }

    fn recv_while(
        &self,
        packets: &mut VecDeque<Packet>,
        left: impl Fn() -> Duration,
    ) -> Result<(), TransportError> {
        loop {
            // First what TLS and tungstenite have buffered, which poll cannot see.
            let more = self.inner.lock().read_burst(packets).map_err(|e| self.own(e))?;
            if !packets.is_empty() {
                return Ok(());
            }
            if self.closed.load(Ordering::Acquire) {
                // A closed socket stays readable for what had come before: that may be megabytes of websocket pings.
                return Err(TransportError::Closed);
            }
            let left = left();
            if left.is_zero() {
                return Err(self.own(TransportError::Silent));
            }
            if !more {
                self.wait(PollFlags::IN, Some(after(left)))?;
            }
        }
    }

    /// After `close` every failure is ours.
    fn own(&self, error: TransportError) -> TransportError {
        if self.closed.load(Ordering::Acquire) { TransportError::Closed } else { error }
    }

    /// Waits until the socket is ready, or until the deadline.
    fn wait(&self, flags: PollFlags, deadline: Option<Instant>) -> Result<(), TransportError> {
        match wait_for(&self.tcp, flags, deadline) {
            Err(e) if e.kind() != ErrorKind::TimedOut => Err(self.own(broken(e))),
            _ => Ok(()),
        }
    }
}

impl Transport for WebSocket {
    fn kind(&self) -> TransportKind {
        TransportKind::WebSocket
    }

    fn recv(&self, packets: &mut VecDeque<Packet>, server: &Arc<dyn TimeLeft>) -> Result<(), TransportError> {
        self.recv_while(packets, || server.time_left())
    }

    fn recv_rest(&self, _: &mut VecDeque<Packet>) -> bool {
        // Frames are read when they are handed on.
        false
    }

    fn send(&self, batch: &mut VecDeque<Packet>, progress: &dyn Progress) -> Result<(), TransportError> {
        loop {
            if !batch.is_empty() {
                // Only then: the last of a batch may be the close.
                progress.urgent().into_iter().for_each(|packet| batch.push_front(packet));
            }
            let mut given = 0;
            let flushed = self.inner.lock().write_burst(batch, &mut given);
            // Behind the lock, as binary messages are the user's.
            batch.drain(..given).for_each(drop_guarded);
            match flushed.map_err(|e| self.own(unwritable(e)))? {
                Some(written) => {
                    progress.written(written);
                    return Ok(());
                }
                None => self.wait(PollFlags::OUT, None)?,
            }
        }
    }

    fn try_send(&self, packet: Packet, progress: &dyn Progress) -> Result<TrySend, TransportError> {
        let Some(mut inner) = self.inner.try_lock() else {
            // The reader is at work: leave it to the writer rather than wait.
            return Ok(TrySend::Refused(packet));
        };
        let mut packet = packet;
        let flushed = inner.write_one(&mut packet);
        drop(inner);
        drop_guarded(packet);
        match flushed.map_err(|e| self.own(unwritable(e)))? {
            Some(written) => {
                progress.written(written);
                Ok(TrySend::Sent)
            }
            None => Ok(TrySend::Unflushed),
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Fails when the server has closed first.
        let _ = self.tcp.shutdown(Shutdown::Both);
    }

    fn activity(&self) -> &Arc<LastActivity> {
        &self.activity
    }

    fn send_is_bounded(&self) -> bool {
        false
    }
}

/// What one read brought.
enum Read {
    Packet(Packet),
    /// A frame of the websocket's own.
    Control,
    /// No more has come yet.
    Nothing,
}

impl Inner {
    /// Reads what is there; true if there may be more, in buffers that poll cannot see.
    fn read_burst(&mut self, packets: &mut VecDeque<Packet>) -> Result<bool, TransportError> {
        if let Some(ended) = self.ended.take() {
            return Err(ended);
        }
        // Frames and not packets: other threads want the lock, whatever the server sends.
        self.socket.get_mut().ration(RATION);
        // A pong that does not fit replaces the one before: a server that sends pings and reads nothing would fill the
        // memory with them.
        self.socket.set_config(|config| config.max_write_buffer_size = config.write_buffer_size + PONGS);
        let more = self.read_frames(packets);
        self.socket.set_config(|config| config.max_write_buffer_size = usize::MAX);
        more
    }

    fn read_frames(&mut self, packets: &mut VecDeque<Packet>) -> Result<bool, TransportError> {
        let (mut frames, mut bytes) = (0, 0);
        while frames < BURST && bytes < BURST_BYTES {
            frames += 1;
            match self.read_frame() {
                Ok(Read::Packet(packet)) => {
                    bytes += packet.frame_len();
                    packets.push_back(packet);
                }
                Ok(Read::Control) => {}
                Ok(Read::Nothing) => return Ok(self.socket.get_ref().used_up()),
                Err(ended) if packets.is_empty() => return Err(ended),
                Err(ended) => {
                    self.ended = Some(ended);
                    break;
                }
            }
        }
        Ok(true)
    }

    fn read_frame(&mut self) -> Result<Read, TransportError> {
        match self.socket.read() {
            Ok(Message::Text(text)) => self.packet(decode(Packet::decode_text(&text))?),
            Ok(Message::Binary(bytes)) => self.packet(Packet::Binary(unpinned(bytes))),
            Ok(Message::Close(frame)) => Err(self.closed_by_server(frame)),
            // tungstenite answers pings by itself.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(Read::Control),
            Err(tungstenite::Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => Ok(Read::Nothing),
            Err(e) => Err(failed(e)),
        }
    }

    fn packet(&self, packet: Packet) -> Result<Read, TransportError> {
        check_size(&packet, self.max_message).map_err(TransportError::Failed)?;
        Ok(Read::Packet(packet))
    }

    fn closed_by_server(&mut self, frame: Option<CloseFrame>) -> TransportError {
        // The answer to the close frame, if it can be sent at once.
        let _ = self.socket.flush();
        let code = frame.as_ref().map(|frame| u16::from(frame.code));
        let reason = frame.map(|frame| frame.reason.as_str().to_owned()).unwrap_or_default();
        let error = Error::WebSocketClosed { code, reason };
        match code {
            None | Some(1000 | 1001) => TransportError::ClosedByServer(error),
            Some(_) => TransportError::Failed(error),
        }
    }

    /// Writes the batch, and counts how many packets of it were `given` to tungstenite. Returns what was written since
    /// everything was last written, or `None` if the socket takes no more for now.
    fn write_burst(
        &mut self,
        batch: &mut VecDeque<Packet>,
        given: &mut usize,
    ) -> Result<Option<Written>, TransportError> {
        // What a former call left comes first, so that tungstenite's buffer does not grow.
        if !self.flush()? {
            return Ok(None);
        }
        for packet in batch {
            *given += 1;
            if !self.write_packet(packet)? {
                return Ok(None);
            }
        }
        Ok(self.flush()?.then(|| take(&mut self.unflushed)))
    }

    fn write_one(&mut self, packet: &mut Packet) -> Result<Option<Written>, TransportError> {
        let written = self.write_packet(packet)? && self.flush()?;
        Ok(written.then(|| take(&mut self.unflushed)))
    }

    /// Gives a packet to tungstenite: false if the socket took only a part of what is buffered. A text is taken out of
    /// the packet; of a binary message, whose `Drop` may be the user's, the packet keeps its share.
    fn write_packet(&mut self, packet: &mut Packet) -> Result<bool, TransportError> {
        self.finishing |= *packet == Packet::Close;
        self.unflushed = self.unflushed + Written::of(packet);
        let message = match packet {
            Packet::Binary(bytes) => Message::Binary(self.outgoing.share(bytes)),
            text => match replace(text, Packet::Noop).into_frame() {
                Frame::Text(text) => Message::Text(text.into()),
                Frame::Binary(bytes) => Message::Binary(bytes),
            },
        };
        let written = ready(self.socket.write(message))?;
        Ok(written && (!self.finishing || ready(self.socket.close(None))?))
    }

    /// True when everything is written.
    fn flush(&mut self) -> Result<bool, TransportError> {
        if self.finishing && self.socket.can_write() && !ready(self.socket.close(None))? {
            return Ok(false);
        }
        if !ready(self.socket.flush())? {
            return Ok(false);
        }
        if self.finishing {
            self.socket.get_mut().finish();
        }
        Ok(true)
    }
}

/// False for a socket that takes no more for now; the frame stays in tungstenite's buffer.
fn ready(written: Result<(), tungstenite::Error>) -> Result<bool, TransportError> {
    match written {
        Ok(()) => Ok(true),
        Err(tungstenite::Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(failed(e)),
    }
}

/// A failed write: what the server said before that may still be there to read.
fn unwritable(error: TransportError) -> TransportError {
    match error {
        TransportError::Failed(error) => TransportError::Unwritable { error, last_words: true },
        other => other,
    }
}

fn decode<E: std::error::Error>(packet: Result<Packet, E>) -> Result<Packet, TransportError> {
    packet.map_err(|e| TransportError::Failed(Error::protocol(e.to_string())))
}

fn unpinned(bytes: Bytes) -> Bytes {
    if bytes.len() < COPY_BELOW { Bytes::copy_from_slice(&bytes) } else { bytes }
}

fn broken(e: impl std::error::Error + Send + Sync + 'static) -> TransportError {
    TransportError::Failed(Error::connection_from("the websocket connection broke", e))
}

fn failed(error: tungstenite::Error) -> TransportError {
    use tungstenite::Error as E;
    match error {
        E::Protocol(ProtocolError::ResetWithoutClosingHandshake) => TransportError::Failed(
            Error::connection("the server closed the connection without a close frame"),
        ),
        E::Protocol(ProtocolError::SendAfterClosing) | E::ConnectionClosed | E::AlreadyClosed => {
            TransportError::Failed(Error::connection("the websocket is closed"))
        }
        // As given to tungstenite, for the packet's type.
        E::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            TransportError::Failed(too_long(max_size - 1))
        }
        E::Protocol(_) | E::Capacity(_) | E::Utf8(_) => {
            TransportError::Failed(Error::protocol(format!("by websocket: {error}")))
        }
        other => broken(other),
    }
}

/// The rules for a 101 of RFC 6455, section 4.1.
fn verify(headers: &HeaderMap, key: &str, offered: &[HeaderValue]) -> Result<()> {
    let has = |name: header::HeaderName, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    let wrong = |what: &str| Error::connection(format!("not a websocket: the server's 101 {what}"));
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err(wrong("does not switch to the websocket protocol"));
    }
    let accept = headers.get(header::SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes());
    if accept != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(wrong("has the wrong Sec-WebSocket-Accept"));
    }
    if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(wrong("has an extension that was not asked for"));
    }
    if let Some(chosen) = headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        if !offered.contains(chosen) {
            return Err(wrong("has a subprotocol that was not offered"));
        }
    }
    Ok(())
}
