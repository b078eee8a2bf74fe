//! Hostile open packets, and hostile responses in their place.

use super::*;

/// A server that sends this open packet.
fn opens_with(open: String) -> Foe {
    Foe::new(move |exchange| match &exchange.request {
        request if request.is_websocket() => {
            exchange.open_websocket(&open)?;
            exchange.ws_closing()
        }
        request if request.is_poll() => exchange.hold(),
        _ => exchange.answer(&open),
    })
}

fn open(sid: &str, interval: &str, timeout: &str, max: &str) -> String {
    format!(r#"0{{"sid":{sid},"pingInterval":{interval},"pingTimeout":{timeout},"maxPayload":{max}}}"#)
}

#[test]
fn fields_that_are_refused() {
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let huge = "9".repeat(1000);
    let mut table = Vec::new();
    for bad in ["-1", "-0.5", "null", "{}", "[25000]", &nested, "true", "\"\"", "1e999", "4294967296", &huge]
    {
        table.push((open("\"a\"", bad, "20000", "100"), "pingInterval"));
        table.push((open("\"a\"", "25000", bad, "100"), "pingTimeout"));
    }
    for bad in ["null", "7", "\"\"", "{}", "[\"a\"]", r#""a\r\nX-Evil: 1""#, r#""a\u0000""#, r#""\u007f""#] {
        table.push((open(bad, "25000", "20000", "100"), "sid"));
    }
    for bad in ["\"much\"", "{}", "[1]", "1.5", "true"] {
        table.push((open("\"a\"", "25000", "20000", bad), "maxPayload"));
    }
    for (index, (open, told)) in table.into_iter().enumerate() {
        let transport = if index % 2 == 0 { Polling } else { WebSocket };
        refused(&open, &opens_with(open.clone()), transport, told);
    }
}

/// The nesting is deep enough to overflow the stack of a recursive parser.
#[test]
fn deep_json() {
    let table = [
        ("[".repeat(60_000), "not JSON"),
        ("{\"a\":".repeat(12_000), "not JSON"),
        ("[".repeat(200_000), "longer than"),
    ];
    for transport in [Polling, WebSocket] {
        for (deep, told) in table.clone() {
            refused("open", &opens_with(format!("0{deep}")), transport, told);
            let field = open("\"a\"", &deep, "1", "1");
            refused("field", &opens_with(field), transport, told);
            let foe = Foe::new(move |exchange| exchange.respond("400 Bad Request", &deep));
            let error = refused("error body", &foe, transport, "400");
            assert!(matches!(error, Error::Connection { body: None, .. }), "{error:?}");
        }
    }
}

#[test]
fn limits_that_the_server_may_set() {
    // The limits range from none at all to one that allows only empty messages.
    for (max, fits) in [("0", true), ("-5", true), ("1", false), ("1e300", true), ("\"9\"", false)] {
        for transport in [Polling, WebSocket] {
            let foe = opens_with(open("\"a\"", "25000", "20000", max));
            let client = client();
            let watch = Watch::new(&client);
            foe.connect(&client, transport).unwrap();
            watch.connected();
            match client.send("a message") {
                Ok(()) => assert!(fits, "{max}"),
                Err(Error::MessageTooLarge { size: 10, .. }) => assert!(!fits, "{max}"),
                Err(other) => panic!("{max}: {other:?}"),
            }
            client.send("").unwrap();
            foe.leave(&client);
            assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
            foe.forgives(&client, &watch, transport);
        }
    }
}

/// Every session id stays the value of one query parameter, whatever its characters are.
#[test]
fn a_session_id_cannot_leave_its_place() {
    let table = [
        ("a&transport=evil&EIO=3", "sid=a%26transport%3Devil%26EIO%3D3"),
        ("a b+c%20d", "sid=a%20b%2Bc%2520d"),
        ("a#b?c/../d", "sid=a%23b%3Fc%2F..%2Fd"),
        ("ü\u{202e}\u{1f600}", "sid=%C3%BC%E2%80%AE%F0%9F%98%80"),
        ("a HTTP/1.1", "sid=a%20HTTP%2F1.1"),
        ("../../ü%0d%0a", "sid=..%2F..%2F%C3%BC%250d%250a"),
    ];
    for (sid, expected) in table {
        let json = serde_json::to_string(sid).unwrap();
        let foe = opens_with(open(&json, "25000", "20000", "1000"));
        let client = client();
        foe.connect(&client, Polling).unwrap();
        assert_eq!(client.sid().as_deref(), Some(sid));
        client.send("x").unwrap();
        let post = foe.server.wait_for("POST", |request| request.is_post());
        let poll = foe.server.wait_for("poll", |request| request.method == "GET" && request.query.len() > 3);
        for request in [post, poll] {
            assert_eq!(request.path, "/engine.io/", "{sid}");
            let (_, value) = expected.split_once('=').unwrap();
            let on_wire = request.query.get("sid").map(|value| value.replace('+', "%20"));
            assert_eq!(on_wire.as_deref(), Some(value), "{sid}");
            assert_eq!(request.query.get("EIO").map(String::as_str), Some("4"));
            assert_eq!(request.query.get("transport").map(String::as_str), Some("polling"));
        }
        foe.leave(&client);
    }
}

#[test]
fn a_session_id_of_megabytes() {
    for size in [100_000, 1_000_000] {
        let open = open(&format!("\"{}\"", "s".repeat(size)), "25000", "20000", "1000");
        for transport in [Polling, WebSocket] {
            refused("a long sid", &opens_with(open.clone()), transport, "longer than");
        }
    }
}
