//! The HTTP long-polling transport: received packets come in the answers to GETs, and sent packets go out in
//! POSTs.

use std::collections::VecDeque;
use std::ops::Add;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use url::Url;

use super::{
    BURST, BURST_BYTES, Progress, Transport, TransportError, TransportKind, TrySend, Written, check_size,
    timestamp,
};
use crate::error::Error;
use crate::net::{HttpClient, HttpError, LastActivity, Place, Response, TimeLeft, without_sid};
use crate::protocol::payload::{self, Payload};
use crate::protocol::{DecodeError, Endpoint, Packet};
use crate::sync::{Mutex, Signal, after, lock};

/// The content type of a POST. The JavaScript server refuses the octet-stream that the specification asks
/// for.
const CONTENT_TYPE: &str = "text/plain;charset=UTF-8";

/// The pause after the second consecutive poll that brings nothing. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The polling transport. At most one GET and one POST are in flight at the same time.
///
/// Lock order: `intake`, then `state`.
pub(crate) struct Polling {
    http: HttpClient,
    /// The URL of the session, without the timestamp.
    url: Url,
    timestamps: bool,
    limits: PollingLimits,
    /// The received packets that were not handed on.
    intake: Mutex<Intake>,
    state: Mutex<PollingState>,
    /// Notified when the transport is closed, or the last POST is answered.
    changed: Signal,
}

#[derive(Default)]
struct PollingState {
    closed: bool,
    /// Set while the POST with the close packet is in flight.
    last_post: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct PollingLimits {
    /// The largest number of packets in a POST. python-engineio's server silently drops those after the 16th.
    pub(crate) packets: usize,
    /// The largest size of a POST in bytes: the server's `maxPayload`.
    pub(crate) payload: Option<usize>,
    /// The largest body of a GET's answer, in bytes.
    pub(crate) body: usize,
    /// The largest received message, in bytes.
    pub(crate) message: usize,
}

/// The payload of the last poll, which is handed on in bursts.
#[derive(Default)]
struct Intake {
    payload: Payload,
    /// The place that the payload came from.
    place: Option<Place>,
    /// The error that ends the payload, while packets before it are handed on.
    broken: Option<Error>,
    /// Set when the payload had a packet that a server sends for a reason.
    useful: bool,
    /// The pause before the next poll, if this payload had no such packet.
    pause: Duration,
}

impl Intake {
    /// Appends the next packets of the payload. There may be none, because NOOPs are left out.
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
                    // The rest of the payload cannot be trusted.
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
        let packet = self.payload.next()?.map_err(|e| {
            let error = Error::protocol(e.to_string());
            match &self.place {
                Some(place) => place.named_in(error),
                None => error,
            }
        });
        Some(packet.and_then(|packet| check_size(&packet, max_message).map(|()| packet)))
    }

    /// The pause before the next poll, which grows while polls bring nothing.
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
            // The handshake counts as a useful payload: the first poll follows without a pause.
            intake: Mutex::new(Intake { useful: true, ..Intake::default() }),
            state: Mutex::default(),
            changed: Signal::default(),
        }
    }

    /// Sends the first request of a session. Returns the packets of its answer, the first of which should be
    /// `open`, and the place that the answer came from. The answer's body and the memory of its packets may
    /// each take `max_body` bytes.
    pub(crate) fn handshake(
        http: &HttpClient,
        endpoint: &Endpoint,
        timestamps: bool,
        max_body: usize,
    ) -> Result<(VecDeque<Packet>, Place), Refusal> {
        let stamp = timestamps.then(timestamp);
        let url = endpoint.request_url(TransportKind::Polling.as_str(), None, stamp.as_deref());
        let response = http.get(&url, max_body)?;
        let page = response.as_page();
        let Response { body, place } = response;
        let wrong = |what: String| no_handshake(what).at(&place);
        if let Some(page) = page {
            return Err(no_handshake(page).into());
        }
        let payload = Payload::new(body).map_err(|e| match e {
            DecodeError::Version3 => Refusal::Version3,
            other => wrong(other.to_string()).into(),
        })?;
        let (mut packets, mut memory) = (VecDeque::new(), 0);
        for packet in payload {
            let packet = packet.map_err(|e| wrong(e.to_string()))?;
            memory += packet.memory();
            if memory > max_body {
                return Err(wrong(format!("its packets take more than {max_body} bytes")).into());
            }
            packets.push_back(packet);
        }
        Ok((packets, place))
    }

    /// Ends a session of a cancelled attempt to connect. Otherwise the server would keep it until its ping
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
        http.reopened().post(&url, CONTENT_TYPE, &body, None).map(drop)
    }

    fn set_last_post(&self, last: bool) {
        let mut state = lock(&self.state);
        state.last_post = last;
        self.changed.notify_all(state);
    }

    fn request_url(&self) -> Url {
        let mut url = self.url.clone();
        if self.timestamps {
            url.query_pairs_mut().append_pair("t", &timestamp());
        }
        url
    }

    fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    fn failed(&self, error: Error) -> TransportError {
        let error = without_sid(error, &self.url);
        if self.is_closed() { TransportError::Closed } else { TransportError::Failed(error) }
    }

    /// The error of a POST. A server that refuses a POST may have ended the session, with its last words in
    /// the answer to the poll. A server that failed or did not answer sends none.
    fn unwritable(&self, error: Error) -> TransportError {
        let error = without_sid(error, &self.url);
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

    fn poll(&self, server: &Arc<dyn TimeLeft>) -> Result<(Payload, Place), TransportError> {
        let answer = self.http.poll(&self.request_url(), server, self.limits.body);
        match answer.map_err(|e| self.failed(e.error))? {
            Some(response) => {
                if let Some(page) = response.as_page() {
                    return Err(self.failed(Error::protocol(format!("the answer to a poll is {page}"))));
                }
                let Response { body, place } = response;
                match Payload::new(body) {
                    Ok(payload) => Ok((payload, place)),
                    Err(e) => Err(self.failed(place.named_in(Error::protocol(e.to_string())))),
                }
            }
            None if self.is_closed() => Err(TransportError::Closed),
            None => Err(TransportError::Silent),
        }
    }

    /// Sends packets. Servers answer with `ok`, and any other answer is fine as well, but for an HTML page:
    /// it comes from something in front of the server, which has not got the packets.
    fn post(&self, body: &[u8], deadline: Option<Instant>) -> Result<(), TransportError> {
        let answer = self.http.post(&self.request_url(), CONTENT_TYPE, body, deadline);
        match answer.map_err(|e| self.unwritable(e.error))?.as_page() {
            Some(page) => Err(self.unwritable(Error::protocol(format!("the answer to a POST is {page}")))),
            None => Ok(()),
        }
    }

    /// Waits for `pause`, or until the transport is closed.
    fn pause(&self, pause: Duration) {
        drop(self.changed.wait_while(lock(&self.state), Some(after(pause)), |state| !state.closed));
    }
}

/// The reason why a handshake has failed.
pub(crate) enum Refusal {
    Http(HttpError),
    /// The server speaks Engine.IO v3.
    Version3,
}

impl From<HttpError> for Refusal {
    fn from(error: HttpError) -> Self {
        Refusal::Http(error)
    }
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Http(error) => error,
            // No other transport is tried: a websocket would open, and end later because such a server waits
            // for pings.
            Refusal::Version3 => {
                HttpError { reached: false, ..no_handshake(DecodeError::Version3.to_string()) }
            }
        }
    }
}

fn no_handshake(what: String) -> HttpError {
    HttpError::reached(Error::connection(format!("not the answer of an Engine.IO v4 server: {what}")))
}

/// True for a packet that a server sends by polling for a reason. Other packets only answer the poll.
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
            let payload = self.poll(server);
            // A server may end the poll before it answers the POST with the close packet. That answer tells
            // whether the last messages have arrived, so it is waited for, within the request timeout.
            let unanswered = |state: &PollingState| state.last_post && !state.closed;
            drop(self.changed.wait_while(lock(&self.state), None, unanswered));
            let (payload, place) = payload?;
            let mut intake = lock(&self.intake);
            (intake.payload, intake.place) = (payload, Some(place));
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

    fn send(
        &self,
        batch: &mut VecDeque<Packet>,
        spent: &mut Vec<Bytes>,
        progress: &dyn Progress,
    ) -> Result<(), TransportError> {
        while !batch.is_empty() {
            if let Some(packet) = progress.urgent() {
                batch.push_front(packet);
            }
            let (body, count) = payload::encode(batch, self.limits.packets, self.limits.payload);
            let last = batch.iter().take(count).last() == Some(&Packet::Close);
            if last {
                self.set_last_post(true);
            }
            // A failed POST is not repeated, because it may have arrived.
            self.post(&body, progress.deadline()).inspect_err(|_| self.set_last_post(false))?;
            let written = batch.iter().take(count).map(Written::of).fold(Written::default(), Add::add);
            progress.written(written);
            spent.extend(batch.drain(..count).filter_map(Packet::into_binary));
            if last {
                // The server need not answer the pending poll before its next ping.
                self.close();
            }
        }
        Ok(())
    }

    fn try_send(&self, _: &mut Packet, _: &dyn Progress) -> Result<TrySend, TransportError> {
        Ok(TrySend::Refused)
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.changed.notify_all(state);
        self.http.close();
    }

    fn activity(&self) -> &Arc<LastActivity> {
        self.http.activity()
    }

    fn send_is_bounded(&self) -> bool {
        // The request timeout bounds a POST.
        true
    }

    fn send_runs_user_code(&self) -> bool {
        self.http.has_users_agent()
    }
}
