//! The options of the websocket transport.

use ureq::http::header::{HeaderValue, PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

use super::Compression;
use super::headers::{header_names, parse_headers};
use crate::error::{Error, Result};
use crate::net::is_token;
use crate::transport::WebSocketSettings;

/// The largest size of a buffer, in bytes. Buffers are allocated for each connection.
const LARGEST_BUFFER: usize = 1 << 30;

/// Options of the websocket transport, for
/// [`ClientBuilder::websocket_options`](crate::ClientBuilder::websocket_options).
///
/// # Examples
///
/// ```
/// use engineio::{Client, WebSocketOptions};
///
/// let options = WebSocketOptions::new()
///     .origin("https://example.org")
///     .max_message_size(1 << 20);
/// let client = Client::builder().websocket_options(options).build()?;
/// # Ok::<(), engineio::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "options do nothing before they are given to a builder"]
pub struct WebSocketOptions {
    headers: Vec<(String, String)>,
    subprotocols: Vec<String>,
    max_message_size: Option<usize>,
    max_frame_size: Option<usize>,
    read_buffer_size: Option<usize>,
    write_buffer_size: Option<usize>,
    compression: Option<Compression>,
}

impl WebSocketOptions {
    /// Makes options with the default values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header to the opening request of the websocket only. Default: none.
    ///
    /// The header replaces a header of the same name that comes from
    /// [`ConnectOptions::header`](crate::ConnectOptions::header), from the URL's credentials or from the
    /// client itself. Several of the added headers may have the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the `Origin` header of the opening request. Default: none, because the client is not a web page.
    pub fn origin(self, origin: impl Into<String>) -> Self {
        self.header("Origin", origin)
    }

    /// Sets the subprotocols to offer, the preferred one first (RFC 6455, section 1.9). Default: none.
    ///
    /// The server may choose one of them or none. If it chooses a subprotocol that was not offered, the
    /// websocket is not used. A name consists of letters, digits and the characters ``!#$%&'*+-.^_`|~``. A
    /// name with other characters, or one that occurs twice, is refused when the client is built.
    pub fn subprotocols<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the size limit of a received message, in bytes. A larger message ends the connection. Default:
    /// [`ClientBuilder::max_message_size`](crate::ClientBuilder::max_message_size).
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = Some(bytes);
        self
    }

    /// Sets the size limit of a received frame, in bytes. A larger frame ends the connection, even if it is a
    /// whole message. Default: none, so only the limit of a message applies.
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.max_frame_size = Some(bytes);
        self
    }

    /// Sets the size of the buffer for reading from the socket, in bytes. If it is smaller than 64 KiB, the
    /// buffer grows up to that size while much data arrives, and shrinks step by step while less arrives.
    /// Default: 4 KiB; 256 bytes at least.
    pub fn read_buffer_size(mut self, bytes: usize) -> Self {
        self.read_buffer_size = Some(bytes);
        self
    }

    /// Sets the number of bytes that are collected from queued messages before they are written to the socket
    /// at once. Default: 128 KiB.
    pub fn write_buffer_size(mut self, bytes: usize) -> Self {
        self.write_buffer_size = Some(bytes);
        self
    }

    /// Offers the server to compress messages with permessage-deflate (RFC 7692). Default: no compression.
    ///
    /// The size limit of a received message applies to its size after decompression, and decompression stops
    /// where a message exceeds the limit. [`Stats`](crate::Stats) counts the uncompressed bytes of messages.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Compression, WebSocketOptions};
    ///
    /// let options = WebSocketOptions::new().compression(Compression::new());
    /// let client = Client::builder().websocket_options(options).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Checks the options and adds the client's defaults.
    pub(crate) fn settings(&self, max_message_size: usize) -> Result<WebSocketSettings> {
        const OPTION: &str = "websocket_options";
        let mut headers = parse_headers(OPTION, &self.headers)?;
        if !headers.cookies.is_empty() {
            return Err(Error::option(OPTION, "cookies belong in ConnectOptions::header"));
        }
        if headers.plain.iter().any(|(name, _)| *name == PROXY_AUTHORIZATION) {
            return Err(Error::option(OPTION, "Proxy-Authorization belongs in ConnectOptions::header"));
        }
        let sizes =
            [self.max_message_size, self.max_frame_size, self.read_buffer_size, self.write_buffer_size];
        if sizes.contains(&Some(0)) {
            return Err(Error::option(OPTION, "sizes must be above zero"));
        }
        if self.read_buffer_size.max(self.write_buffer_size) > Some(LARGEST_BUFFER) {
            return Err(Error::option(OPTION, format!("a buffer may have at most {LARGEST_BUFFER} bytes")));
        }
        check_subprotocols(&self.subprotocols).map_err(|what| Error::option(OPTION, what))?;
        if !self.subprotocols.is_empty() {
            headers.plain.push((SEC_WEBSOCKET_PROTOCOL, secret(&self.subprotocols.join(", "))?));
        }
        let compression =
            self.compression.as_ref().map(|compression| compression.settings(OPTION)).transpose()?;
        let defaults = WebSocketSettings::default();
        let max_message = self.max_message_size.unwrap_or(max_message_size);
        Ok(WebSocketSettings {
            headers: headers.plain,
            subprotocols: self.subprotocols.iter().map(|name| secret(name)).collect::<Result<_>>()?,
            max_message,
            max_frame: self.max_frame_size,
            read_buffer: self.read_buffer_size.unwrap_or(defaults.read_buffer),
            write_buffer: self.write_buffer_size.unwrap_or(defaults.write_buffer),
            compression,
        })
    }
}

/// Makes a header value that is hidden in `Debug` output, because some servers take a token as a subprotocol.
fn secret(value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| Error::option("websocket_options", "a subprotocol has an invalid name"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Checks the names (RFC 6455, section 4.1). The error does not show a name, because it may be a token.
fn check_subprotocols(names: &[String]) -> Result<(), &'static str> {
    if names.iter().any(String::is_empty) {
        return Err("a subprotocol has no name");
    }
    if !names.iter().all(|name| name.chars().all(is_token)) {
        return Err(
            "a subprotocol's name has a character that is not allowed in a token (RFC 9110, section 5.6.2), \
             such as a space or a comma; pass each name separately",
        );
    }
    if names.iter().enumerate().any(|(index, name)| names[..index].contains(name)) {
        return Err("a subprotocol is given twice");
    }
    Ok(())
}

/// Only the names of the headers and the number of subprotocols are shown, because the rest may be secret.
impl std::fmt::Debug for WebSocketOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketOptions")
            .field("headers", &header_names(&self.headers))
            .field("subprotocols", &self.subprotocols.len())
            .field("max_message_size", &self.max_message_size)
            .field("max_frame_size", &self.max_frame_size)
            .field("read_buffer_size", &self.read_buffer_size)
            .field("write_buffer_size", &self.write_buffer_size)
            .field("compression", &self.compression)
            .finish()
    }
}
