//! Common mistakes of new users. The error says what has happened and what to try.

mod common;

use std::net::TcpListener;
use std::time::Duration;

use common::real::{Options, Server};
use common::scripted::{OPEN, Scripted};
use common::{Lines, only};
use engineio::{Client, TransportKind};
use log::Level;

use TransportKind::{Polling, WebSocket};

/// Checks that the error has all of these texts, by each transport.
fn says(url: &str, parts: &[&str]) {
    for transport in [Polling, WebSocket] {
        let options = only(transport);
        let error = Client::new().connect_with(url, options).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "by {transport}, {part:?} is not in: {error}");
        }
        assert!(error.len() < 250 && !error.contains('\n'), "{error}");
    }
}

/// A server that answers every request with this status and body.
fn answering(status: &'static str, body: &'static str) -> Scripted {
    Scripted::start(move |exchange| exchange.respond(status, body))
}

#[test]
fn the_server_is_not_running() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = address.port().to_string();
    says(&format!("http://{address}"), &["127.0.0.1", &port, "refused", "is the server running?"]);
}

#[test]
fn the_scheme_is_missing_or_unknown() {
    says("localhost:5000", &["localhost:5000", "add http:// or https://"]);
    says("ftp://localhost", &["ftp", "http"]);
}

#[test]
fn http_for_https_and_the_other_way_round() {
    let tls = Server::with(Options { tls: true, ..Options::default() });
    says(&tls.url().replace("https", "http"), &["TLS", "https://"]);
    let plain = Server::start();
    says(&plain.url().replace("http", "https"), &["does not speak TLS", "http://"]);
}

#[test]
fn http_for_https_where_the_server_says_nothing_at_all() {
    // Node's and Python's TLS servers answer a plain request in this way.
    let server = Scripted::start(|exchange| exchange.close());
    says(server.url(), &["closed the connection without an answer", "is it https://", "path"]);
}

#[test]
fn a_server_that_does_not_answer_at_this_path() {
    let server = Scripted::start(|exchange| exchange.hold());
    for transport in [Polling, WebSocket] {
        let client = Client::builder().request_timeout(Duration::from_millis(300)).build().unwrap();
        let options = only(transport);
        let error = client.connect_with(server.url(), options).unwrap_err();
        assert!(error.is_timeout() && error.to_string().contains("socket.io"), "{error}");
    }
}

#[test]
fn a_certificate_that_nobody_knows() {
    let tls = Server::with(Options { tls: true, ..Options::default() });
    let url = tls.url().replace("127.0.0.1", "localhost");
    says(&url, &["the certificate of localhost", "not signed by a known authority", "ca_certificate"]);
}

#[test]
fn the_wrong_path() {
    let server = answering("404 Not Found", "");
    says(server.url(), &["/engine.io/", "404", "path"]);
}

#[test]
fn a_path_in_the_url() {
    let server = Server::start();
    for (path, warnings) in [("", 0), ("/", 0), ("/engine.io", 0), ("/engine.io/?a=b", 0), ("/s3cr3t", 1)] {
        let lines = Lines::default();
        let client = Client::builder().logger(lines.clone()).build().unwrap();
        client.connect(format!("{}{path}", server.url())).unwrap();
        client.disconnect().unwrap();
        let told = lines.at(Level::Warn);
        assert_eq!(told.len(), warnings, "{path}: {told:?}");
        assert!(
            told.iter().all(|line| line.contains("option `path`") && !line.contains("s3cr3t")),
            "{told:?}"
        );
    }
}

#[test]
fn credentials_are_missing() {
    says(answering("401 Unauthorized", "").url(), &["401", "credentials"]);
    says(answering("403 Forbidden", "no").url(), &["403", "credentials"]);
}

#[test]
fn several_workers_without_sticky_sessions() {
    for body in [r#"{"code":1,"message":"Session ID unknown"}"#, r#""Invalid session abc""#] {
        // One worker opens the session, and another one does not know it.
        let server = Scripted::start(move |exchange| match exchange.request.query.contains_key("sid") {
            true => exchange.respond("400 Bad Request", body),
            false => exchange.payload(OPEN),
        });
        let client = Client::new();
        let connected = client.connect_with(server.url(), only(Polling));
        connected.expect("the handshake itself succeeds");
        client.wait();
        let error = client.last_error().unwrap().to_string();
        assert!(error.contains("400") && error.contains("sticky sessions"), "{error}");
        assert!(!error.contains("abc"), "the session's id: {error}");
    }
}

#[test]
fn a_server_of_another_kind() {
    let page = answering("200 OK", "<html>hello</html>");
    let error = Client::new().connect(page.url()).unwrap_err().to_string();
    assert!(error.contains("not the answer of an Engine.IO v4 server"), "{error}");
    let packet = r#"0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":5000}"#;
    let old = Scripted::start(move |exchange| exchange.payload(format!("{}:{packet}", packet.len())));
    let error = Client::new().connect(old.url()).unwrap_err().to_string();
    assert!(error.contains("v3"), "{error}");
    // No websocket is tried, because it would seem to work until a ping is overdue.
    assert_eq!(old.requests().len(), 1);
}
