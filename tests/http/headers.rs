//! Headers and credentials.

use engineio::{Client, ConnectOptions, Error, WebSocketOptions};

use super::{Polling, WAYS, WebSocket, by, every_request, serve, server, visit};
use common::abort;
use common::scripted::Scripted;

#[test]
fn headers_go_with_every_request() {
    for way in WAYS {
        // The server answers 401 to any request without the credentials.
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
    let options = ConnectOptions::new()
        .header("X-Tenant", "one")
        .header("X-Tenant", "two")
        .header("Authorization", "Bearer x")
        .header("Cookie", "a=1; b=2");
    for request in every_request(&Client::new(), str::to_owned, &options) {
        assert_eq!(request.header("x-tenant"), ["one", "two"]);
        assert_eq!(request.header("authorization"), ["Bearer x"]);
        let cookies = request.header("cookie").join("; ");
        let mut cookies: Vec<_> = cookies.split("; ").collect();
        cookies.sort_unstable();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(request.header("host").len(), 1);
    }
}

#[test]
fn headers_from_a_map_or_a_list_go_with_every_request() {
    let map = std::collections::BTreeMap::from([("X-Tenant", "acme"), ("Authorization", "Bearer x")]);
    let list = vec![("X-Trace".to_owned(), 1.to_string()), ("X-Trace".to_owned(), 2.to_string())];
    let options = ConnectOptions::new().header("X-Trace", "0").headers(map).headers(list);
    assert!(!format!("{options:?}").contains("Bearer"), "values may be secret");
    for request in every_request(&Client::new(), str::to_owned, &options) {
        assert_eq!(request.header("x-tenant"), ["acme"]);
        assert_eq!(request.header("authorization"), ["Bearer x"]);
        assert_eq!(request.header("x-trace"), ["0", "1", "2"]);
    }
    let none = ConnectOptions::new().headers(None::<(String, String)>);
    assert_eq!(format!("{none:?}"), format!("{:?}", ConnectOptions::new()));
    let broken = ConnectOptions::new().headers([("X-Fine", "yes"), ("X-Broken", "a\nb")]);
    let refused = Client::new().connect_with("http://localhost:1", broken).unwrap_err();
    assert!(matches!(refused, Error::InvalidOption { option: "header", .. }), "{refused:?}");
}

#[test]
fn credentials_in_the_url_are_basic_authorization() {
    let url = |url: &str| url.replace("http://", "http://us%40er:p%3Aass@");
    for request in every_request(&Client::new(), url, &ConnectOptions::new()) {
        // The value is "us@er:p:ass" in base64 (RFC 7617).
        assert_eq!(request.header("authorization"), ["Basic dXNAZXI6cDphc3M="]);
    }
    // The user's own header wins over the credentials in the URL.
    let own = ConnectOptions::new().header("Authorization", "Bearer x");
    for request in every_request(&Client::new(), url, &own) {
        assert_eq!(request.header("authorization"), ["Bearer x"]);
    }
}

#[test]
fn the_user_agent_is_ours_or_the_users() {
    let ours = concat!("engineio/", env!("CARGO_PKG_VERSION"));
    let theirs = ConnectOptions::new().header("User-Agent", "theirs/1");
    for (options, expected) in [(ConnectOptions::new(), ours), (theirs, "theirs/1")] {
        for request in every_request(&Client::new(), str::to_owned, &options) {
            assert_eq!(request.header("user-agent"), [expected]);
        }
    }
}

#[test]
fn headers_that_cannot_be_the_users_are_refused() {
    let server = server();
    let names =
        ["Connection", "Content-Length", "content-type", "Upgrade", "Sec-WebSocket-Key", "Transfer-Encoding"];
    let bad = names.iter().map(|name| (*name, "x")).chain([("a b", "x"), ("", "x"), ("x", "a\r\nb: c")]);
    for (name, value) in bad {
        let refused = Client::new().connect_with(server.url(), ConnectOptions::new().header(name, value));
        assert!(matches!(refused, Err(Error::InvalidOption { option: "header", .. })), "{name}: {refused:?}");
    }
    assert!(server.requests().is_empty());
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
        (&["secret, b"][..], "not allowed in a token"),
        (&["a", "secret b"], "not allowed in a token"),
        (&["secret\n"], "not allowed in a token"),
        (&["ü"], "not allowed in a token"),
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

/// A secret for one server does not follow a redirect to another server.
#[test]
fn credentials_do_not_follow_a_redirect_to_another_server() {
    for way in WAYS {
        let headers = by(way).header("Authorization", "Bearer secret").header("Cookie", "session=secret");
        for (status, user, options) in
            [("302 Found", "", headers), ("307 Temporary Redirect", "user:secret@", by(way))]
        {
            let other = server();
            let target = other.url().to_owned();
            let first = Scripted::start(move |exchange| {
                let query = exchange.request.query.iter().map(|(k, v)| format!("{k}={v}"));
                let query = query.collect::<Vec<_>>().join("&");
                exchange.respond_with(status, &format!("Location: {target}/engine.io/?{query}\r\n"), "")
            });
            let client = Client::new();
            client.connect_with(first.url().replace("//", &format!("//{user}")), options).unwrap();
            abort(&client);
            assert_eq!(first.requests()[0].header("authorization").len(), 1, "{way:?}");
            let followed = other.requests();
            assert!(!followed.is_empty(), "{way:?}");
            for request in followed {
                assert_eq!(request.header("authorization"), [""; 0], "{way:?}");
                // Cookies are not asserted: they are independent of ports, so the other server on this host
                // gets them (RFC 6265, section 8.5).
            }
        }
    }
}

#[test]
fn a_header_with_a_line_break_is_said_to_have_one() {
    for (value, what) in [
        ("secret\n", "a line break in its value; text that is read from a file"),
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
