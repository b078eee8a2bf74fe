//! Packets that no server should send, in a properly opened session.

use super::*;

#[test]
fn by_polling() {
    let v3 = r#"0{"sid":"abcdefgh","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#;
    let v3 = format!("{}:{v3}", v3.len());
    let table: [(&[u8], &str); 10] = [
        (b"4a\x1e9hello", "unknown packet type"),
        (b"4a\x1e", "empty packet"),
        (b"4a\x1e\x1e4b", "empty packet"),
        (b"\x1e", "empty packet"),
        (b"\x1e\x1e\x1e", "empty packet"),
        (b"4a\x1ebA", "bad base64"),
        (b"bnot base64!", "bad base64"),
        (b"4\xff\xfe", "not UTF-8"),
        (b"\xf0\x9f\x98", "not UTF-8"),
        (v3.as_bytes(), "v3"),
    ];
    for (body, told) in table {
        let payload = body.to_vec();
        let foe = Foe::by_polls(move |exchange| exchange.payload(&payload));
        let messages = ends(told, &foe, Polling, &Reason::TransportError, told);
        // The packets in front of the invalid one are delivered.
        let before: &[_] = if body.starts_with(b"4a") { &[Message::from("a")] } else { &[] };
        assert_eq!(messages, before, "{body:?}");
    }
}

#[test]
fn by_websocket() {
    if !alone() {
        return;
    }
    let table: [(&str, &[u8], &str); 8] = [
        ("an unknown type", b"\x81\x069hello", "unknown packet type"),
        ("not of ASCII", b"\x81\x04\xf0\x9f\xa6\x80", "unknown packet type"),
        ("a separator", b"\x81\x01\x1e", "unknown packet type"),
        ("no base64", b"\x81\x05bA===", "bad base64"),
        ("empty", b"\x81\x00", "empty packet"),
        ("empty fragments", b"\x01\x00\x00\x00\x80\x00", "empty packet"),
        ("not UTF-8", b"\x81\x024\xff", "UTF-8"),
        ("not UTF-8, in two fragments", b"\x01\x024\xc3\x80\x01(", "UTF-8"),
    ];
    for (what, frames, told) in table {
        breaks(what, frames, told);
    }
}

/// Packets without a meaning here are logged, and the session goes on with the next packet.
#[test]
fn packets_out_of_place_change_nothing() {
    let out_of_place = [
        OPEN,
        r#"0{"sid":"other","pingInterval":1,"pingTimeout":1,"maxPayload":1}"#,
        "0",
        "5",
        "5probe",
        "3",
        "3probe",
        "6",
        "6x",
    ];
    let polls = Foe::by_polls(move |exchange| {
        let all = [&out_of_place[..], &["b", "4still here"]].concat().join("\x1e");
        if exchange.polls() == 1 { exchange.payload(all) } else { exchange.hold() }
    });
    let websocket = Foe::by_websocket(move |exchange| {
        out_of_place.iter().try_for_each(|packet| exchange.ws_text(packet))?;
        exchange.ws_frame(0x82, b"")?;
        exchange.ws_text("4still here")?;
        exchange.hold()
    });
    for (foe, transport) in [(polls, Polling), (websocket, WebSocket)] {
        let client = client();
        let watch = Watch::new(&client);
        foe.connect(&client, transport).unwrap();
        watch.connected();
        assert_eq!(watch.message(), Message::from(&b""[..]), "an empty binary message is one");
        assert_eq!(watch.message(), Message::from("still here"));
        assert_eq!(client.sid().as_deref(), Some("abc"));
        client.send("longer than 1").unwrap();
        foe.leave(&client);
        assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
        foe.forgives(&client, &watch, transport);
    }
}

#[test]
fn nothing_is_delivered_after_a_close_packet() {
    let polls = Foe::by_polls(|exchange| exchange.payload("4before\x1e1\x1e4after\x1e2\x1e1"));
    let websocket = Foe::by_websocket(|exchange| {
        for packet in ["4before", "1", "4after", "2", "1", "nonsense"] {
            exchange.ws_text(packet)?;
        }
        exchange.hold()
    });
    for (foe, transport) in [(polls, Polling), (websocket, WebSocket)] {
        let before = ends("close", &foe, transport, &Reason::ServerDisconnect, "");
        assert_eq!(before, [Message::from("before")]);
    }
}
