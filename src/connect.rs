//! The steps from a URL to a connected transport: the choice of the transport, the handshake, and the
//! upgrade.

mod attempt;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ureq::http::header::AUTHORIZATION;

use crate::error::{Error, Result};
use crate::logger::log;
use crate::net::{
    AgentSource, DialSettings, Headers, HttpClient, HttpError, HttpSettings, Place, Routes, authorization,
    check_socket,
};
use crate::options::{ConnectOptions, Options};
use crate::printable::printable;
use crate::protocol::{Endpoint, EndpointError, Handshake, Packet};
use crate::sync::{Ordering, lock};
use crate::transport::{
    Polling, PollingLimits, Progress, Refusal, Transport, TransportError, TransportKind, WebSocket, Written,
};

pub(crate) use attempt::{Attempt, Memory};

/// A connected transport, its handshake, and the packets that came with it.
pub(crate) struct Connected {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) handshake: Handshake,
    pub(crate) early: VecDeque<Packet>,
}

/// A validated request to connect.
pub(crate) struct Plan {
    endpoint: Endpoint,
    headers: Headers,
    transports: Vec<TransportKind>,
    options: Options,
    memory: Memory,
}

/// A repeatable way to connect. There is one implementation for servers, and one for tests without them.
pub(crate) trait Way: Send + Sync {
    fn connect(&self, attempt: &Attempt) -> Result<Connected>;
}

impl Plan {
    /// Checks the request. `memory` belongs to the client.
    pub(crate) fn new(
        url: &str,
        connect: &ConnectOptions,
        options: &Options,
        memory: &Memory,
    ) -> Result<Self> {
        if connect.transports.is_empty() {
            return Err(Error::option("transports", "the list is empty"));
        }
        let endpoint = Endpoint::parse(url, &connect.path, connect.trailing_slash).map_err(|e| match e {
            EndpointError::Url { url, reason } => Error::InvalidUrl { url, reason },
            EndpointError::Path { reason } => Error::option("path", reason),
        })?;
        if let Some(socket) = endpoint.socket() {
            check_socket(socket).map_err(|reason| Error::InvalidUrl { url: endpoint.to_string(), reason })?;
        }
        if endpoint.drops_path() && !memory.knows(endpoint.base()) {
            // The path itself may hold a secret, so it is not logged.
            let what = "the path of the URL is not used; `ConnectOptions::path` sets the path";
            options.logger.warn_user(format_args!("connecting to {endpoint}: {what}"));
        }
        let mut headers = connect.parsed_headers()?;
        if let Some((user, password)) = endpoint.credentials() {
            // A header of the user's own takes precedence over the URL.
            if !headers.plain.iter().any(|(name, _)| *name == AUTHORIZATION) {
                headers.plain.push((AUTHORIZATION, authorization::basic(user, password)));
            }
        }
        Ok(Plan {
            endpoint,
            headers,
            transports: connect.transports.clone(),
            options: options.clone(),
            memory: memory.clone(),
        })
    }

    fn connect_with(&self, attempt: &Attempt) -> Result<Connected> {
        let http = self.http(attempt)?;
        if self.starts_by_websocket() {
            log!(
                self.options.logger,
                Info,
                "connecting to {} by websocket, because the last connection was upgraded",
                self.endpoint
            );
            match self.websocket(&http) {
                Ok(connected) => return Ok(connected),
                Err(_) if attempt.is_cancelled() => return Err(Attempt::cancelled_error()),
                Err(failed) if !another_may_work(TransportKind::WebSocket, &failed) => {
                    return Err(failed.error);
                }
                Err(failed) => {
                    log!(
                        self.options.logger,
                        Warn,
                        "no connection by websocket, so polling is next: {}",
                        failed.error
                    );
                    let connected = self.by_transports(&http, attempt);
                    // An upgrade of this attempt does not count: the next attempt would fail first, too.
                    self.memory.upgraded.store(false, Ordering::Relaxed);
                    return connected;
                }
            }
        }
        self.by_transports(&http, attempt)
    }

    /// Adds the path of the Unix socket to an error that does not name it.
    fn at_socket(&self, mut error: Error) -> Error {
        let Some(socket) = self.endpoint.socket() else { return error };
        let socket = printable(socket.display().to_string());
        if let Error::Connection { message, .. } | Error::Protocol { message } = &mut error {
            if !message.contains(&socket) {
                message.push_str(&format!("; the server is at the Unix socket {socket}"));
            }
        }
        error
    }

    /// True if the last upgrade is remembered, and this connection could be upgraded too.
    fn starts_by_websocket(&self) -> bool {
        let polling_first = self.transports.first() == Some(&TransportKind::Polling);
        self.options.remember_upgrade
            && polling_first
            && self.transports.contains(&TransportKind::WebSocket)
            && self.memory.upgraded.load(Ordering::Relaxed)
    }

    /// The HTTP client of a connection, which `attempt` closes when it is cancelled.
    fn http(&self, attempt: &Attempt) -> Result<HttpClient> {
        let agent = self.options.agent.as_ref().map(AgentSource::agent).transpose()?;
        let routes = match self.endpoint.socket() {
            Some(_) => Routes::Direct,
            None => Routes::new(&self.options.proxy, agent.as_ref())?,
        };
        let socket = self.endpoint.socket().map(Arc::from);
        let base = self.endpoint.base();
        let settings = HttpSettings {
            tls: self.options.tls.clone(),
            proxy_tls: self.options.proxy_tls.clone(),
            timeout: self.options.request_timeout,
            headers: self.headers.clone(),
            routes,
            agent,
            answered: self.memory.answered.clone(),
            dial: DialSettings { socket, ..self.options.dial.clone() },
            zone: self.endpoint.zone().map(str::to_owned),
            logger: self.options.logger.clone(),
            known: self.memory.knows(base),
        };
        let http = HttpClient::new(settings, base)?;
        attempt.register(&http)?;
        if let Some(proxy) = http.proxy(base) {
            log!(self.options.logger, Info, "connecting through {proxy}");
        }
        Ok(http)
    }

    /// Connects by the first transport that works. If none does, returns the error of the first one.
    fn by_transports(&self, http: &HttpClient, attempt: &Attempt) -> Result<Connected> {
        let mut first = None;
        for (index, kind) in self.transports.iter().enumerate() {
            log!(self.options.logger, Info, "connecting to {} by {kind}", self.endpoint);
            let connected = match kind {
                // If a websocket has failed before, there is no upgrade to one.
                TransportKind::Polling => {
                    let upgrade = self.transports[index..].contains(&TransportKind::WebSocket);
                    self.polling(http, upgrade, attempt)
                }
                TransportKind::WebSocket => self.websocket(http),
            };
            match connected {
                Ok(connected) => return Ok(connected),
                Err(_) if attempt.is_cancelled() => return Err(Attempt::cancelled_error()),
                Err(failed) if !another_may_work(*kind, &failed) => return Err(first.unwrap_or(failed.error)),
                Err(failed) => {
                    log!(self.options.logger, Warn, "no connection by {kind}: {}", failed.error);
                    first.get_or_insert(failed.error);
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::option("transports", "the list is empty")))
    }

    fn polling(&self, http: &HttpClient, upgrade: bool, attempt: &Attempt) -> Result<Connected, HttpError> {
        let options = &self.options;
        // base64 makes a payload longer than its messages by a third.
        let body = options.max_message_size.saturating_add(options.max_message_size / 2);
        let (packets, place) = Polling::handshake(http, &self.endpoint, options.timestamp_requests, body)?;
        let endpoint = self.endpoint_at(&place);
        let (handshake, mut early) = opened(packets).map_err(|e| e.at(&place))?;
        let offered = handshake.upgrades().iter().any(|name| name == TransportKind::WebSocket.as_str());
        if upgrade && offered && !early.contains(&Packet::Close) {
            match self.upgrade(http, &endpoint, &handshake, &mut early) {
                Ok(transport) => {
                    self.memory.upgraded.store(true, Ordering::Relaxed);
                    return Ok(Connected { transport: Box::new(transport), handshake, early });
                }
                Err(_) if attempt.is_cancelled() => {
                    self.end_unused_session(http, &endpoint, handshake.sid());
                    return Err(HttpError::reached(Attempt::cancelled_error()));
                }
                Err(e) => {
                    log!(options.logger, Warn, "staying on polling, the upgrade to websocket failed: {e}");
                }
            }
        }
        let limits = PollingLimits {
            packets: options.packets_per_post,
            payload: handshake.max_payload(),
            body,
            message: options.max_message_size,
        };
        let transport =
            Polling::new(http.clone(), &endpoint, handshake.sid(), options.timestamp_requests, limits);
        Ok(Connected { transport: Box::new(transport), handshake, early })
    }

    /// The endpoint of a session whose handshake came from that place.
    fn endpoint_at(&self, place: &Place) -> Endpoint {
        match place.redirected {
            true => self.endpoint.moved_to(&place.url, self.options.timestamp_requests),
            false => self.endpoint.clone(),
        }
    }

    /// Ends a session that was opened by polling, and that the client does not use.
    fn end_unused_session(&self, http: &HttpClient, endpoint: &Endpoint, sid: &str) {
        let options = &self.options;
        if let Err(e) = Polling::end_unused_session(http, endpoint, sid, options.timestamp_requests) {
            log!(options.logger, Debug, "the server was not told that its session is over: {}", e.error);
        }
    }

    fn websocket(&self, http: &HttpClient) -> Result<Connected, HttpError> {
        let (transport, place) = self.open_websocket(http, &self.endpoint, None)?;
        let mut packets = VecDeque::new();
        let deadline = Instant::now() + self.options.request_timeout;
        let received = transport.recv_by(&mut packets, deadline);
        received.map_err(|e| HttpError::reached(no_answer(e)).at(&place))?;
        let (handshake, early) = opened(packets).map_err(|e| e.at(&place))?;
        if handshake.may_be_version_3() {
            self.refuse_version_3(http)?;
        }
        Ok(Connected { transport: Box::new(transport), handshake, early })
    }

    /// Asks a server by polling whether it speaks Engine.IO v3, whose open packet by websocket is the same. A
    /// session of v3 would end when the server misses the client's pings.
    fn refuse_version_3(&self, http: &HttpClient) -> Result<(), HttpError> {
        let options = &self.options;
        let timestamps = options.timestamp_requests;
        match Polling::handshake(http, &self.endpoint, timestamps, options.max_message_size) {
            Err(Refusal::Version3) => Err(Refusal::Version3.into()),
            // The server need not support polling.
            Err(Refusal::Http(_)) => Ok(()),
            Ok((packets, place)) => {
                if let Ok((handshake, _)) = opened(packets) {
                    self.end_unused_session(http, &self.endpoint_at(&place), handshake.sid());
                }
                Ok(())
            }
        }
    }

    fn open_websocket(
        &self,
        http: &HttpClient,
        endpoint: &Endpoint,
        sid: Option<&str>,
    ) -> Result<(WebSocket, Place), HttpError> {
        let options = &self.options;
        WebSocket::open(http, endpoint, sid, options.timestamp_requests, &options.websocket)
    }

    /// Moves the session to a websocket. No poll is in flight meanwhile, so no packet can be lost or doubled.
    fn upgrade(
        &self,
        http: &HttpClient,
        endpoint: &Endpoint,
        handshake: &Handshake,
        early: &mut VecDeque<Packet>,
    ) -> Result<WebSocket> {
        let opened = self.open_websocket(http, endpoint, Some(handshake.sid()));
        let (websocket, place) = opened.map_err(|e| e.error)?;
        let upgraded = self.probe(&websocket, early);
        match upgraded {
            Ok(()) => Ok(websocket),
            Err(e) => {
                // While a probe is open, some servers answer every poll at once and with nothing.
                websocket.close();
                Err(place.named_in(e))
            }
        }
    }

    /// Probes the new websocket, and tells the server that the session has moved to it.
    fn probe(&self, websocket: &WebSocket, early: &mut VecDeque<Packet>) -> Result<()> {
        let deadline = Instant::now() + self.options.request_timeout;
        let send = |packet| {
            websocket.send(&mut VecDeque::from([packet]), &mut Vec::new(), &Unwatched).map_err(no_answer)
        };
        send(Packet::Ping("probe".into()))?;
        let mut packets = VecDeque::new();
        websocket.recv_by(&mut packets, deadline).map_err(no_answer)?;
        if packets.pop_front() != Some(Packet::Pong("probe".into())) {
            return Err(Error::protocol("the probe was not answered with a pong"));
        }
        send(Packet::Upgrade)?;
        early.append(&mut packets);
        Ok(())
    }
}

impl Way for Plan {
    fn connect(&self, attempt: &Attempt) -> Result<Connected> {
        let connected = self.connect_with(attempt).map_err(|e| {
            let e = self.at_socket(e);
            if self.endpoint.drops_path() { about_path(e) } else { e }
        })?;
        *lock(&self.memory.connected_to) = Some(self.endpoint.base().clone());
        Ok(connected)
    }
}

/// Says that the path of the URL is not used, if the server does not know the path that is.
fn about_path(mut error: Error) -> Error {
    if let Error::Connection { status: Some(404), message, .. } = &mut error {
        message.push_str("; the path of the URL is not used");
    }
    error
}

/// True if another transport may work after this failure. It cannot if the server is unreachable or does not
/// answer a poll. A websocket alone may get no answer, from a proxy that does not support it, or no tunnel,
/// from a proxy that forwards polls.
fn another_may_work(kind: TransportKind, failed: &HttpError) -> bool {
    // A status without the server is the proxy's. With 407 it wants other credentials, for polls as well.
    let no_tunnel = matches!(failed.error, Error::Connection { status: Some(status), .. } if status != 407);
    match kind {
        TransportKind::Polling => failed.reached && !failed.error.is_timeout(),
        TransportKind::WebSocket => failed.reached || no_tunnel,
    }
}

/// Reads the handshake in the first packet. Returns it with the other packets.
fn opened(mut packets: VecDeque<Packet>) -> Result<(Handshake, VecDeque<Packet>), HttpError> {
    let handshake = match packets.pop_front() {
        Some(Packet::Open(json)) => Handshake::parse(&json).map_err(|e| e.to_string()),
        Some(packet) => Err(format!("the first packet is {}, not open", packet.kind_name())),
        None => Err("the answer is empty".into()),
    };
    match handshake {
        Ok(handshake) => Ok((handshake, packets)),
        Err(what) => Err(HttpError::reached(Error::connection(format!("invalid handshake: {what}")))),
    }
}

/// A receiver of progress reports for the upgrade's probe. It ignores them.
struct Unwatched;

impl Progress for Unwatched {
    fn written(&self, _: Written) {}

    fn urgent(&self) -> Option<Packet> {
        None
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

fn no_answer(error: TransportError) -> Error {
    match error {
        TransportError::Silent => Error::Timeout {
            what: "waiting for the server's first packet over websocket (is it an Engine.IO server?)",
        },
        TransportError::ClosedByServer(error)
        | TransportError::Failed(error)
        | TransportError::Unwritable { error, .. } => error,
        TransportError::Closed => Attempt::cancelled_error(),
    }
}
