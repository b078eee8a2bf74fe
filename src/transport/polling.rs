use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{SendError, Transport, TransportError, TransportKind, TrySend, timestamp};
use crate::error::Error;
use crate::net::{HttpClient, HttpError};
use crate::protocol::{Endpoint, Packet, payload};
use crate::sync::{Signal, lock};

/// The JS server refuses the octet-stream that the specification asks for.
const CONTENT_TYPE: &str = "text/plain;charset=UTF-8";

/// The pause after the second poll in a row that came back with nothing; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// HTTP long polling: a GET in flight for what the server sends, and one POST at most for what we send.
pub(crate) struct Polling {
    http: HttpClient,
    /// The URL of the session, without the timestamp.
    url: String,
    timestamps: bool,
    limits: PollingLimits,
    /// The pause after the next poll that brings nothing. For the one who receives.
    backed_off: Mutex<Duration>,
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
            backed_off: Mutex::default(),
            closed: Mutex::new(false),
            closing: Signal::default(),
        }
    }

    /// The first request of a session: the packets of its answer, of which the first should be `open`.
    pub(crate) fn handshake(
        http: &HttpClient,
        endpoint: &Endpoint,
        timestamps: bool,
        max_body: usize,
    ) -> Result<Vec<Packet>, HttpError> {
        let stamp = timestamps.then(timestamp);
        let url = endpoint.request_url(TransportKind::Polling.as_str(), None, stamp.as_deref());
        let response = http.get(&url, max_body)?;
        payload::decode(&response.body).map_err(|e| {
            HttpError::reached(Error::connection(format!("not the answer of an Engine.IO v4 server: {e}")))
        })
    }

    fn request_url(&self) -> String {
        if self.timestamps { format!("{}&t={}", self.url, timestamp()) } else { self.url.clone() }
    }

    fn is_closed(&self) -> bool {
        *lock(&self.closed)
    }

    fn failed(&self, error: Error) -> TransportError {
        if self.is_closed() { TransportError::Closed } else { TransportError::Failed(error) }
    }

    fn poll(&self, silence: Duration) -> Result<Vec<Packet>, TransportError> {
        let answer = self.http.poll(&self.request_url(), silence, self.limits.body);
        match answer.map_err(|e| self.failed(e.error))? {
            Some(response) => {
                payload::decode(&response.body).map_err(|e| self.failed(Error::protocol(e.to_string())))
            }
            None if self.is_closed() => Err(TransportError::Closed),
            None => Err(TransportError::Silent),
        }
    }

    /// Waits out a pause between polls that bring nothing, or the end. There is none after the first.
    fn back_off(&self) {
        let mut backed_off = lock(&self.backed_off);
        let deadline = Instant::now() + *backed_off;
        *backed_off = (*backed_off * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        drop(backed_off);
        let mut closed = lock(&self.closed);
        while !*closed && Instant::now() < deadline {
            closed = self.closing.wait_until(closed, Some(deadline));
        }
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

    fn recv(&self, packets: &mut VecDeque<Packet>, silence: Duration) -> Result<(), TransportError> {
        loop {
            let received = self.poll(silence)?;
            if received.iter().any(brings_something) {
                *lock(&self.backed_off) = Duration::ZERO;
                packets.extend(received);
                return Ok(());
            }
            // A NOOP ends a poll, to free it for another transport or to get through a proxy. A server that
            // sends nothing else must not keep us busy.
            self.back_off();
            if received.iter().any(|packet| *packet != Packet::Noop) {
                // For the log.
                packets.extend(received);
                return Ok(());
            }
        }
    }

    /// One POST.
    fn portion(&self, queue: &VecDeque<Packet>) -> usize {
        payload::fitting(queue, self.limits.packets, self.limits.payload).0
    }

    fn send(&self, batch: &mut VecDeque<Packet>) -> Result<(), SendError> {
        while !batch.is_empty() {
            let (body, count) = payload::encode(batch, self.limits.packets, self.limits.payload);
            if let Err(e) = self.http.post(&self.request_url(), CONTENT_TYPE, &body) {
                // Not again: a POST that failed may have arrived.
                let lost = batch.drain(..).filter(Packet::is_message).count();
                return Err(SendError { cause: self.failed(e.error), lost });
            }
            if batch.drain(..count).any(|packet| packet == Packet::Close) {
                // The server need not answer the poll in flight before its next ping.
                self.close();
            }
        }
        Ok(())
    }

    fn try_send(&self, packet: Packet) -> Result<TrySend, TransportError> {
        Ok(TrySend::Refused(packet))
    }

    fn close(&self) {
        *lock(&self.closed) = true;
        self.closing.notify_all();
        self.http.close();
    }

    fn heard(&self) -> Instant {
        self.http.heard().last()
    }

    fn written(&self) -> Option<Instant> {
        // A POST has the request timeout.
        None
    }
}
