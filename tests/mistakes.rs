//! Common mistakes of new users. The error says what has happened and what to try, and the README lists it
//! under "Troubleshooting".

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::real::{Options, Server};
use common::scripted::{OPEN, Scripted};
use common::{Lines, PATIENCE, in_full, only};
use engineio::{Client, Disconnect, Error, Reconnection, TransportKind};
use log::Level;

use TransportKind::{Polling, WebSocket};

/// Returns a text of an error, which must be a symptom in the README.
fn listed(symptom: &str) -> &str {
    let (_, entries) = include_str!("../README.md").split_once("## Troubleshooting").unwrap();
    let (entries, _) = entries.split_once("\n## ").unwrap();
    let mut symptoms = entries.split("**`").skip(1).filter_map(|entry| entry.split('`').next());
    let is_listed = symptoms.any(|text| text.replace("\n ", "").starts_with(symptom));
    assert!(is_listed, "the README does not list {symptom:?}");
    symptom
}

/// Checks that the error has all of these texts, by each transport.
fn says(url: &str, parts: &[&str]) {
    for transport in [Polling, WebSocket] {
        let error = Client::new().connect_with(url, only(transport)).unwrap_err();
        reads_well(&error);
        let error = error.to_string();
        for part in parts {
            assert!(error.contains(part), "by {transport}, {part:?} is not in: {error}");
        }
        assert!(error.len() < 250 && !error.contains('\n'), "{error}");
    }
}

/// Checks an error as a program prints it, with its causes: there is one question at most, no text goes on
/// behind a question mark, and no cause is repeated.
fn reads_well(error: &Error) {
    let shown = in_full(error);
    assert!(shown.matches('?').count() <= 1, "{shown}");
    assert!(!["?;", "?:", "?,", ";;"].iter().any(|end| shown.contains(end)), "{shown}");
    let mut told = error.to_string().to_lowercase();
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    for cause in causes.map(|cause| cause.to_string().to_lowercase()) {
        // The text of a system's error ends in its number.
        let text = cause.split(" (os error").next().unwrap();
        assert!(!told.contains(text), "{cause:?} is told twice: {shown}");
        told.push_str(&cause);
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
    says(
        &format!("http://{address}"),
        &["127.0.0.1", &port, listed("connection refused (is the server running?)")],
    );
}

#[test]
fn the_scheme_is_missing_or_unknown() {
    says("localhost:5000", &["localhost:5000", "add http:// or https://"]);
    says("ftp://localhost", &["ftp", "http"]);
    for url in ["localhost", "http:8080", "https:443", "ws.example.org", "http"] {
        says(url, &[listed("it has no scheme"), "add http:// or https://"]);
    }
}

#[test]
fn the_scheme_lacks_a_slash_or_its_colon() {
    for (url, scheme) in [
        ("http:/localhost:5000", "http"),
        ("https:/example.org", "https"),
        ("HTTP:/localhost", "http"),
        ("http:localhost:5000", "http"),
        ("https//example.org", "https"),
        ("ws:/localhost", "ws"),
        ("wss:\\\\localhost", "wss"),
    ] {
        says(url, &[&format!("two slashes after {scheme}: {scheme}://")]);
    }
}

#[test]
fn http_for_https_and_the_other_way_round() {
    let tls = Server::with(Options { tls: true, ..Options::default() });
    says(&tls.url().replace("https", "http"), &[listed("the server speaks TLS on this port"), "https://"]);
    let plain = Server::start();
    says(&plain.url().replace("http", "https"), &[listed("does not speak TLS on this port"), "http://"]);
}

#[test]
fn http_for_https_where_the_server_says_nothing_at_all() {
    // Node's and Python's TLS servers answer a plain request in this way.
    let server = Scripted::start(|exchange| exchange.close());
    says(
        server.url(),
        &[listed("the server closed the connection without an answer"), "expect https://", "path"],
    );
}

#[test]
fn a_server_that_does_not_answer_at_this_path() {
    let server = Scripted::start(|exchange| exchange.hold());
    for transport in [Polling, WebSocket] {
        let client = Client::builder().request_timeout(Duration::from_millis(300)).build().unwrap();
        let options = only(transport);
        let error = client.connect_with(server.url(), options).unwrap_err();
        assert!(error.is_timeout() && error.to_string().contains("socket.io"), "{error}");
        assert!(error.to_string().contains(listed("waiting for the server's HTTP response")), "{error}");
    }
}

#[test]
fn a_certificate_that_nobody_knows() {
    let tls = Server::with(Options { tls: true, ..Options::default() });
    let url = tls.url().replace("127.0.0.1", "localhost");
    says(
        &url,
        &["the certificate of localhost", listed("is not signed by a known authority"), "ca_certificate"],
    );
}

#[test]
fn the_wrong_path() {
    let server = answering("404 Not Found", "");
    says(server.url(), &["/engine.io/", listed("status 404"), "path"]);
    // This is how npm's engine.io answers.
    let npm = answering("501 Not Implemented", "Not Implemented");
    says(npm.url(), &["/engine.io/", listed("status 501"), "ConnectOptions::path"]);
    let error = Client::new().connect(server.url()).unwrap_err().to_string();
    assert!(!error.contains("URL"), "{error}");
    // A path in the URL is the likely mistake then.
    says(&format!("{}/chat", server.url()), &["/engine.io/", "404", "the path of the URL is not used"]);
}

/// A URL that has worked needs no questions about it.
#[test]
fn a_server_that_was_there_before() {
    let connections = AtomicUsize::new(0);
    let server = Scripted::start(move |exchange| match connections.fetch_add(1, Ordering::SeqCst) {
        0 => {
            exchange.open_websocket(OPEN)?;
            exchange.hold()
        }
        _ => exchange.close(),
    });
    let client = Client::new();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.disconnect_with(Disconnect::new().abort(true)).unwrap();
    let error = client.connect_with(server.url(), only(WebSocket)).unwrap_err().to_string();
    assert!(!error.contains("path") && !error.contains('?'), "{error}");
}

#[test]
fn sending_without_a_connection() {
    let client = Client::new();
    let error = client.send("hi").unwrap_err();
    assert!(matches!(error, Error::SocketIsClosed));
    assert!(error.to_string().contains(listed("there is no open connection")), "{error}");
}

#[test]
fn connecting_twice() {
    let server = Server::start();
    let client = Client::new();
    client.connect(server.url()).unwrap();
    let error = client.connect(server.url()).unwrap_err();
    assert_eq!(error.to_string(), listed("the client is already connected"));
    client.disconnect().unwrap();
}

#[test]
fn a_message_above_the_limit_of_the_server() {
    let server = Server::with(Options { max_payload: 1000, ..Options::default() });
    let client = Client::new();
    client.connect_with(server.url(), only(Polling)).unwrap();
    let error = client.send("x".repeat(2000)).unwrap_err();
    reads_well(&error);
    let error = error.to_string();
    for part in [
        "2001 bytes",
        "1000",
        listed("the server accepts at most"),
        "`max_http_buffer_size`",
        "`maxHttpBufferSize`",
    ] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    client.disconnect().unwrap();
}

/// A program often disconnects where it notices the loss, and at its end.
#[test]
fn a_loss_is_told_once() {
    let server = Scripted::silent(OPEN);
    let client = Client::new();
    for _ in 0..2 {
        client.connect_with(server.url(), only(Polling)).unwrap();
        client.send("lost").unwrap();
        let told = client.disconnect_with(Disconnect::new().abort(true));
        assert!(matches!(told, Err(Error::Unsent { messages: 1, .. })), "{told:?}");
        client.disconnect().unwrap();
        client.wait();
        client.disconnect().unwrap();
    }
    assert_eq!(client.stats().unsent, 2);
}

#[test]
fn a_first_connect_that_is_repeated_tells_its_failure() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let policy = Reconnection::new()
        .first_connect(true)
        .delay(Duration::from_millis(1))
        .max_attempts(1)
        .on_event(move |event| drop(tell.send(event.to_string())));
    let client = Client::builder().reconnection(policy).build().unwrap();
    client.connect(format!("http://{address}")).unwrap_err();
    let next = || told.recv_timeout(PATIENCE).unwrap();
    let first = next();
    assert!(first.starts_with("connecting failed: ") && first.contains("refused"), "{first}");
    assert!(!first.contains("again"), "{first}");
    assert!(next().starts_with("connecting again in"));
    assert!(next().starts_with("attempt 1 to connect again failed: "));
    assert_eq!(next(), "gave up after 1 attempt(s) to connect again");
}

#[test]
fn a_path_in_the_url() {
    let server = Server::start();
    for (path, warnings) in [("", 0), ("/", 0), ("/engine.io", 0), ("/engine.io/?a=b", 0), ("/s3cr3t", 1)] {
        let lines = Lines::default();
        let client = Client::builder().logger(lines.clone()).build().unwrap();
        // The second connection does not repeat it.
        for _ in 0..2 {
            client.connect(format!("{}{path}", server.url())).unwrap();
            client.disconnect().unwrap();
        }
        let told = lines.at(Level::Warn);
        assert_eq!(told.len(), warnings, "{path}: {told:?}");
        assert!(
            told.iter().all(|line| line.contains(listed("the path of the URL is not used"))
                && line.contains("`ConnectOptions::path`")
                && !line.contains("s3cr3t")),
            "{told:?}"
        );
    }
}

#[test]
fn credentials_are_missing() {
    says(answering("401 Unauthorized", "").url(), &[listed("status 401"), "credentials"]);
    says(answering("403 Forbidden", "no").url(), &[listed("status 403"), "credentials"]);
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
        assert!(["Session ID unknown", "Invalid session"].iter().any(|said| error.contains(listed(said))));
        assert!(!error.contains("abc"), "the session's id: {error}");
    }
}

#[test]
fn a_server_of_another_kind() {
    let page = answering("200 OK", "<html>hello</html>");
    let error = Client::new().connect(page.url()).unwrap_err().to_string();
    assert!(error.contains(listed("not the answer of an Engine.IO v4 server")), "{error}");
    let packet = r#"0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":5000}"#;
    let old = Scripted::start(move |exchange| exchange.payload(format!("{}:{packet}", packet.len())));
    let error = Client::new().connect(old.url()).unwrap_err().to_string();
    assert!(error.contains(listed("the server speaks Engine.IO v3")), "{error}");
    // No websocket is tried, because it would seem to work until a ping is overdue.
    assert_eq!(old.requests().len(), 1);
}

/// A Socket.IO server opens the connection like any Engine.IO server, and refuses the first other message.
#[test]
#[cfg(unix)]
#[ignore = "needs node"]
fn a_socketio_server() {
    use common::{connected, official};
    use engineio::ConnectOptions;

    let server = official::Server::start(official::Kind::SocketIo, &official::Options::default());
    let (client, watch) = connected(&server.url(), ConnectOptions::new().path("socket.io"));
    client.send("hello").unwrap();
    assert_eq!(watch.disconnected().to_string(), listed("server disconnect"));
}
