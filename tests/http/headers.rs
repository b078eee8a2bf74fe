use std::time::Duration;

use engineio::{Client, ConnectOptions, Error, WebSocketOptions};

use super::common::scripted::Scripted;
use super::{Polling, WAYS, WebSocket, by, serve, server, visit};

#[test]
fn headers_go_with_every_request() {
    for way in WAYS {
        // 401 to any request without them.
        let server = Scripted::start(|exchange| {
            if exchange.request.header("x-token") != ["a"] || exchange.request.header("x-more") != ["b", "c"]
            {
                return exchange.respond("401 Unauthorized", r#"{"message":"who are you?"}"#);
            }
            serve(exchange, "")
        });
        let client = Client::new();
        let bare = client.connect_with(server.url(), by(way)).unwrap_err();
        let Error::Connection { status, body, .. } = bare else { panic!("{bare:?}") };
        assert_eq!(status, Some(401));
        assert_eq!(body.unwrap()["message"], "who are you?");
        let options = by(way).header("X-Token", "a").header("x-more", "b").header("x-more", "c");
        visit(&client, server.url(), options);
        assert_eq!(client.last_error().map(|e| e.to_string()), None, "{way:?}");
    }
}

#[test]
fn credentials_in_the_url_are_basic_authorization() {
    for way in WAYS {
        let server = server();
        let url = server.url().replace("http://", "http://us%40er:p%3Aass@");
        visit(&Client::new(), &url, by(way));
        for request in server.requests() {
            // RFC 7617: "us@er:p:ass" in base64.
            assert_eq!(request.header("authorization"), ["Basic dXNAZXI6cDphc3M="], "{way:?}");
        }
        // A header of the user's own is the more deliberate choice.
        visit(&Client::new(), &url, by(way).header("Authorization", "Bearer x"));
        assert_eq!(server.requests().last().unwrap().header("authorization"), ["Bearer x"]);
    }
}

#[test]
fn the_user_agent_is_ours_or_the_users() {
    for way in WAYS {
        let server = server();
        visit(&Client::new(), server.url(), by(way));
        let ours = concat!("engineio/", env!("CARGO_PKG_VERSION"));
        assert!(server.requests().iter().all(|request| request.header("user-agent") == [ours]));
        let before = server.requests().len();
        visit(&Client::new(), server.url(), by(way).header("User-Agent", "theirs/1"));
        for request in &server.requests()[before..] {
            assert_eq!(request.header("user-agent"), ["theirs/1"], "{way:?}");
        }
    }
}

#[test]
fn websocket_options_go_with_the_websocket_only() {
    let server = server();
    let options = WebSocketOptions::new().header("X-Only", "ws").origin("https://example.org");
    let client = Client::builder().websocket_options(options).build().unwrap();
    visit(&client, server.url(), by(&[Polling, WebSocket]));
    for request in server.requests() {
        let expected: &[&str] = if request.is_websocket() { &["ws"] } else { &[] };
        assert_eq!(request.header("x-only"), expected);
        let expected: &[&str] = if request.is_websocket() { &["https://example.org"] } else { &[] };
        assert_eq!(request.header("origin"), expected);
    }
    assert!(server.requests().iter().any(|request| request.is_websocket()));
}

#[test]
fn the_websockets_own_headers_replace_those_of_all_requests() {
    let server = server();
    let options = WebSocketOptions::new()
        .header("User-Agent", "ws/1")
        .header("authorization", "Bearer ws")
        .header("X-Two", "a")
        .header("X-Two", "b")
        .origin("http://ws.example");
    let client = Client::builder().websocket_options(options).build().unwrap();
    let url = server.url().replace("http://", "http://user:password@");
    let plain = by(&[Polling, WebSocket]).header("Origin", "http://plain.example").header("X-Two", "c");
    visit(&client, &url, plain);
    for request in server.requests() {
        let headers = ["user-agent", "authorization", "origin", "x-two"].map(|name| request.header(name));
        if request.is_websocket() {
            let expected = [&["ws/1"][..], &["Bearer ws"], &["http://ws.example"], &["a", "b"]];
            assert_eq!(headers, expected);
        } else {
            assert_eq!(
                headers[1..],
                [&["Basic dXNlcjpwYXNzd29yZA=="][..], &["http://plain.example"], &["c"]]
            );
        }
    }
    assert!(server.requests().iter().any(|request| request.is_websocket()));
}

#[test]
fn subprotocols_must_be_tokens() {
    for (names, what) in [
        (&["secret, b"][..], "not of a token"),
        (&["a", "secret b"], "not of a token"),
        (&["secret\n"], "not of a token"),
        (&["ü"], "not of a token"),
        (&["a", ""], "no name"),
        (&["secret", "b", "secret"], "given twice"),
    ] {
        let options = WebSocketOptions::new().subprotocols(names.iter().copied());
        let error = Client::builder().websocket_options(options).build().unwrap_err();
        let Error::InvalidOption { option: "websocket_options", reason, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(reason.contains(what) && !reason.contains("secret"), "{names:?}: {reason}");
    }
}

#[test]
fn subprotocols_are_offered_and_checked() {
    for (chosen, accepted) in [("", true), ("a", true), ("c", false)] {
        let answer =
            if chosen.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {chosen}\r\n") };
        let server = Scripted::start(move |exchange| serve(exchange, &answer));
        let options = WebSocketOptions::new().subprotocols(["a", "b"]);
        let client = Client::builder().websocket_options(options).build().unwrap();
        let connected = client.connect_with(server.url(), by(&[WebSocket]));
        assert_eq!(connected.is_ok(), accepted, "{chosen}: {connected:?}");
        assert_eq!(server.requests()[0].header("sec-websocket-protocol"), ["a, b"]);
        client.disconnect().unwrap();
    }
}

/// A secret that was meant for one server does not follow a redirect to another.
#[test]
fn credentials_do_not_follow_a_redirect_to_another_server() {
    for way in WAYS {
        let other = server();
        let target = other.url().to_owned();
        let first = Scripted::start(move |exchange| {
            let location = format!("Location: {target}/engine.io/?EIO=4&transport=polling&noupgrade=1\r\n");
            exchange.respond_with("302 Found", &location, "")
        });
        let client = Client::builder().request_timeout(Duration::from_secs(2)).build().unwrap();
        let options = ConnectOptions::new().header("Authorization", "Bearer secret");
        let options = options.header("Cookie", "session=secret").transports(way.iter().copied());
        // Whether it works over there is another matter.
        let _ = client.connect_with(first.url(), options);
        for request in other.requests() {
            assert!(request.header("authorization").is_empty(), "{way:?}");
            // Cookies know no ports, so this host gets them (RFC 6265, section 8.5).
        }
        client.disconnect_with(engineio::Disconnect::new().abort(true)).unwrap();
    }
}

#[test]
fn a_header_with_a_line_break_is_said_to_have_one() {
    for (value, what) in [
        ("secret\n", "a line break in its value, as what is read from a file"),
        ("secret\r\nX-More: 1", "a line break in its value"),
        ("secret\0", "a control character in its value"),
    ] {
        let connected =
            Client::new().connect_with("http://127.0.0.1:1", by(&[Polling]).header("X-Key", value));
        let error = connected.unwrap_err().to_string();
        assert!(error.contains("\"X-Key\" has ") && error.contains(what), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
