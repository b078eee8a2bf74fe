//! What the requests of a connection carry: the query, the path, the headers, the credentials.

mod common;

use std::io;

use common::Lines;
use common::PATIENCE;
use common::scripted::{Exchange, OPEN, OPEN_UPGRADE, Request, Scripted};
use engineio::{Client, ConnectOptions, Disconnect, Error, TransportKind};

use TransportKind::{Polling, WebSocket};

/// A server that upgrades, and one that only polls.
fn server(open: &'static str) -> Scripted {
    Scripted::start(move |exchange: &mut Exchange| -> io::Result<()> {
        match &exchange.request {
            request if request.is_websocket() => {
                let upgrade = request.query.contains_key("sid");
                exchange.accept_websocket()?;
                if upgrade {
                    exchange.ws_read_text()?;
                }
                exchange.ws_text(if upgrade { "3probe" } else { open })?;
                exchange.hold()
            }
            request if request.method == "POST" => exchange.payload("ok"),
            request if request.is_poll() => exchange.hold(),
            _ => exchange.payload(open),
        }
    })
}

/// Connects each way, and has every kind of request made: handshake, poll, POST, upgrade, websocket.
fn every_request(client: &Client, url: impl Fn(&str) -> String, options: &ConnectOptions) -> Vec<Request> {
    let mut requests = Vec::new();
    for (open, transports) in
        [(OPEN, vec![Polling]), (OPEN_UPGRADE, vec![Polling, WebSocket]), (OPEN, vec![WebSocket])]
    {
        let server = server(open);
        client.connect_with(url(server.url()), options.clone().transports(transports)).unwrap();
        if client.transport().unwrap() == Polling {
            client.send("x").unwrap();
            // Until it is answered.
            client.flush(PATIENCE).unwrap();
            server.wait_for("poll", Request::is_poll);
        }
        client.disconnect_with(Disconnect::new().abort(true)).unwrap();
        client.wait();
        requests.extend(server.requests());
    }
    assert!(requests.len() >= 6, "{requests:?}");
    requests
}

#[test]
fn the_query_and_the_path() {
    let url = |url: &str| format!("{url}/ignored?token=a%20b&flag=&EIO=3&sid=mine");
    let requests = every_request(&Client::new(), url, &ConnectOptions::new());
    for request in &requests {
        assert_eq!(request.path, "/engine.io/");
        let is =
            |name: &str, value: &str| assert_eq!(request.query.get(name).map(String::as_str), Some(value));
        is("token", "a%20b");
        is("flag", "");
        is("EIO", "4");
        is("transport", if request.is_websocket() { "websocket" } else { "polling" });
        assert!(request.query.get("sid").is_none_or(|sid| sid == "abc"), "{request:?}");
        assert!(request.query["t"].starts_with(|c: char| c.is_ascii_digit()), "{request:?}");
    }
    let sids = requests.iter().filter(|request| request.query.contains_key("sid")).count();
    assert_eq!(requests.len() - sids, 3, "all but the first request of each session have the sid");
    let first: Vec<_> = requests.iter().take(2).map(|request| &request.query["t"]).collect();
    assert_ne!(first[0], first[1]);
}

#[test]
fn timestamps_can_be_off() {
    let client = Client::builder().timestamp_requests(false).build().unwrap();
    for request in every_request(&client, str::to_owned, &ConnectOptions::new()) {
        assert!(!request.query.contains_key("t"), "{request:?}");
    }
}

#[test]
fn the_path_option() {
    let options = ConnectOptions::new().path("/deep/socket.io/");
    for request in every_request(&Client::new(), |url| format!("{url}/engine.io/"), &options) {
        assert_eq!(request.path, "/deep/socket.io/");
    }
    for path in ["", "/", "a b", "a?b", "../x"] {
        let error = Client::new().connect_with("http://localhost:1", ConnectOptions::new().path(path));
        assert!(matches!(error, Err(Error::InvalidOption { option: "path", .. })), "{path:?}: {error:?}");
    }
}

#[test]
fn headers_are_on_every_request() {
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
        assert_eq!(request.header("user-agent"), [concat!("engineio/", env!("CARGO_PKG_VERSION"))]);
        assert_eq!(request.header("host").len(), 1);
    }
}

#[test]
fn the_user_agent_can_be_replaced() {
    let options = ConnectOptions::new().header("User-Agent", "mine/1");
    for request in every_request(&Client::new(), str::to_owned, &options) {
        assert_eq!(request.header("user-agent"), ["mine/1"]);
    }
}

#[test]
fn headers_that_cannot_be_the_users_are_refused() {
    let server = server(OPEN);
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
fn the_urls_credentials_are_sent_and_not_logged() {
    let lines = Lines::default();
    let client = Client::builder().logger(lines.clone()).build().unwrap();
    let url = |url: &str| url.replace("http://", "http://user:s%3Acret@") + "?token=s:cret";
    for request in every_request(&client, url, &ConnectOptions::new()) {
        // base64 of user:s:cret
        assert_eq!(request.header("authorization"), ["Basic dXNlcjpzOmNyZXQ="]);
    }
    let logged = lines.all();
    assert!(logged.contains("connecting to http://127.0.0.1"), "{logged}");
    for secret in ["cret", "dXNlcjpzOmNyZXQ="] {
        assert!(!logged.contains(secret), "{logged}");
    }
}

#[test]
fn bad_input_is_told_before_anything_is_sent() {
    let none = Client::new().connect_with("http://localhost:1", ConnectOptions::new().transports([]));
    assert!(matches!(none, Err(Error::InvalidOption { option: "transports", .. })), "{none:?}");
    let urls =
        ["", "localhost:5000", "ftp://localhost", "http://", "http://:5000", "http://h:99999", "http://a b"];
    for url in urls {
        let refused = Client::new().connect(url);
        assert!(matches!(refused, Err(Error::InvalidUrl { .. })), "{url:?}: {refused:?}");
    }
}

#[test]
fn websocket_schemes_mean_the_same() {
    let server = server(OPEN_UPGRADE);
    let client = Client::new();
    client.connect(server.url().replace("http://", "ws://")).unwrap();
    assert_eq!(client.transport().unwrap(), WebSocket);
    assert_eq!(server.requests().iter().map(Request::is_websocket).collect::<Vec<_>>(), [false, true]);
    client.disconnect_with(Disconnect::new().abort(true)).unwrap();
}

#[test]
fn a_redirect_to_another_server_takes_no_credentials_along() {
    for transport in [Polling, WebSocket] {
        let other = server(OPEN);
        let elsewhere = other.url().to_owned();
        let first = Scripted::start(move |exchange| {
            let query: Vec<_> = exchange.request.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let target = format!("Location: {elsewhere}/engine.io/?{}\r\n", query.join("&"));
            exchange.respond_with("307 Temporary Redirect", &target, "")
        });
        let client = Client::new();
        let options = ConnectOptions::new().transports([transport]);
        // By polling that is refused, once it is known.
        let _ = client.connect_with(first.url().replace("http://", "http://user:secret@"), options);
        client.disconnect_with(Disconnect::new().abort(true)).unwrap();
        assert_eq!(first.requests()[0].header("authorization").len(), 1, "{transport}");
        assert_eq!(other.requests()[0].header("authorization"), [""; 0], "{transport}");
    }
}
