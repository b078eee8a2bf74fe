//! Targets for a fuzzer, one for each part that reads foreign bytes. The package in `tests/fuzz` runs them,
//! and the test below replays its corpus. A target panics if a promise is broken.

use std::collections::VecDeque;

use serde_json::Value;

use crate::error::Error;
use crate::json::Json;
use crate::message::Message;
use crate::options::ConnectOptions;
use crate::protocol::payload::{self, Payload, SEPARATOR};
use crate::protocol::{Endpoint, Handshake, Packet};
use crate::transport::TransportKind;

pub use crate::net::fuzz::{body, cookies, pem, proxy, redirects, tunnel};
pub use crate::transport::fuzz::deflate;

/// Stands for a password in the inputs. No error and no `Debug` may show it.
pub(crate) const SECRET: &str = "S3CR3T";

/// The longest text of an error.
const LONGEST: usize = 1200;

/// The body of a poll's answer, and websocket frames.
pub fn codec(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        match Packet::decode_text(text) {
            Ok(packet) => frame(text, packet),
            Err(e) => shown(&Error::protocol(e.to_string())),
        }
    }
    let Ok(payload) = Payload::new(data.to_vec()) else { return };
    let mut packets = VecDeque::new();
    for packet in payload {
        match packet {
            Ok(packet) => packets.push_back(packet),
            Err(e) => return shown(&Error::protocol(e.to_string())),
        }
    }
    let separators = data.iter().filter(|byte| **byte == SEPARATOR as u8).count();
    assert_eq!(packets.len(), if data.is_empty() { 0 } else { separators + 1 });
    let memory: usize = packets.iter().map(Packet::frame_len).sum();
    assert!(memory <= data.len());
    for limit in [usize::MAX, data.len() / 3] {
        parts(&packets, limit);
    }
}

/// A packet that was decoded from a frame becomes that frame again.
fn frame(text: &str, packet: Packet) {
    assert!(packet.frame_len() <= text.len());
    match packet.parts() {
        (Some(digit), data) => assert!(text.as_bytes().starts_with(&[&[digit][..], data].concat())),
        (None, data) => assert!(text.starts_with('b') && data.len() < text.len()),
    }
    assert_eq!(Packet::from_text(text.to_owned()), Ok(packet));
}

/// Bodies of at most `limit` bytes hold all packets, in order.
fn parts(packets: &VecDeque<Packet>, limit: usize) {
    let (mut rest, mut arrived) = (packets.clone(), VecDeque::new());
    while !rest.is_empty() {
        let (body, count) = payload::encode(&rest, 16, Some(limit));
        assert!((1..=16).contains(&count) && (count == 1 || body.len() <= limit));
        arrived.extend(Payload::new(body).expect("v4").map(|packet| packet.expect("a packet")));
        rest.drain(..count);
    }
    assert_eq!(&arrived, packets);
}

/// The data of the open packet.
pub fn handshake(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Handshake::parse(text) {
        Ok(handshake) => {
            let sid = handshake.sid();
            assert!(!sid.is_empty() && !sid.contains(char::is_control));
            assert!(!handshake.ping_interval().is_zero());
            let longest = handshake.ping_interval() + handshake.ping_timeout();
            assert!(std::time::Instant::now().checked_add(longest).is_some());
            assert_ne!(handshake.max_payload(), Some(0));
        }
        Err(e) => shown(&Error::connection(e.to_string())),
    }
}

/// A text that is decoded on request.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match (Json { codec: None, decode: true }).message(text.to_owned()) {
        Message::Json(value) => assert_eq!(serde_json::from_str::<Value>(text).ok(), Some(value)),
        Message::Text(same) => assert_eq!(same, text),
        Message::Binary(_) => panic!("a text became binary"),
    }
    if let Err(e) = Message::from(text).json::<bool>() {
        shown(&e);
    }
}

/// A URL, a path and a session id, one a line.
pub fn endpoint(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (url, path, sid) = (line(), line(), line());
    // The scheme, the host and the path, without credentials, query and fragment.
    let place = url.rsplit('@').next().and_then(|rest| rest.split(['?', '#']).next());
    let public = [url.split("://").next(), place].map(Option::unwrap_or_default).concat();
    match Endpoint::parse(url, path, true) {
        Ok(endpoint) => {
            // The path of a Unix socket is shown.
            if endpoint.socket().is_none() {
                secret(&format!("{endpoint} {endpoint:?}"), path);
            }
            let request = endpoint.request_url("polling", Some(sid), None);
            assert!(request.as_str().parse::<ureq::http::Uri>().is_ok(), "{request}");
            assert_eq!(url::Url::parse(request.as_str()).as_ref(), Ok(&request));
            assert!(request.username().is_empty() && request.password().is_none(), "{request}");
            let (name, value) = request.query_pairs().last().expect("a query");
            assert_eq!((&*name, &*value), ("sid", sid));
        }
        Err(e) => secret(&format!("{e} {e:?}"), &public),
    }
}

/// A header's name and value, one a line, as the user may set it.
pub fn headers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (name, value) = text.split_once('\n').unwrap_or(("Cookie", &text));
    let options = ConnectOptions::new().header(name, value);
    secret(&format!("{options:?}"), name);
    if let Err(e) = options.parsed_headers() {
        secret(&format!("{e} {e:?}"), name);
    }
    let _ = value.parse::<TransportKind>();
}

/// Asserts that a text does not show the secret, unless it stands in the part that may be shown.
pub(crate) fn secret(text: &str, public: &str) {
    assert!(!text.contains(SECRET) || public.contains(SECRET), "{text}");
}

/// Asserts that an error may be shown.
pub(crate) fn shown(error: &Error) {
    let text = format!("{error}{error:?}");
    assert!(!text.contains(|c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{text:?}");
    assert!(text.len() <= 2 * LONGEST, "{text}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    type Target = fn(&[u8]);

    #[test]
    fn the_corpus_holds() {
        let targets: [(&str, Target); 12] = [
            ("codec", super::codec),
            ("handshake", super::handshake),
            ("json", super::json),
            ("endpoint", super::endpoint),
            ("headers", super::headers),
            ("pem", super::pem),
            ("proxy", super::proxy),
            ("tunnel", super::tunnel),
            ("deflate", super::deflate),
            ("redirects", super::redirects),
            ("cookies", super::cookies),
            ("body", super::body),
        ];
        for (name, target) in targets {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
            let inputs = fs::read_dir(&corpus).unwrap_or_else(|e| panic!("{}: {e}", corpus.display()));
            let mut count = 0;
            for input in inputs {
                let path = input.unwrap().path();
                println!("{}", path.display());
                target(&fs::read(path).unwrap());
                count += 1;
            }
            assert!(count > 10, "{name} has {count} inputs");
        }
    }
}
