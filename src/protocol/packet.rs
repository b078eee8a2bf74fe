use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use bytes::Bytes;

use crate::session_id::without_session_ids;

/// The mark in front of a binary message in base64.
pub(super) const BINARY: char = 'b';

/// The unit of the protocol: one websocket frame, or one element of a polling payload, carries one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// The server's first packet, which carries the handshake as JSON.
    Open(String),
    Close,
    Ping(String),
    Pong(String),
    /// A text message, type `4`. An empty text is a message too.
    Text(String),
    /// A binary message. It has no type digit: it is a binary frame by websocket, and `b` with base64 in a
    /// payload.
    Binary(Bytes),
    Upgrade,
    Noop,
}

/// The text for a server of another version.
pub(crate) const VERSION_3: &str = "the server speaks Engine.IO v3, and this client only speaks v4";

/// The server's data is not Engine.IO v4.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("empty packet")]
    Empty,
    #[error("unknown packet type {kind:?}{}", if *.html { "; the data looks like HTML" } else { "" })]
    UnknownType {
        /// The first character of the packet. Nothing more of a packet is in an error, as it may be
        /// confidential.
        kind: char,
        html: bool,
    },
    #[error("bad base64 in a packet of {length} bytes")]
    Base64 { length: usize, source: base64::DecodeError },
    #[error("payload is not UTF-8 from byte {} on", .0.valid_up_to())]
    Utf8(#[source] std::str::Utf8Error),
    #[error("{VERSION_3}")]
    Version3,
}

impl Packet {
    /// Decodes a websocket text frame, or an element of a payload. A binary message in base64 may stand in
    /// both: other clients take it from a websocket too.
    ///
    /// Data behind a type without data (`1`, `5`, `6`) is ignored, as other clients do.
    pub(crate) fn decode_text(text: &str) -> Result<Packet, DecodeError> {
        let mut chars = text.chars();
        let kind = chars.next().ok_or(DecodeError::Empty)?;
        let data = chars.as_str();
        Ok(match kind {
            '0' => Packet::Open(data.into()),
            '1' => Packet::Close,
            '2' => Packet::Ping(data.into()),
            '3' => Packet::Pong(data.into()),
            '4' => Packet::Text(data.into()),
            '5' => Packet::Upgrade,
            '6' => Packet::Noop,
            BINARY => Packet::Binary(decode_base64(text, data)?),
            _ if is_version_3(text.as_bytes()) => return Err(DecodeError::Version3),
            _ => return Err(DecodeError::UnknownType { kind, html: looks_like_html(text) }),
        })
    }

    /// Decodes like [`decode_text`](Self::decode_text), and keeps the memory of a long message.
    pub(crate) fn from_text(mut text: String) -> Result<Packet, DecodeError> {
        if !text.starts_with('4') {
            return Packet::decode_text(&text);
        }
        text.drain(..1);
        Ok(Packet::Text(text))
    }

    /// The payload of the packet's frame: the digit of the type, which a binary message does not have, and
    /// the data.
    #[inline]
    pub(crate) fn parts(&self) -> (Option<u8>, &[u8]) {
        match self {
            Packet::Binary(bytes) => (None, bytes),
            other => (Some(other.digit() as u8), other.data().as_bytes()),
        }
    }

    /// The size of the payload of the packet's frame, in bytes.
    #[inline]
    pub(crate) fn frame_len(&self) -> usize {
        match self {
            Packet::Binary(bytes) => bytes.len(),
            other => 1 + other.data().len(),
        }
    }

    /// The size as an element of a payload, in bytes, without the separator.
    pub(crate) fn payload_len(&self) -> usize {
        match self {
            Packet::Binary(bytes) => binary_text_len(bytes.len()),
            other => other.frame_len(),
        }
    }

    /// The memory that the packet takes, in bytes.
    #[inline]
    pub(crate) fn memory(&self) -> usize {
        size_of::<Packet>() + self.frame_len()
    }

    /// True for the user's messages, text and binary, and false for the packets that keep a session going.
    #[inline]
    pub(crate) fn is_message(&self) -> bool {
        matches!(self, Packet::Text(_) | Packet::Binary(_))
    }

    /// Returns the bytes of a binary message. Their drop may run user code, because a `Bytes` can have an
    /// owner of any type.
    pub(crate) fn into_binary(self) -> Option<Bytes> {
        match self {
            Packet::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The protocol's name of the type, for the log.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Packet::Open(_) => "open",
            Packet::Close => "close",
            Packet::Ping(_) => "ping",
            Packet::Pong(_) => "pong",
            Packet::Text(_) | Packet::Binary(_) => "message",
            Packet::Upgrade => "upgrade",
            Packet::Noop => "noop",
        }
    }

    /// The digit of the type on the wire. Only a binary message is sent without it.
    pub(super) fn digit(&self) -> char {
        match self {
            Packet::Open(_) => '0',
            Packet::Close => '1',
            Packet::Ping(_) => '2',
            Packet::Pong(_) => '3',
            Packet::Text(_) | Packet::Binary(_) => '4',
            Packet::Upgrade => '5',
            Packet::Noop => '6',
        }
    }

    /// The text behind the digit. It is empty for a binary message.
    pub(super) fn data(&self) -> &str {
        match self {
            Packet::Open(data) | Packet::Ping(data) | Packet::Pong(data) | Packet::Text(data) => data,
            Packet::Close | Packet::Binary(_) | Packet::Upgrade | Packet::Noop => "",
        }
    }
}

/// True for the handshake of Engine.IO v3. Its text form is `<length>:0{...}`. In its binary form the length
/// is a zero byte, the digits as bytes, and 0xff.
///
/// The text form may look like v4: `118:0{...}` is a close packet with data, and `45:0{...}` is a message.
/// The result is true only if the length is right and the packet is a handshake.
pub(super) fn is_version_3(body: &[u8]) -> bool {
    if let [0, framed @ ..] = body {
        let digits = framed.iter().take_while(|byte| **byte < 10).count();
        return digits > 0 && framed.get(digits) == Some(&0xff);
    }
    let Some(colon) = body.iter().take(8).position(|byte| *byte == b':') else { return false };
    let (length, rest) = (&body[..colon], &body[colon + 1..]);
    let length = std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
    let Some(packet) = length.and_then(|length: usize| rest.get(..length)) else { return false };
    packet.starts_with(b"0{") && packet.ends_with(b"}") && packet.windows(5).any(|key| key == b"\"sid\"")
}

/// Decodes a binary message. The padding is optional, because some servers leave it out.
fn decode_base64(text: &str, data: &str) -> Result<Bytes, DecodeError> {
    let decoded = STANDARD_PAD_INDIFFERENT.decode(data);
    decoded.map(Bytes::from).map_err(|source| DecodeError::Base64 { length: text.len(), source })
}

/// The length of a binary message of `size` bytes as text, in bytes.
pub(crate) fn binary_text_len(size: usize) -> usize {
    // Base64 is padded to a multiple of four.
    size.div_ceil(3).saturating_mul(4).saturating_add(1)
}

/// True for the beginning of a page, which a proxy or another server may send in place of packets.
pub(super) fn looks_like_html(text: &str) -> bool {
    let tag = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').strip_prefix('<');
    tag.is_some_and(|tag| tag.starts_with(|c: char| c.is_ascii_alphabetic() || c == '!'))
}

/// The beginning of a text for an error, escaped, because the text may be of any length and contain anything.
pub(super) fn excerpt(text: &str) -> String {
    const MAX: usize = 32;
    let mut shown = String::new();
    let start: String = text.chars().take(8 * MAX).collect();
    for c in without_session_ids(&start).chars() {
        let escaped = c.escape_debug();
        if shown.chars().count() + escaped.len() > MAX {
            shown.push_str("...");
            break;
        }
        shown.extend(escaped);
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The payload of the packet's frame, as text.
    fn text(packet: &Packet) -> String {
        let (digit, data) = packet.parts();
        String::from_utf8(digit.into_iter().chain(data.iter().copied()).collect()).unwrap()
    }

    #[test]
    fn text_forms() {
        let table = [
            ("0{}", Packet::Open("{}".into()), "open"),
            ("1", Packet::Close, "close"),
            ("2", Packet::Ping("".into()), "ping"),
            ("2probe", Packet::Ping("probe".into()), "ping"),
            ("3probe", Packet::Pong("probe".into()), "pong"),
            ("4", Packet::Text("".into()), "message"),
            ("4héllo", Packet::Text("héllo".into()), "message"),
            // In a frame the separator is a character like any other.
            ("4a\u{1e}4b", Packet::Text("a\u{1e}4b".into()), "message"),
            ("5", Packet::Upgrade, "upgrade"),
            ("6", Packet::Noop, "noop"),
        ];
        for (wire, packet, name) in table {
            assert_eq!(Packet::decode_text(wire), Ok(packet.clone()));
            assert_eq!(packet.kind_name(), name);
            assert_eq!(packet.frame_len(), wire.len());
            assert_eq!(packet.payload_len(), wire.len());
            assert_eq!(text(&packet), wire);
            assert_eq!(Packet::from_text(wire.into()), Ok(packet));
        }
    }

    #[test]
    fn data_after_a_type_without_data_is_ignored() {
        for (wire, packet) in [("1x", Packet::Close), ("5probe", Packet::Upgrade), ("6x", Packet::Noop)] {
            assert_eq!(Packet::decode_text(wire), Ok(packet));
        }
    }

    #[test]
    fn malformed_packets() {
        let table = [
            ("", "empty packet"),
            ("7", "unknown packet type '7'"),
            ("9:0", "unknown packet type '9'"),
            ("bA", "bad base64 in a packet of 2 bytes"),
            ("béAA", "bad base64 in a packet of 5 bytes"),
            (" 4a", "unknown packet type ' '"),
            ("\n\"\u{1e}", r"unknown packet type '\n'"),
            ("\u{202e}", r"unknown packet type '\u{202e}'"),
            ("٤", "unknown packet type '٤'"),
            ("<3", "unknown packet type '<'"),
            ("<html><body>404</body></html>", "unknown packet type '<'; the data looks like HTML"),
            ("\u{feff}\r\n<!DOCTYPE html>", r"unknown packet type '\u{feff}'; the data looks like HTML"),
        ];
        for (wire, message) in table {
            assert_eq!(Packet::decode_text(wire).map_err(|e| e.to_string()), Err(message.into()));
        }
    }

    #[test]
    fn an_excerpt_hides_a_session_id() {
        assert_eq!(excerpt(r#"{"sid":"secret"}"#), r#"{\"sid\":\"***\"}"#);
        let long = excerpt(&"sid:".repeat(1_000_000));
        assert!(long.len() < 40, "{long}");
    }

    #[test]
    fn an_excerpt_never_cuts_an_escape() {
        let shown = excerpt(&"\u{1}".repeat(100));
        assert_eq!(shown, r"\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}...");
        assert_eq!(excerpt(&"é".repeat(32)), "é".repeat(32));
        assert_eq!(excerpt(&"é".repeat(33)), format!("{}...", "é".repeat(32)));
    }

    #[test]
    fn binary_messages_as_text() {
        let table: [(&str, &[u8]); 5] =
            [("b", b""), ("bAQID", &[1, 2, 3]), ("bAQ==", &[1]), ("bAQ", &[1]), ("b//79", &[255, 254, 253])];
        for (wire, bytes) in table {
            let packet = Packet::Binary(Bytes::from_static(bytes));
            assert_eq!(Packet::decode_text(wire), Ok(packet.clone()));
            assert_eq!(Packet::from_text(wire.into()), Ok(packet.clone()));
            assert_eq!(packet.parts(), (None, bytes));
        }
        assert_eq!([0, 1, 3, 4, usize::MAX].map(binary_text_len), [1, 5, 5, 9, usize::MAX]);
    }

    proptest! {
        #[test]
        fn any_text_is_decoded_or_refused(wire in any::<String>(), digit in "[0-9]?") {
            let wire = digit + &wire;
            if let Ok(packet) = Packet::decode_text(&wire) {
                let has_data = !matches!(packet, Packet::Close | Packet::Upgrade | Packet::Noop);
                let expected = if has_data { wire.as_str() } else { &wire[..1] };
                if !matches!(packet, Packet::Binary(_)) {
                    prop_assert_eq!(text(&packet), expected);
                }
                prop_assert_eq!(Packet::from_text(wire.clone()), Ok(packet));
            }
        }
    }
}
