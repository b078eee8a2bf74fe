//! The opening of a websocket: the request, and the checks of its answer.

use parking_lot::Mutex;
use tungstenite::WebSocket as Socket;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tungstenite::protocol::{Role, WebSocketConfig};

use super::WebSocket;
use super::frames::Frames;
use crate::error::{Error, Result};
use crate::net::{HttpClient, HttpError, ReadAhead};
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
    pub(crate) max_frame: usize,
    /// The size of the read buffer, which is allocated for the life of the connection.
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

impl WebSocket {
    /// Opens a websocket: for a new session, or as the second connection of session `sid` for the upgrade.
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
            // A text frame starts with the packet's type, which takes one byte. A binary message that is one
            // byte too long is refused later, in `Frames::packet`.
            .max_frame_size(Some(settings.max_frame.saturating_add(1)))
            .max_message_size(Some(settings.max_message.saturating_add(1)));
        let tcp = upgraded.stream.socket().tcp().clone();
        let stream = ReadAhead::new(upgraded.stream);
        let socket = Socket::from_partially_read(stream, upgraded.early, Role::Client, Some(config));
        let frames = Mutex::new(Frames::new(socket, settings.max_message, settings.write_buffer));
        Ok(WebSocket { tcp, frames, activity: upgraded.activity })
    }
}

/// Checks the server's 101 answer (RFC 6455, section 4.1).
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
