use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{
    BURST, BURST_BYTES, Progress, Transport, TransportError, TransportKind, TrySend, Written, check_size,
    timestamp,
};
use crate::error::Error;
use crate::guarded::drop_guarded;
use crate::net::{HttpClient, HttpError, LastActivity, TimeLeft, without_sid};
use crate::protocol::payload::{self, Payload};
use crate::protocol::{DecodeError, Endpoint, Packet};
use crate::sync::{Mutex, Signal, after, lock};

/// The JS server refuses the octet-stream that the specification asks for.
const CONTENT_TYPE: &str = "text/plain;charset=UTF-8";

/// The pause after the second poll in a row that came back with nothing; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// HTTP long polling: a GET in flight for what the server sends, and one POST at most for what we send.
///
/// Lock order: `intake`, then `closed`.
pub(crate) struct Polling {
    http: HttpClient,
    /// The URL of the session, without the timestamp.
    url: String,
    timestamps: bool,
    limits: PollingLimits,
    /// For the one who receives.
    intake: Mutex<Intake>,
    closed: Mutex<bool>,
    closing: Signal,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct PollingLimits {
    /// Packets in a POST: python-engineio's server loses what is above 16 without a word.
    pub(crate) packets: usize,
    /// Bytes in a POST: the server's `maxPayload`.
    pub(crate) payload: Option<usize>,
    /// Bytes in the body of a GET.
    pub(crate) body: usize,
    /// Bytes in a message.
    pub(crate) message: usize,
}

/// What has come, and is handed on in bursts.
#[derive(Default)]
struct Intake {
    payload: Payload,
    /// What is wrong with it, when packets before that had still to be handed on.
    broken: Option<Error>,
    /// The payload held something that a server sends with a reason.
    useful: bool,
    /// The pause before the next poll, if this one brought nothing.
    pause: Duration,
}

impl Intake {
    /// Hands on the next packets. None if they are all NOOPs.
    fn burst(&mut self, packets: &mut VecDeque<Packet>, max_message: usize) -> Result<(), Error> {
        let (mut count, mut bytes) = (0, 0);
        while self.broken.is_none() && count < BURST && bytes < BURST_BYTES {
            match self.next(max_message) {
                Some(Ok(packet)) => {
                    (count, bytes) = (count + 1, bytes + packet.frame_len());
                    self.useful |= brings_something(&packet);
                    if packet != Packet::Noop {
                        packets.push_back(packet);
                    }
                }
                Some(Err(broken)) => {
                    // Nothing that follows can be trusted.
                    self.payload = Payload::default();
                    self.broken = Some(broken);
                    break;
                }
                None => break,
            }
        }
        match self.broken.take() {
            Some(broken) if packets.is_empty() => Err(broken),
            broken => {
                self.broken = broken;
                Ok(())
            }
        }
    }

    fn next(&mut self, max_message: usize) -> Option<Result<Packet, Error>> {
        let packet = self.payload.next()?.map_err(|e| Error::protocol(e.to_string()));
        Some(packet.and_then(|packet| check_size(&packet, max_message).map(|()| packet)))
    }

    /// How long to wait before the next poll: polls that bring nothing back off.
    fn take_pause(&mut self) -> Duration {
        if std::mem::take(&mut self.useful) {
            self.pause = Duration::ZERO;
            return Duration::ZERO;
        }
        let pause = self.pause;
        self.pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        pause
    }
}

impl Polling {
    pub(crate) fn new(
        http: HttpClient,
        endpoint: &Endpoint,
        sid: &str,
        timestamps: bool,
        limits: PollingLimits,
    ) -> Self {
        let url = endpoint.request_url(TransportKind::Polling.as_str(), Some(sid), None);
        Polling {
            http,
            url,
            timestamps,
            limits,
            // The handshake came before the first poll.
            intake: Mutex::new(Intake { useful: true, ..Intake::default() }),
            closed: Mutex::new(false),
            closing: Signal::default(),
        }
    }

    /// The first request of a session: the packets of its answer, of which the first should be `open`. They may take
    /// `max_body` bytes, as may the body. Also the endpoint of the session, which is the place that the answer came from.
    pub(crate) fn handshake(
        http: &HttpClient,
        endpoint: &Endpoint,
        timestamps: bool,
        max_body: usize,
    ) -> Result<(VecDeque<Packet>, Endpoint), HttpError> {
        let stamp = timestamps.then(timestamp);
        let url = endpoint.request_url(TransportKind::Polling.as_str(), None, stamp.as_deref());
        let response = http.get(&url, max_body)?;
        let place = &response.place;
        let endpoint = match place.redirected {
            true => endpoint.moved_to(&place.url, timestamps),
            false => endpoint.clone(),
        };
        let wrong = |what: String| {
            HttpError::reached(Error::connection(format!("not the answer of an Engine.IO v4 server: {what}")))
        };
        if let Some(page) = response.as_page() {
            return Err(wrong(page));
        }
        let payload = Payload::new(response.body).map_err(|e| HttpError {
            // A websocket would be opened, and die of a server that waits for pings.
            reached: e != DecodeError::Version3,
            ..wrong(e.to_string())
        })?;
        let (mut packets, mut memory) = (VecDeque::new(), 0);
        for packet in payload {
            let packet = packet.map_err(|e| wrong(e.to_string()))?;
            memory += packet.memory();
            if memory > max_body {
                return Err(wrong(format!("its packets take more than {max_body} bytes")));
            }
            packets.push_back(packet);
        }
        Ok((packets, endpoint))
    }

    /// Ends a session that nobody will use, of an attempt whose client is closed: the server would keep it until its ping
    /// timeout.
    pub(crate) fn end_unused_session(
        http: &HttpClient,
        endpoint: &Endpoint,
        sid: &str,
        timestamps: bool,
    ) -> Result<(), HttpError> {
        let stamp = timestamps.then(timestamp);
        let url = endpoint.request_url(TransportKind::Polling.as_str(), Some(sid), stamp.as_deref());
        let (body, _) = payload::encode(&VecDeque::from([Packet::Close]), 1, None);
        http.reopened().post(&url, CONTENT_TYPE, &body).map(drop)
    }

    fn request_url(&self) -> String {
        if self.timestamps { format!("{}&t={}", self.url, timestamp()) } else { self.url.clone() }
    }

    fn is_closed(&self) -> bool {
        *lock(&self.closed)
    }

    fn failed(&self, error: Error) -> TransportError {
        let error = without_sid(error, &self.url);
        if self.is_closed() { TransportError::Closed } else { TransportError::Failed(error) }
    }

    /// The error of a POST. A server that refuses it may have ended the session with last words in its answer to the
    /// poll; one that failed, or did not answer, has none.
    fn unwritable(&self, error: Error) -> TransportError {
        let last_words = match &error {
            Error::Timeout { .. } => false,
            Error::Connection { status: Some(status), .. } => *status < 500,
            _ => true,
        };
        if self.is_closed() {
            TransportError::Closed
        } else {
            TransportError::Unwritable { error, last_words }
        }
    }

    fn poll(&self, server: &Arc<dyn TimeLeft>) -> Result<Payload, TransportError> {
        let answer = self.http.poll(&self.request_url(), server, self.limits.body);
        match answer.map_err(|e| self.failed(e.error))? {
            Some(response) => {
                if let Some(page) = response.as_page() {
                    return Err(self.failed(Error::protocol(format!("the answer to a poll is {page}"))));
                }
                Payload::new(response.body).map_err(|e| self.failed(Error::protocol(e.to_string())))
            }
            None if self.is_closed() => Err(TransportError::Closed),
            None => Err(TransportError::Silent),
        }
    }

    /// Waits for that long, or until the transport is closed.
    fn pause(&self, pause: Duration) {
        drop(self.closing.wait_while(lock(&self.closed), Some(after(pause)), |closed| !closed));
    }
}

/// A packet that a server may send by polling, and with a reason. The others mean nothing.
fn brings_something(packet: &Packet) -> bool {
    packet.is_message() || matches!(packet, Packet::Ping(_) | Packet::Close)
}

impl Transport for Polling {
    fn kind(&self) -> TransportKind {
        TransportKind::Polling
    }

    fn recv(&self, packets: &mut VecDeque<Packet>, server: &Arc<dyn TimeLeft>) -> Result<(), TransportError> {
        loop {
            let mut intake = lock(&self.intake);
            intake.burst(packets, self.limits.message).map_err(|e| self.failed(e))?;
            if !packets.is_empty() {
                return Ok(());
            }
            if self.is_closed() {
                return Err(TransportError::Closed);
            }
            if !intake.payload.is_empty() {
                continue;
            }
            let pause = intake.take_pause();
            drop(intake);
            self.pause(pause);
            let payload = self.poll(server)?;
            lock(&self.intake).payload = payload;
        }
    }

    fn recv_rest(&self, packets: &mut VecDeque<Packet>) -> bool {
        let mut intake = lock(&self.intake);
        while packets.is_empty() && !intake.payload.is_empty() {
            if intake.burst(packets, self.limits.message).is_err() {
                break;
            }
        }
        !packets.is_empty()
    }

    fn send(&self, batch: &mut VecDeque<Packet>, progress: &dyn Progress) -> Result<(), TransportError> {
        while !batch.is_empty() {
            if let Some(packet) = progress.urgent() {
                batch.push_front(packet);
            }
            let (body, count) = payload::encode(batch, self.limits.packets, self.limits.payload);
            // A POST that failed is not repeated, as it may have arrived.
            let answer = self.http.post(&self.request_url(), CONTENT_TYPE, &body);
            answer.map_err(|e| self.unwritable(e.error))?;
            let (mut written, mut close) = (Written::default(), false);
            for packet in batch.drain(..count) {
                written = written + Written::of(&packet);
                close |= packet == Packet::Close;
                drop_guarded(packet);
            }
            progress.written(written);
            if close {
                // The server need not answer the poll in flight before its next ping.
                self.close();
            }
        }
        Ok(())
    }

    fn try_send(&self, _: &mut Packet, _: &dyn Progress) -> Result<TrySend, TransportError> {
        Ok(TrySend::Refused)
    }

    fn close(&self) {
        let mut closed = lock(&self.closed);
        *closed = true;
        self.closing.notify_all(closed);
        self.http.close();
    }

    fn activity(&self) -> &Arc<LastActivity> {
        self.http.activity()
    }

    fn send_is_bounded(&self) -> bool {
        // A POST has the request timeout.
        true
    }
}
