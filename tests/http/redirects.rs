//! Redirects: where they lead, what follows, and what is refused.

use std::io;

use engineio::{Client, Error, Reason, WebSocketOptions};

use super::{Polling, WAYS, WebSocket, by, serve, server, visit};
use common::scripted::{Exchange, OPEN, Scripted};
use common::{Lines, Watch, abort, in_full};

/// The query of a request, as it was sent.
pub(crate) fn query(exchange: &Exchange) -> String {
    let query = exchange.request.query.iter().map(|(name, value)| format!("{name}={value}"));
    query.collect::<Vec<_>>().join("&")
}

/// A redirect to `to`, with the query of the request.
pub(crate) fn moved(exchange: &mut Exchange, status: &str, to: &str) -> io::Result<()> {
    let location = format!("Location: {to}?{}\r\n", query(exchange));
    exchange.respond_with(status, &location, "moved")
}

const HOSTILE: [&str; 6] =
    ["http://h:99999/", "http://[::g]/", "http://1.2.3.4.5/", "http://xn--/", "http://a{b/", "/a\u{9b}31m"];

/// The error's quotation of a hostile location.
fn quoted(location: &str) -> String {
    location.replace('\u{9b}', r"\u{9b}")
}

#[test]
fn a_location_that_is_none_is_quoted_in_a_typed_error() {
    for location in HOSTILE {
        let server = Scripted::start(move |exchange| {
            exchange.respond_with("302 Found", &format!("Location: {location}\r\n"), "")
        });
        for way in WAYS {
            let error = Client::new().connect_with(server.url(), by(way)).unwrap_err();
            assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
            let told = in_full(&error);
            assert!(told.contains(&quoted(location)) && !told.contains(char::is_control), "{told}");
        }
    }
}

#[test]
fn a_location_that_is_none_ends_a_session_and_no_more() {
    for (location, status) in HOSTILE.into_iter().flat_map(|at| [(at, "302 Found"), (at, "307 Moved")]) {
        for attacked in ["GET", "POST", "upgrade"] {
            let server = Scripted::start(move |exchange| {
                let now = match &exchange.request {
                    request if request.is_websocket() => "upgrade",
                    request if request.is_poll() && attacked == "POST" => return exchange.hold(),
                    request if request.is_poll() && attacked == "upgrade" => {
                        return exchange.payload("4hello");
                    }
                    request if request.query.contains_key("sid") => request.method.as_str(),
                    _ => return exchange.payload(super::OPEN_UPGRADE),
                };
                match now == attacked {
                    true => exchange.respond_with(status, &format!("Location: {location}\r\n"), ""),
                    false => exchange.answer(OPEN),
                }
            });
            let lines = Lines::default();
            let client = Client::builder().logger(lines.clone()).build().unwrap();
            let watch = Watch::new(&client);
            let way: &[_] = if attacked == "upgrade" { &[Polling, WebSocket] } else { &[Polling] };
            client.connect_with(server.url(), by(way)).unwrap();
            watch.connected();
            if attacked == "upgrade" {
                assert!(lines.all().contains(&quoted(location)), "{}", lines.all());
                assert_eq!(watch.message().as_text(), Some("hello"));
                abort(&client);
                continue;
            }
            let _ = client.send("hello");
            assert_eq!(watch.disconnected(), Reason::TransportError);
            client.wait();
            let error = client.last_error().unwrap();
            assert!(in_full(&error).contains(&quoted(location)), "{attacked}: {}", in_full(&error));
        }
    }
}

#[test]
fn a_session_lives_where_its_handshake_was_redirected_to() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Moved", "308 Moved"] {
        for way in WAYS {
            let server = Scripted::start(move |exchange| match exchange.request.path.as_str() {
                "/engine.io/" => {
                    let location = format!("Location: /there?node=7&{}\r\n", query(exchange));
                    exchange.respond_with(status, &location, "")
                }
                _ => serve(exchange, ""),
            });
            let client = Client::new();
            client.connect_with(server.url(), by(way)).unwrap();
            client.send("hello").unwrap();
            client.flush(super::PATIENCE).unwrap();
            if way == [Polling] {
                server.wait_for("poll", |request| request.is_poll());
            }
            client.disconnect().unwrap();
            let requests = server.requests();
            assert_eq!(requests.iter().filter(|request| request.path == "/engine.io/").count(), 1);
            for request in &requests[1..] {
                assert_eq!((request.path.as_str(), request.query["node"].as_str()), ("/there", "7"));
                assert_eq!(request.query["EIO"], "4", "{request:?}");
            }
        }
    }
}

#[test]
fn the_same_origin_gets_everything() {
    for way in WAYS {
        let server = Scripted::start(move |exchange| match exchange.request.path.as_str() {
            "/engine.io/" => moved(exchange, "302 Found", "/there/"),
            _ => serve(exchange, ""),
        });
        let options =
            by(way).header("Authorization", "Bearer x").header("X-Key", "k").header("Cookie", "a=1");
        let websocket = WebSocketOptions::new().header("X-Only", "ws").subprotocols(["token"]);
        let client = Client::builder().websocket_options(websocket).build().unwrap();
        visit(&client, server.url(), options);
        for request in server.requests() {
            assert_eq!(request.header("authorization"), ["Bearer x"], "{way:?}");
            assert_eq!(request.header("x-key"), ["k"]);
            assert_eq!(request.header("cookie"), ["a=1"]);
            let of_websocket: (&[&str], &[&str]) =
                if request.is_websocket() { (&["ws"], &["token"]) } else { (&[], &[]) };
            assert_eq!(request.header("x-only"), of_websocket.0);
            assert_eq!(request.header("sec-websocket-protocol"), of_websocket.1);
        }
    }
}

#[test]
fn another_origin_gets_nothing_of_the_users() {
    for way in WAYS {
        let other = server();
        let target = format!("{}/there/", other.url());
        let first = Scripted::start(move |exchange| moved(exchange, "307 Moved", &target));
        let options = by(way)
            .header("Authorization", "Bearer s3cr3t")
            .header("Proxy-Authorization", "s3cr3t")
            .header("X-Api-Key", "s3cr3t")
            .header("User-Agent", "s3cr3t")
            .header("Host", "s3cr3t.example")
            .header("Cookie", "own=s3cr3t");
        let websocket = WebSocketOptions::new().header("X-Only", "s3cr3t").subprotocols(["s3cr3t"]);
        let lines = Lines::default();
        let builder = Client::builder().websocket_options(websocket).logger(lines.clone());
        let url = format!("{}?token=s3cr3t", first.url().replace("//", "//user:s3cr3t@"));
        // The query is in the location, as the server chose to put it there.
        visit(&builder.build().unwrap(), &url, options);
        assert_eq!(first.requests().len(), 1, "the session lives at the other host");
        for request in other.requests() {
            for name in ["authorization", "proxy-authorization", "x-api-key", "x-only"] {
                assert_eq!(request.header(name), [""; 0], "{way:?} {name}");
            }
            assert_eq!(request.header("sec-websocket-protocol"), [""; 0]);
            assert_eq!(request.header("host"), [other.url().trim_start_matches("http://")]);
            assert!(request.header("user-agent")[0].starts_with("engineio/"), "{way:?}");
        }
        let told = lines.at(log::Level::Warn);
        let told: Vec<_> = told.iter().filter(|line| line.contains("left behind")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("x-api-key") && told[0].contains("cookie"), "{told:?}");
        assert!(!lines.all().contains("s3cr3t"), "{}", lines.all());
    }
}

#[test]
fn a_post_keeps_its_method_and_body_or_fails() {
    for (status, follows) in [
        ("307 Moved", true),
        ("308 Moved", true),
        ("301 Moved", false),
        ("302 Found", false),
        ("303 See Other", false),
    ] {
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.is_post() && request.path == "/engine.io/" => {
                moved(exchange, status, "/posts")
            }
            request if request.is_poll() => exchange.hold(),
            _ => exchange.answer(OPEN),
        });
        let client = Client::new();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), by(&[Polling])).unwrap();
        watch.connected();
        let body = "x".repeat(50_000);
        client.send(body.as_str()).unwrap();
        if follows {
            client.flush(super::PATIENCE).unwrap();
            let post = server.wait_for("POST", |request| request.path == "/posts");
            assert_eq!(post.text(), format!("4{body}"));
            assert_eq!(post.header("content-type"), ["text/plain;charset=UTF-8"]);
            abort(&client);
        } else {
            assert_eq!(watch.disconnected(), Reason::TransportError);
            client.wait();
            let error = client.last_error().unwrap();
            assert!(matches!(&*error, Error::Connection { status: Some(301..=303), .. }), "{error:?}");
            assert!(error.to_string().contains("POST") && error.to_string().contains("/posts"), "{error}");
            assert!(!server.requests().iter().any(|request| request.path == "/posts"));
        }
    }
}

#[test]
fn ten_redirects_are_followed_and_a_loop_is_called_one() {
    let counting = |most: usize| {
        Scripted::start(move |exchange| {
            let hop = exchange.request.path.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
            if hop == most {
                serve(exchange, "")
            } else {
                moved(exchange, "302 Found", &format!("/{}/", hop + 1))
            }
        })
    };
    let circle = Scripted::start(|exchange| match exchange.request.path.as_str() {
        "/engine.io/" => exchange.respond_with("302 Found", "Location: /a\r\n", ""),
        "/a" => exchange.respond_with("302 Found", "Location: /b\r\n", ""),
        _ => exchange.respond_with("302 Found", "Location: /a\r\n", ""),
    });
    for way in WAYS {
        visit(&Client::new(), counting(10).url(), by(way));
        let error = Client::new().connect_with(counting(11).url(), by(way)).unwrap_err();
        assert!(error.to_string().contains("more than 10 times"), "{error}");
        let error = Client::new().connect_with(circle.url(), by(way)).unwrap_err();
        assert!(error.to_string().contains("in a loop"), "{error}");
    }
}

#[test]
fn an_error_names_the_place_that_it_came_from() {
    for way in [&[Polling][..], &[WebSocket]] {
        let login = Scripted::start(|exchange| match exchange.request.path.as_str() {
            "/refused" => exchange.respond("403 Forbidden", r#"{"message":"who are you?"}"#),
            "/handshake" if exchange.request.is_websocket() => exchange.open_websocket("0{}"),
            "/handshake" => exchange.payload("0{}"),
            "/packet" if exchange.request.is_websocket() => exchange.open_websocket("please log in"),
            "/packet" => exchange.payload("please log in"),
            "/switch" => {
                let head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
                exchange.raw(format!("HTTP/1.1 101 Switching Protocols\r\n{head}"))?;
                exchange.close()
            }
            _ => exchange.raw("nonsense\r\n\r\n"),
        });
        for path in ["refused", "broken", "handshake", "packet", "switch"] {
            let place = format!("{}/{path}", login.url());
            let location = format!("Location: {place}?token=s3cr3t\r\n");
            let server = Scripted::start(move |exchange| exchange.respond_with("302 Found", &location, ""));
            let error = Client::new().connect_with(server.url(), by(way)).unwrap_err().to_string();
            assert!(error.contains(&place) && !error.contains("s3cr3t"), "{error}");
        }
    }
}

#[test]
fn an_error_within_a_session_names_the_place_that_it_came_from() {
    for (answer, told) in [("please log in", "'p'"), ("4before\x1eplease log in", "'p'"), ("b4", "")] {
        let server = Scripted::polling(move |exchange| match exchange.request.path.as_str() {
            "/elsewhere" => exchange.payload(answer),
            _ => moved(exchange, "302 Found", "/elsewhere"),
        });
        let client = Client::new();
        client.connect_with(server.url(), by(&[Polling])).unwrap();
        client.wait();
        let error = client.last_error().unwrap().to_string();
        let place = format!("; a redirect led to {}/elsewhere", server.url());
        assert!(error.contains(told) && error.ends_with(&place), "{error}");
    }
}

#[test]
fn an_agent_may_follow_fewer_redirects_or_none() {
    let server = Scripted::start(|exchange| match exchange.request.path.as_str() {
        "/there/" => serve(exchange, ""),
        _ => moved(exchange, "302 Found", "/there/"),
    });
    for (most, works) in [(0, false), (1, true)] {
        let agent: ureq::Agent = ureq::Agent::config_builder().max_redirects(most).build().into();
        let client = Client::builder().http_agent(agent).build().unwrap();
        let connected = client.connect_with(server.url(), by(&[Polling]));
        assert_eq!(connected.is_ok(), works, "{connected:?}");
        if let Err(error) = connected {
            assert!(error.to_string().contains("follows no redirects"), "{error}");
        }
        abort(&client);
    }
}
