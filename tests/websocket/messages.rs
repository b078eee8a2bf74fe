//! Messages in unusual forms and of unusual sizes.

use engineio::TransportKind::WebSocket;
use engineio::{Client, Error, Message, Reason, WebSocketOptions};

use common::scripted::Scripted;
use common::{Watch, abort, connected, in_full, only};

fn limited(server: &Scripted, options: WebSocketOptions) -> (Client, Watch) {
    let client = Client::builder().websocket_options(options).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    watch.connected();
    (client, watch)
}

#[test]
fn a_text_may_hold_a_binary_message() {
    let large = [b"b".as_slice(), &b"AAAA".repeat(100_000)].concat();
    let server = Scripted::websocket(move |exchange| {
        for text in ["bAQID", "b", "bAQ==", "bAQ", "b//79"] {
            exchange.ws_text(text)?;
        }
        exchange.ws_frame(0x81, &large)?;
        // In two fragments, the first of which is empty.
        exchange.raw(b"\x01\x00\x00\x01b\x80\x04AQID")?;
        exchange.ws_text("4bAQID")?;
        exchange.ws_text("bA")?;
        exchange.hold()
    });
    let (client, watch) = connected(server.url(), only(WebSocket));
    for bytes in [&[1, 2, 3][..], &[], &[1], &[1], &[255, 254, 253], &[0; 300_000], &[1, 2, 3]] {
        assert!(watch.message() == Message::from(bytes.to_vec()), "{} bytes", bytes.len());
    }
    assert_eq!(watch.message(), Message::from("bAQID"));
    assert_eq!(watch.disconnected(), Reason::TransportError);
    client.wait();
    let error = client.last_error().unwrap();
    assert!(matches!(&*error, Error::Protocol { .. }), "{}", in_full(&error));
    assert!(error.to_string().contains("base64"), "{}", in_full(&error));
}

/// The limit of a message counts the message, in each of its forms.
#[test]
fn limits_count_the_message() {
    const MAX: usize = 100_000;
    let text = |size: usize| (0x81, [b"4".as_slice(), &b"x".repeat(size)].concat());
    let base64 = |size: usize| (0x81, [b"b".as_slice(), &b"AAAA".repeat(size / 3)].concat());
    let binary = |size: usize| (0x82, b"x".repeat(size));
    let table = [
        (text(MAX), true),
        (text(MAX + 1), false),
        (binary(MAX), true),
        (binary(MAX + 1), false),
        (base64(MAX - 1), true),
        (base64(MAX + 2), false),
    ];
    for ((first, payload), fits) in table {
        for fragment in [payload.len(), 1000] {
            let payload = payload.clone();
            let server = Scripted::websocket(move |exchange| {
                let last = payload.chunks(fragment).count() - 1;
                for (index, part) in payload.chunks(fragment).enumerate() {
                    let opcode = if index == 0 { first & 0x0f } else { 0 };
                    exchange.ws_frame(opcode | if index == last { 0x80 } else { 0 }, part)?;
                }
                exchange.hold()
            });
            let (client, watch) = limited(&server, WebSocketOptions::new().max_message_size(MAX));
            if fits {
                watch.message();
                abort(&client);
            } else {
                assert_eq!(watch.disconnected(), Reason::TransportError, "{first:x} in {fragment}");
                client.wait();
                let error = client.last_error().unwrap().to_string();
                assert!(error.contains("too long"), "{error}");
            }
        }
    }
}

/// The limit of a frame counts each frame. That of a text's first frame does not count the packet's type.
#[test]
fn limits_count_each_frame() {
    const MAX: usize = 100;
    let text = |size: usize| [b"4".as_slice(), &b"x".repeat(size)].concat();
    let bytes = |size: usize| vec![b'x'; size];
    let table = [
        (0x02, bytes(MAX), bytes(MAX), true),
        (0x02, bytes(MAX + 1), bytes(1), false),
        (0x02, bytes(1), bytes(MAX + 1), false),
        (0x01, text(MAX), bytes(MAX), true),
        (0x01, text(MAX + 1), bytes(1), false),
        (0x01, text(0), bytes(MAX + 1), false),
    ];
    for (opcode, first, second, fits) in table {
        let sizes = (first.len(), second.len());
        let server = Scripted::websocket(move |exchange| {
            exchange.ws_frame(opcode, &first)?;
            exchange.ws_frame(0x80, &second)?;
            exchange.hold()
        });
        let (client, watch) = limited(&server, WebSocketOptions::new().max_frame_size(MAX));
        if fits {
            watch.message();
            abort(&client);
        } else {
            assert_eq!(watch.disconnected(), Reason::TransportError, "{opcode} {sizes:?}");
        }
    }
}

/// Every size around the borders of lengths and buffers, both ways, in one stream.
#[test]
fn sizes_around_the_borders() {
    const SIZES: [usize; 20] = [
        0, 1, 3, 4, 5, 124, 125, 126, 127, 255, 256, 4095, 4096, 16_383, 16_384, 65_534, 65_535, 65_536,
        131_073, 999_999,
    ];
    let server = Scripted::websocket(|exchange| {
        for _ in 0..2 * SIZES.len() {
            let (opcode, payload) = exchange.ws_read()?;
            exchange.ws_frame(0x80 | opcode, &payload)?;
        }
        exchange.ws_closing()
    });
    let (client, watch) = connected(server.url(), only(WebSocket));
    let bytes = |size: usize| (0..size).map(|i| (i * 7 % 251) as u8).collect::<Vec<_>>();
    let text = |size: usize| bytes(size).iter().map(|byte| char::from(b' ' + byte % 90)).collect::<String>();
    for size in SIZES {
        client.send(text(size)).unwrap();
        client.send(bytes(size)).unwrap();
    }
    for size in SIZES {
        assert!(watch.message() == Message::from(text(size)), "a text of {size}");
        assert!(watch.message() == Message::from(bytes(size)), "a binary of {size}");
    }
    client.disconnect().unwrap();
}
