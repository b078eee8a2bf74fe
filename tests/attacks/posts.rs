//! Chance in the place of the answer to a POST.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What the server answers a POST with: either it is HTTP and the session goes on, or the session ends.
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

proptest! {
    // `PROPTEST_CASES=20000 cargo test --test attacks posts` for a long run. That of the codec by itself is
    // `PROPTEST_CASES=1000000 cargo test --release --lib protocol`.
    #[test]
    fn any_bytes_end_in_order(answer in answer()) {
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.method == "POST" => {
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
        // Whatever became of it: the session ends when it is told to, if not before.
        let closer = client.clone();
        let _ = within(BOUND, "disconnect", move || closer.disconnect());
        prop_assert!(matches!(watch.next(), Seen::Disconnect(_)));
        watch.nothing_more();
        prop_assert_eq!(client.state(), State::Disconnected);
    }
}
