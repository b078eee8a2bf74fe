//! permessage-deflate (RFC 7692) with a server that does it right, and with servers that do not.

use std::io;
use std::sync::Arc;

use engineio::TransportKind::WebSocket;
use engineio::{Client, Compression, Error, Message, Reason, WebSocketOptions};
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};

use common::scripted::{Exchange, OPEN, Scripted};
use common::{Lines, Watch, abort, in_full, only};

const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

/// Compresses a message as a server does.
fn compressed(compress: &mut Compress, payload: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(payload.len() + 1024);
    compress.compress_vec(payload, &mut output, FlushCompress::Sync).unwrap();
    assert!(output.ends_with(TAIL));
    output.truncate(output.len() - TAIL.len());
    output
}

fn fresh() -> Compress {
    Compress::new(flate2::Compression::new(6), false)
}

fn inflated(decompress: &mut Decompress, payload: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(10_000_000);
    let whole = [payload, TAIL].concat();
    decompress.decompress_vec(&whole, &mut output, FlushDecompress::Sync).unwrap();
    output
}

fn client(compression: Compression) -> Client {
    let options = WebSocketOptions::new().compression(compression).max_message_size(1_000_000);
    Client::builder().websocket_options(options).build().unwrap()
}

/// Starts a server that accepts the extension, with these parameters, and opens a session.
fn server(
    parameters: &'static str,
    script: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static,
) -> Scripted {
    Scripted::start(move |exchange| {
        let accepted = format!("Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n");
        exchange.accept_websocket_with(&accepted)?;
        exchange.ws_text(OPEN)?;
        script(exchange)
    })
}

fn connected(compression: Compression, server: &Scripted) -> (Client, Watch) {
    let client = client(compression);
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    watch.connected();
    (client, watch)
}

#[test]
fn the_offer_says_what_is_configured() {
    let table = [
        (Some(Compression::new()), Some("permessage-deflate; client_max_window_bits")),
        (
            Some(
                Compression::new()
                    .server_no_context_takeover(true)
                    .client_no_context_takeover(true)
                    .server_max_window_bits(9)
                    .client_max_window_bits(10),
            ),
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=9; client_max_window_bits=10",
            ),
        ),
        (None, None),
    ];
    for (compression, offer) in table {
        let server = Scripted::start(|exchange| {
            exchange.accept_websocket()?;
            exchange.ws_text(OPEN)?;
            // The server has not accepted the offer, so nothing is compressed.
            assert_eq!(exchange.ws_read_frame()?, (0x81, [b"4", "x".repeat(5000).as_bytes()].concat()));
            exchange.hold()
        });
        let client = compression.map_or_else(Client::new, client);
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        client.send("x".repeat(5000)).unwrap();
        client.flush(common::PATIENCE).unwrap();
        let requests = server.requests();
        assert_eq!(requests[0].header("sec-websocket-extensions").first().copied(), offer);
        abort(&client);
    }
}

#[test]
fn a_response_outside_of_the_offer_is_refused() {
    let table = [
        "x-other",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=15",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; \u{7}evil\u{1b}[31m",
    ];
    for response in table {
        let server = Scripted::start(move |exchange| {
            exchange.accept_websocket_with(&format!("Sec-WebSocket-Extensions: {response}\r\n"))?;
            exchange.ws_text(OPEN)?;
            exchange.hold()
        });
        let client = client(Compression::new().client_max_window_bits(14));
        let error = client.connect_with(server.url(), only(WebSocket)).unwrap_err();
        if !response.contains('\u{7}') {
            assert!(matches!(error, Error::Protocol { .. }), "{response}: {}", in_full(&error));
            assert!(error.to_string().contains("extension"), "{response}: {}", in_full(&error));
        }
        assert!(!in_full(&error).contains(['\u{7}', '\u{1b}']), "{}", in_full(&error));
    }
}

/// The offer is the client's own, and no header of the user's, which would stay behind.
#[test]
fn the_offer_follows_a_redirect_to_another_host() {
    let other = server("", |exchange| {
        exchange.ws_frame(0xc1, &compressed(&mut fresh(), b"4packed"))?;
        exchange.hold()
    });
    let to = format!("Location: {}/engine.io/\r\n", other.url());
    let first = Scripted::start(move |exchange| exchange.respond_with("307 Moved", &to, ""));
    let lines = Lines::default();
    let options = WebSocketOptions::new().compression(Compression::new());
    let client = Client::builder().websocket_options(options).logger(lines.clone()).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(first.url(), only(WebSocket)).unwrap();
    watch.connected();
    assert_eq!(watch.message(), Message::from("packed"));
    let offer = "permessage-deflate; client_max_window_bits";
    assert_eq!(other.requests()[0].header("sec-websocket-extensions"), [offer]);
    assert_eq!(lines.at(log::Level::Warn), [""; 0], "no header is left behind");
    abort(&client);
}

/// Both sides refer to earlier messages, and messages that are not compressed stand in between.
#[test]
fn the_context_is_taken_over() {
    let server = server("", |exchange| {
        let (mut compress, mut decompress) = (fresh(), Decompress::new(false));
        let mut sizes = Vec::new();
        for round in 0..3 {
            let (first, payload) = exchange.ws_read_frame()?;
            assert_eq!(first, 0xc1, "a whole compressed text");
            sizes.push(payload.len());
            let text = inflated(&mut decompress, &payload);
            exchange.ws_frame(0xc1, &compressed(&mut compress, &text))?;
            assert_eq!(exchange.ws_read_frame()?, (0x81, b"4small".to_vec()), "below the threshold");
            exchange.ws_text(&format!("4{round}"))?;
        }
        assert!(sizes[1] * 3 < sizes[0] && sizes[2] * 3 < sizes[0], "{sizes:?}");
        exchange.ws_closing()
    });
    let (client, watch) = connected(Compression::new(), &server);
    let random: String = (0..2000_u32).map(|i| char::from(b'a' + (i * i * 31 % 97 % 26) as u8)).collect();
    for round in 0..3 {
        client.send(random.clone()).unwrap();
        client.send("small").unwrap();
        assert_eq!(watch.message(), Message::from(random.clone()));
        assert_eq!(watch.message(), Message::from(round.to_string()));
    }
    client.disconnect().unwrap();
}

#[test]
fn contexts_are_forgotten_as_agreed() {
    let server = server("; server_no_context_takeover; client_no_context_takeover", |exchange| {
        for _ in 0..3 {
            let (first, payload) = exchange.ws_read_frame()?;
            assert_eq!(first, 0xc2);
            let bytes = inflated(&mut Decompress::new(false), &payload);
            exchange.ws_frame(0xc2, &compressed(&mut fresh(), &bytes))?;
        }
        exchange.ws_closing()
    });
    let (client, watch) = connected(Compression::new().threshold(0), &server);
    for round in 0..3 {
        let bytes = vec![round; 3000];
        client.send(bytes.clone()).unwrap();
        assert_eq!(watch.message(), Message::from(bytes));
    }
    client.disconnect().unwrap();
}

/// A long message is sent in fragments, and the server chooses the client's window.
#[test]
fn long_messages_and_small_windows() {
    for bits in [9, 12, 15] {
        let parameters = ["; client_max_window_bits=9", "; client_max_window_bits=12", ""][(bits - 9) / 3];
        let server = server(parameters, move |exchange| {
            let mut decompress = Decompress::new_with_window_bits(false, bits as u8);
            for _ in 0..3 {
                let (mut first, mut message) = exchange.ws_read_frame()?;
                assert_eq!(first & 0x7f, 0x42, "the first frame tells that the message is compressed");
                while first & 0x80 == 0 {
                    let (next, payload) = exchange.ws_read_frame()?;
                    assert_eq!(next & 0x7f, 0, "the others continue it");
                    message.extend(payload);
                    first = next;
                }
                let bytes = inflated(&mut decompress, &message);
                // In fragments of a byte, and a few control frames.
                let packed = compressed(&mut fresh(), &bytes);
                exchange.ws_frame(0x42, &packed[..1])?;
                exchange.ws_frame(0x00, b"")?;
                exchange.ws_frame(0x89, b"ping")?;
                exchange.ws_frame(0x00, &packed[1..2])?;
                exchange.ws_frame(0x80, &packed[2..])?;
                assert_eq!(exchange.ws_read()?.0, 0x0a);
            }
            exchange.ws_closing()
        });
        let (client, watch) = connected(Compression::new(), &server);
        for size in [60_000_usize, 500_000, 1_000_000] {
            let bytes: Vec<u8> = (0..size).map(|i| (i / 7 * 31 % 251) as u8 ^ (i >> 9) as u8).collect();
            client.send(bytes.clone()).unwrap();
            assert!(watch.message() == Message::from(bytes), "{size} bytes with {bits} bits");
        }
        client.disconnect().unwrap();
    }
}

/// A window of 8 bits is one that zlib does not have: the client does not compress then.
#[test]
fn a_window_that_is_too_small_is_honoured() {
    let server = server("; client_max_window_bits=8", |exchange| {
        let (first, payload) = exchange.ws_read_frame()?;
        assert_eq!(first, 0x82);
        exchange.ws_frame(0xc2, &compressed(&mut fresh(), &payload))?;
        exchange.ws_closing()
    });
    let (client, watch) = connected(Compression::new(), &server);
    client.send(vec![5; 5000]).unwrap();
    assert_eq!(watch.message(), Message::from(vec![5; 5000]));
    client.disconnect().unwrap();
}

/// The forms of RFC 7692, section 7.2.3.
#[test]
fn streams_in_unusual_forms() {
    let stored = b"\x00\x06\x00\xf9\xff4Hello\x00";
    let mut finished = Vec::with_capacity(1000);
    fresh().compress_vec(b"4Hello", &mut finished, FlushCompress::Finish).unwrap();
    let with_end = [&finished[..], b"\x00"].concat();
    let mut full = Vec::with_capacity(1000);
    let mut compress = fresh();
    compress.compress_vec(b"4Hel", &mut full, FlushCompress::Sync).unwrap();
    full.extend(compressed(&mut compress, b"lo"));
    let forms: Vec<Vec<u8>> = vec![
        stored.to_vec(),
        // A stream that ends itself, with and without the rest of an empty block.
        with_end,
        finished.clone(),
        // More than one block.
        full,
        // Two streams in one message.
        [&finished[..], &compressed(&mut fresh(), b"!")].concat(),
    ];
    let server = server("", move |exchange| {
        for form in &forms {
            exchange.ws_frame(0xc1, form)?;
        }
        // Empty messages: the form of the RFC, and none at all.
        exchange.ws_frame(0xc2, b"\x00")?;
        exchange.ws_frame(0xc2, b"")?;
        exchange.ws_frame(0xc2, &compressed(&mut fresh(), b"end"))?;
        exchange.hold()
    });
    let (client, watch) = connected(Compression::new(), &server);
    for text in ["Hello", "Hello", "Hello", "Hello", "Hello!"] {
        assert_eq!(watch.message(), Message::from(text));
    }
    for bytes in [&b""[..], b"", b"end"] {
        assert_eq!(watch.message(), Message::from(bytes.to_vec()));
    }
    abort(&client);
}

/// Sends these bytes, and returns the error that ends the connection.
fn fault(bytes: Vec<u8>) -> Arc<Error> {
    let server = server("", move |exchange| {
        exchange.raw(&bytes)?;
        exchange.hold()
    });
    let (client, watch) = connected(Compression::new(), &server);
    assert_eq!(watch.disconnected(), Reason::TransportError);
    client.wait();
    client.last_error().unwrap()
}

#[test]
fn frames_that_break_the_protocol() {
    let frame = |first: u8, payload: &[u8]| [&[first, payload.len() as u8][..], payload].concat();
    let long = compressed(&mut fresh(), &b"4a long text of many words".repeat(3));
    let table = [
        ("a control frame", frame(0xc9, b""), "compression bit"),
        ("a close frame", frame(0xc8, b""), "compression bit"),
        ("a continuation", [frame(0x41, b"\x00"), frame(0xc0, b"\x00")].concat(), "compression bit"),
        ("another bit", frame(0xa1, b"4"), "eserved bits"),
        ("no stream", frame(0xc1, b"\xff\xff\xff\xff"), "DEFLATE"),
        ("a distance without a window", frame(0xc1, b"\x02\x46\x00\x00\x00"), "DEFLATE"),
        ("a cut stream", frame(0xc2, &long[..long.len() - 8]), "DEFLATE"),
        ("a cut stored block", frame(0xc2, b"\x00\x20\x00\xdf\xff4Hel"), "DEFLATE"),
        ("no UTF-8", frame(0xc1, &compressed(&mut fresh(), b"4\xff\xfe")), "UTF-8"),
        ("no packet", frame(0xc1, &compressed(&mut fresh(), b"x")), "unknown packet type"),
    ];
    for (what, bytes, told) in table {
        let error = fault(bytes);
        assert!(matches!(&*error, Error::Protocol { .. }), "{what}: {}", in_full(&error));
        assert!(error.to_string().contains(told), "{what}: {}", in_full(&error));
    }
}

/// A message that would be inflated to 64 MiB ends the connection at the limit.
#[test]
fn a_bomb_is_not_inflated() {
    let mut compress = fresh();
    let mut bomb = Vec::with_capacity(2 << 20);
    for index in 0..64 {
        let flush = if index == 63 { FlushCompress::Sync } else { FlushCompress::None };
        compress.compress_vec(&[b'4'; 1 << 20], &mut bomb, flush).unwrap();
    }
    assert!(bomb.len() < 1 << 20 && compress.total_in() == 64 << 20);
    for first in [0xc1, 0xc2] {
        let head = [&[first, 127][..], &(bomb.len() as u64).to_be_bytes()].concat();
        let error = fault([&head[..], &bomb].concat());
        assert!(error.to_string().contains("too long"), "{}", in_full(&error));
    }
}

#[test]
fn options_are_checked() {
    let wrong = [
        Compression::new().level(0),
        Compression::new().level(10),
        Compression::new().client_max_window_bits(8),
        Compression::new().client_max_window_bits(16),
        Compression::new().server_max_window_bits(7),
        Compression::new().server_max_window_bits(16),
    ];
    for compression in wrong {
        let options = WebSocketOptions::new().compression(compression);
        let error = Client::builder().websocket_options(options).build().unwrap_err();
        assert!(
            matches!(error, Error::InvalidOption { option: "websocket_options", .. }),
            "{}",
            in_full(&error)
        );
    }
}
