//! The compression of websocket messages.

use crate::error::{Error, Result};
use crate::transport::CompressionSettings;

/// The options of permessage-deflate, the compression of websocket messages (RFC 7692), for
/// [`WebSocketOptions::compression`](crate::WebSocketOptions::compression).
///
/// The client offers the extension, and the server accepts or ignores the offer. If the server's answer does
/// not match the offer, the websocket is not used, and the error is [`Error::Protocol`].
///
/// Compression costs CPU time for each message, and memory for each connection. The memory is about 300 KiB
/// after the first sent message that is compressed, and about 50 KiB more after the first received one.
/// Compression pays off for texts of a kilobyte or more on a slow or metered line. Do not compress a secret
/// together with text that someone else chooses, because the compressed size reveals parts of the secret.
///
/// # Examples
///
/// ```
/// use engineio::{Client, Compression, WebSocketOptions};
///
/// let compression = Compression::new()
///     .threshold(4096)
///     .server_no_context_takeover(true);
/// let options = WebSocketOptions::new().compression(compression);
/// let client = Client::builder().websocket_options(options).build()?;
/// # Ok::<(), engineio::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing before they are given to `WebSocketOptions`"]
pub struct Compression(CompressionSettings);

impl Compression {
    /// Makes options with the default values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the smallest size, in bytes, of a sent message that is compressed. Default: 1024. The size of a
    /// text includes one byte for the type of its packet.
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.0.threshold = bytes;
        self
    }

    /// Sets the compression level, from 1 (fastest) to 9 (smallest result). Default: 6, as in zlib. Other
    /// values are refused when the client is built.
    pub fn level(mut self, level: u32) -> Self {
        self.0.level = level;
        self
    }

    /// Sets whether each sent message is compressed on its own, without references to earlier messages. This
    /// saves memory on the server, and makes messages longer. Default: false. The server can also demand
    /// this.
    pub fn client_no_context_takeover(mut self, yes: bool) -> Self {
        self.0.client_no_context_takeover = yes;
        self
    }

    /// Sets whether the server is asked to compress each message on its own. Default: false.
    pub fn server_no_context_takeover(mut self, yes: bool) -> Self {
        self.0.server_no_context_takeover = yes;
        self
    }

    /// Sets the largest window for sent messages, as a power of two: from 9 (512 bytes) to 15 (32 KiB).
    /// Default: 15. Other values are refused when the client is built. A smaller window takes less memory on
    /// both sides, and makes messages longer.
    ///
    /// The server may choose a smaller window. If it chooses 8, which zlib does not support, sent messages
    /// are not compressed.
    pub fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.0.client_max_window_bits = Some(bits);
        self
    }

    /// Asks the server for a window of at most this size for received messages, as a power of two from 8 to
    /// 15. Default: the server chooses. Other values are refused when the client is built. A server that
    /// cannot limit its window declines compression.
    pub fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.0.server_max_window_bits = Some(bits);
        self
    }

    pub(super) fn settings(&self, option: &'static str) -> Result<CompressionSettings> {
        let settings = self.0;
        if !(1..=9).contains(&settings.level) {
            return Err(Error::option(option, "the level of the compression must be from 1 to 9"));
        }
        if settings.client_max_window_bits.is_some_and(|bits| !(9..=15).contains(&bits)) {
            return Err(Error::option(option, "client_max_window_bits must be from 9 to 15"));
        }
        if settings.server_max_window_bits.is_some_and(|bits| !(8..=15).contains(&bits)) {
            return Err(Error::option(option, "server_max_window_bits must be from 8 to 15"));
        }
        Ok(settings)
    }
}
