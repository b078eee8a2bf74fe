//! Random bytes in place of the server's own.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The point at which random bytes replace the server's own.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Head,
    Handshake,
    Poll,
    Frames,
}

fn chance(exchange: &mut Exchange, stage: Stage, bytes: &[u8]) -> io::Result<()> {
    match stage {
        Stage::Head => exchange.raw(bytes)?,
        Stage::Handshake => exchange.payload(bytes)?,
        Stage::Poll if exchange.request.is_poll() => exchange.payload(bytes)?,
        Stage::Poll => return exchange.answer(OPEN),
        Stage::Frames => {
            exchange.open_websocket(OPEN)?;
            exchange.raw(bytes)?;
        }
    }
    exchange.close()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    // These are the first bytes of frames and of packets.
    let starts = prop::sample::select(vec![0x81, 0x82, 0x89, 0x88, 1, b'4', b'2']);
    prop_oneof![
        vec(any::<u8>(), 0..200),
        "[0-6b]?[ -~\u{1e}]{0,40}".prop_map(String::into_bytes),
        "HTTP/1.[01] [12345]0[0-9] [ -~\r\n]{0,60}".prop_map(String::into_bytes),
        vec(starts, 0..60),
    ]
}

/// The server's response to a POST. If it is valid HTTP, the session goes on, or else it ends.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let line = "[A-Za-z-]{0,12}: ?[ -~]{0,20}\r?\n";
    prop_oneof![
        vec(any::<u8>(), 0..100),
        "HTTP/[0-2].[0-9] [0-9]{2,4} [ -~]{0,10}\r\n(Content-Length: -?[0-9]{0,4}\r\n)?\r\n[ -~]{0,20}"
            .prop_map(String::into_bytes),
        (vec(line, 0..5), vec(any::<u8>(), 0..20)).prop_map(|(lines, body)| [
            b"HTTP/1.1 200 OK\r\n",
            lines.concat().as_bytes(),
            b"\r\n",
            &body
        ]
        .concat()),
    ]
}

// `PROPTEST_CASES=20000 cargo test --test hostile chance` makes a long run. `PROPTEST_CASES=1000000 cargo
// test --release --lib protocol` does the same for the codec alone.
proptest! {
    #[test]
    fn any_bytes_end_in_order(
        bytes in bytes(),
        stage in prop::sample::select(vec![Stage::Head, Stage::Handshake, Stage::Poll, Stage::Frames]),
    ) {
        let server = Scripted::start(move |exchange| chance(exchange, stage, &bytes));
        let url = server.url().to_owned();
        let state = within(common::PATIENCE, "the end", move || {
            let builder = Client::builder().request_timeout(Duration::from_millis(500));
            let client = builder.max_message_size(MAX_MESSAGE).build().unwrap();
            let by = if matches!(stage, Stage::Frames) { WebSocket } else { Polling };
            // The random bytes may have made a session that goes on, because empty polls do not end a
            // session.
            let connected = client.connect_with(url, only(by)).is_ok();
            if connected && !client.wait_timeout(Duration::from_millis(100)) {
                // Unsent messages do not matter here.
                let _ = client.disconnect();
            }
            client.state()
        });
        prop_assert_eq!(state, State::Disconnected);
    }

    #[test]
    fn any_answer_to_a_post_ends_in_order(answer in answer()) {
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.is_post() => {
                exchange.raw(&answer)?;
                exchange.close()
            }
            request if request.is_poll() => exchange.hold(),
            _ => exchange.payload(OPEN),
        });
        let client = client();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(Polling)).unwrap();
        watch.connected();
        client.send("x").unwrap();
        // The session ends at the latest with `disconnect`, whatever the bytes were.
        let closer = client.clone();
        let _ = within(BOUND, "disconnect", move || closer.disconnect());
        prop_assert!(matches!(watch.next(), Seen::Disconnect(_)));
        watch.nothing_more();
        prop_assert_eq!(client.state(), State::Disconnected);
    }
}
