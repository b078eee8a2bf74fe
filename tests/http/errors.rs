//! What errors say of a server's answer, and what they do not say.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use engineio::{Client, Error, Reason};

use super::redirects::moved;
use super::{Polling, WebSocket, by};
use common::scripted::{OPEN, Scripted};
use common::{Lines, abort, connected, in_full};

/// The error of a connect to a server that gives this answer to each request.
fn error_of(answer: &'static str, way: &[engineio::TransportKind]) -> Error {
    let server = Scripted::start(move |exchange| {
        exchange.raw(answer)?;
        exchange.close()
    });
    Client::new().connect_with(server.url(), by(way)).unwrap_err()
}

#[test]
fn a_refusal_quotes_text_and_html() {
    const PAGE: &str = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html><head>\
        <style>h1{}</style><title>Access denied</title></head><body>\
        <h1>Error <b>1020</b></h1><p>Ray ID: 7</body>";
    const NGINX: &str = "HTTP/1.1 400 Bad Request\r\n\r\n<html>\r\n<head><title>400 The plain HTTP request \
        was sent to HTTPS port</title></head>\r\n<body><center>nginx</center></body></html>";
    for way in [Polling, WebSocket] {
        for (answer, told) in [
            ("HTTP/1.1 403 Forbidden\r\n\r\nnot today\nor ever", "\"not today / or ever\""),
            (PAGE, "\"Access denied / Error 1020\""),
            (NGINX, "\"400 The plain HTTP request was sent to HTTPS port / nginx\""),
            ("HTTP/1.1 500 Oops\r\n\r\na\u{9b}31m\u{202e}b\x07", r#""a\u{9b}31m\u{202e}b\u{7}""#),
            ("HTTP/1.1 500 Oops\r\n\r\n{\"message\":\"as now\"}", "\"as now\""),
        ] {
            let error = error_of(answer, &[way]);
            assert!(matches!(error, Error::Connection { status: Some(_), .. }), "{error:?}");
            assert!(error.to_string().contains(told), "{error}");
        }
    }
    let server = Scripted::start(|exchange| exchange.respond("500 Oops", "é".repeat(100_000)));
    let error = Client::new().connect_with(server.url(), by(&[Polling])).unwrap_err().to_string();
    assert_eq!(error.matches('é').count(), 200);
}

#[test]
fn a_response_that_is_broken_is_said_to_be_in_what() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: b\r\n".repeat(150));
    let many: &'static str = many.leak();
    for way in [Polling, WebSocket] {
        for (answer, told) in [
            ("HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n", "folded"),
            ("HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n", "space"),
            ("HTTP/1.1 200 OK\r\nX-A: b\x01\r\nContent-Length: 0\r\n\r\n", "value has an invalid character"),
            (many, "more than 128 headers"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "content-length"),
            ("SSH-2.0-OpenSSH_9.2\u{9b}\r\n\r\n", "starts with \"SSH-2.0-OpenSSH_9.2"),
        ] {
            let error = error_of(answer, &[way]);
            let shown = in_full(&error);
            assert!(error.to_string().contains(told), "{shown}");
            assert!(!shown.contains("TLS") && !shown.contains(char::is_control), "{shown}");
            assert!(error.source().is_some(), "{shown}");
        }
        let error = error_of("\x15\x03\x01\0\x02\x02\x50", &[way]).to_string();
        assert!(error.contains("speaks TLS on this port: use https://"), "{error}");
    }
}

#[test]
fn a_login_page_in_place_of_a_poll_is_said_to_be_one() {
    const PAGE: &str = "<!DOCTYPE html>\n<title>Log in</title>";
    for redirected in [false, true] {
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.path == "/login" => exchange.payload(PAGE),
            request if request.is_poll() && redirected => moved(exchange, "302 Found", "/login"),
            request if request.is_poll() => exchange.payload(PAGE),
            _ => exchange.answer(OPEN),
        });
        let (client, watch) = connected(server.url(), by(&[Polling]));
        assert_eq!(watch.disconnected(), Reason::TransportError);
        client.wait();
        let error = client.last_error().unwrap().to_string();
        let place = if redirected { "/login" } else { "/engine.io/" };
        assert!(error.contains(&format!("HTML page, from {}{place}: \"Log in\"", server.url())), "{error}");
    }
    let login = Scripted::start(|exchange| exchange.payload(PAGE));
    let server =
        Scripted::start(move |exchange| moved(exchange, "302 Found", &format!("{}/login", login.url())));
    let error = Client::new().connect(server.url()).unwrap_err().to_string();
    assert!(error.contains("/login: \"Log in\""), "{error}");
}

/// A login page, which may be large, says nothing of the packets: they have not arrived.
#[test]
fn a_login_page_in_answer_to_a_post_is_said_to_be_one() {
    for size in [0, 300_000] {
        let page = format!("<!DOCTYPE html>\n<title>Log in</title>{}", " ".repeat(size));
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.is_post() => exchange.payload(&page),
            request if request.is_poll() => exchange.hold(),
            _ => exchange.answer(OPEN),
        });
        let (client, watch) = connected(server.url(), by(&[Polling]));
        client.send("hello").unwrap();
        assert_eq!(watch.disconnected(), Reason::TransportError);
        client.wait();
        let error = client.last_error().unwrap().to_string();
        let told =
            format!("the answer to a POST is an HTML page, from {}/engine.io/: \"Log in\"", server.url());
        assert!(error.contains(&told), "{error}");
        assert_eq!(client.stats().unsent, 1);
    }
}

#[test]
fn any_other_answer_to_a_post_is_fine() {
    const ANSWERS: [&str; 8] = ["ok", "OK", "", " ok\n", "{\"ok\":true}", "4hello", "6", "\0\u{9b}"];
    let posts = AtomicUsize::new(0);
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_post() => {
            exchange.payload(ANSWERS[posts.fetch_add(1, Ordering::SeqCst) % ANSWERS.len()])
        }
        request if request.is_poll() => exchange.hold(),
        _ => exchange.answer(OPEN),
    });
    let (client, watch) = connected(server.url(), by(&[Polling]));
    for _ in ANSWERS {
        client.send("hello").unwrap();
        client.flush(super::PATIENCE).unwrap();
    }
    // What stands in an answer to a POST is no packet.
    watch.nothing_more();
    abort(&client);
    assert_eq!(client.stats().unsent, 0);
}

const SID: &str = "se+cr/et==";

#[test]
fn no_error_has_the_session_id() {
    let open = OPEN.replace("abc", SID);
    for body in [
        "no session se+cr/et==",
        r#"{"message":"se%2Bcr%2Fet%3D%3D","sid":["se+cr\/et=="]}"#,
        "<p>se%2bcr/et==",
    ] {
        for point in ["poll", "POST", "upgrade", "redirect", "packet"] {
            let open = if point == "upgrade" { open.replace("[]", "[\"websocket\"]") } else { open.clone() };
            let server = Scripted::start(move |exchange| match &exchange.request {
                request if !request.query.contains_key("sid") => exchange.payload(&open),
                request if request.is_websocket() => exchange.respond("400 Bad Request", body),
                request if request.is_post() && point == "POST" => exchange.respond("400 Bad Request", body),
                request if request.is_post() => exchange.payload("ok"),
                _ if point == "poll" => exchange.respond("400 Bad Request", body),
                _ if point == "packet" => exchange.payload("9se+cr/et== and more"),
                _ if point == "redirect" => {
                    exchange.respond_with("302 Found", "Location: ftp://h/se+cr/et==/x\r\n", "")
                }
                _ => exchange.hold(),
            });
            let lines = Lines::default();
            let client = Client::builder().logger(lines.clone()).build().unwrap();
            let way: &[_] = if point == "upgrade" { &[Polling, WebSocket] } else { &[Polling] };
            client.connect_with(server.url(), by(way)).unwrap();
            if point == "upgrade" {
                abort(&client);
            } else {
                let _ = client.send("x");
                client.wait();
                let error = client.last_error().unwrap();
                let shown = format!("{error} {error:?} {}", in_full(&error));
                let Error::Connection { body, .. } = &*error else {
                    // Nothing but the first character of a packet is shown, and all of a location.
                    assert!(
                        shown.contains(if point == "packet" { "'9'" } else { "***" }),
                        "{point}: {shown}"
                    );
                    assert!(!shown.contains("et="), "{point}: {shown}");
                    continue;
                };
                assert!(!format!("{shown} {body:?}").contains("et="), "{point}: {shown}");
                assert!(shown.contains("***"), "{point}: {shown}");
            }
            for level in [log::Level::Error, log::Level::Warn, log::Level::Info] {
                let told = lines.at(level).join("\n");
                assert!(!told.contains("et==") && !told.contains("et%3"), "{point}: {told}");
            }
        }
    }
}

#[test]
fn no_page_in_place_of_an_answer_shows_the_session_id() {
    const PAGE: &str = "<p>there is no session se%2bcr/et== here</p>";
    for point in ["poll", "POST"] {
        let open = OPEN.replace("abc", SID);
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.is_post() && point == "POST" => exchange.payload(PAGE),
            request if request.is_poll() && point == "poll" => exchange.payload(PAGE),
            request if request.is_poll() => exchange.hold(),
            _ => exchange.answer(&open),
        });
        let client = Client::new();
        client.connect_with(server.url(), by(&[Polling])).unwrap();
        let _ = client.send("x");
        client.wait();
        let error = client.last_error().unwrap();
        let shown = format!("{error} {error:?} {}", in_full(&error));
        assert!(shown.contains("there is no session ***") && !shown.contains("et="), "{point}: {shown}");
    }
}

#[test]
fn no_error_of_a_handshake_has_the_session_id() {
    for body in [
        r#"0{"sid":"s3cr3t","upgrades":["websocket"]"#,
        r#"0["sid", {"sid": "s3cr3t"}]"#,
        r#"{"sid":"s3cr3t"}"#,
        r#"2{"sid":"s3cr3t"}"#,
        r#"0{"sid":["s3cr3t"],"pingInterval":1,"pingTimeout":1}"#,
    ] {
        for way in super::WAYS {
            let server = Scripted::start(move |exchange| match exchange.request.is_websocket() {
                true => {
                    exchange.open_websocket(body)?;
                    exchange.hold()
                }
                false => exchange.payload(body),
            });
            let lines = Lines::default();
            let client = Client::builder().logger(lines.clone()).build().unwrap();
            let error = client.connect_with(server.url(), by(way)).unwrap_err();
            let shown = format!("{error} {error:?} {}", in_full(&error));
            assert!(!shown.contains("s3cr3t"), "{shown}");
            assert!(!lines.all().contains("s3cr3t"), "{}", lines.all());
        }
    }
}
