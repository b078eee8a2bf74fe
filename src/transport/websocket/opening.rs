//! The opening of a websocket: the request, and the checks of its answer.

use parking_lot::Mutex;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::WebSocket;
use super::deflate::Inflater;
use super::extension::{self, CompressionSettings};
use super::frames::Frames;
use super::input::Input;
use super::reader::{Limits, Reader};
use super::writer::{Compressor, Writer};
use crate::error::{Error, Result};
use crate::net::{HttpClient, HttpError, Place};
use crate::protocol::Endpoint;
use crate::transport::{TransportKind, timestamp};

/// The settings of a websocket. Sizes are in bytes.
#[derive(Debug, Clone)]
pub(crate) struct WebSocketSettings {
    /// The headers of the opening request alone.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The subprotocols that `headers` offers. They are hidden in `Debug` output, because some servers take a
    /// token as a subprotocol.
    pub(crate) subprotocols: Vec<HeaderValue>,
    pub(crate) max_message: usize,
    /// `None` if only the limit of a message holds.
    pub(crate) max_frame: Option<usize>,
    /// The size of the read buffer while little data arrives.
    pub(crate) read_buffer: usize,
    pub(crate) write_buffer: usize,
    /// `None` if messages are not compressed.
    pub(crate) compression: Option<CompressionSettings>,
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        WebSocketSettings {
            headers: Vec::new(),
            subprotocols: Vec::new(),
            max_message: 64 << 20,
            max_frame: None,
            read_buffer: 4 * 1024,
            write_buffer: 128 * 1024,
            compression: None,
        }
    }
}

impl WebSocket {
    /// Opens a websocket: for a new session, or as the second connection of session `sid` for the upgrade.
    /// Returns it with the place where it was opened.
    pub(crate) fn open(
        http: &HttpClient,
        endpoint: &Endpoint,
        sid: Option<&str>,
        timestamps: bool,
        settings: &WebSocketSettings,
    ) -> Result<(Self, Place), HttpError> {
        let stamp = timestamps.then(timestamp);
        let url = endpoint.request_url(TransportKind::WebSocket.as_str(), sid, stamp.as_deref());
        let key = generate_key();
        let extensions = settings.compression.as_ref().map(CompressionSettings::offer);
        // Polling may have used a connection before. npm's engine.io closes a new connection that asks for a
        // wrong path, but does not answer on one that was used before.
        let fresh = sid.is_none();
        let upgraded = http.upgrade(&url, fresh, &key, extensions, &settings.headers)?;
        let (compressor, inflater) = accepted(&upgraded.headers, &key, settings)
            .map_err(|e| HttpError::reached(e).at(&upgraded.place))?;
        let tcp = upgraded.stream.socket().tcp().clone();
        let input = Input::new(&upgraded.early, settings.read_buffer, !upgraded.stream.is_tls());
        let limits = Limits { message: settings.max_message, frame: settings.max_frame };
        let reader = Reader::new(input, limits, inflater);
        let writer = Writer::new(settings.write_buffer, compressor);
        let frames = Mutex::new(Frames::new(upgraded.stream, reader, writer));
        Ok((WebSocket { tcp, frames, activity: upgraded.activity }, upgraded.place))
    }
}

/// Checks the server's 101 answer, and returns the two ends of the compression if there is one.
fn accepted(
    headers: &HeaderMap,
    key: &str,
    settings: &WebSocketSettings,
) -> Result<(Option<Compressor>, Option<Inflater>)> {
    verify(headers, key, &settings.subprotocols)?;
    let offered = settings.compression.as_ref();
    let agreement = extension::agreed(headers, offered)?;
    Ok(match offered.zip(agreement) {
        Some((offered, agreement)) => {
            let (compressor, inflater) = offered.make(&agreement);
            (compressor, Some(inflater))
        }
        None => (None, None),
    })
}

/// Checks the server's 101 answer (RFC 6455, section 4.1).
fn verify(headers: &HeaderMap, key: &str, offered: &[HeaderValue]) -> Result<()> {
    let has = |name: header::HeaderName, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    let wrong = |what: &str| Error::connection(format!("not a websocket: the server's 101 response {what}"));
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err(wrong("does not switch to the websocket protocol"));
    }
    let accept = headers.get(header::SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes());
    if accept != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(wrong("has the wrong Sec-WebSocket-Accept"));
    }
    if let Some(chosen) = headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        if !offered.contains(chosen) {
            return Err(wrong("has a subprotocol that was not offered"));
        }
    }
    Ok(())
}
