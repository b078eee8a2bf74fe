//! The upgrade that a client remembers: the requests on the wire, and the fallback.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::scripted::{Exchange, OPEN, OPEN_UPGRADE, Scripted};
use common::{PATIENCE, Watch, by};
use engineio::{Client, ClientBuilder, ConnectOptions, Reason, Reconnection, TransportKind};

use TransportKind::{Polling, WebSocket};

/// How the server treats websockets that are the start of a connection.
#[derive(Default)]
struct Rules {
    refuses: AtomicBool,
    holds: AtomicBool,
    /// Polling is refused too.
    down: AtomicBool,
}

/// A server that upgrades. A client may end its session with a message, too.
fn server(rules: &Arc<Rules>) -> Scripted {
    let rules = rules.clone();
    Scripted::start(move |exchange| {
        let request = &exchange.request;
        match (request.is_websocket(), request.query.contains_key("sid")) {
            _ if rules.down.load(Ordering::SeqCst) => exchange.respond("503 Service Unavailable", ""),
            (true, false) if rules.refuses.load(Ordering::SeqCst) => {
                exchange.respond("400 Bad Request", r#"{"code":3,"message":"Bad request"}"#)
            }
            (true, false) if rules.holds.load(Ordering::SeqCst) => exchange.hold(),
            (true, false) => {
                exchange.open_websocket(OPEN)?;
                until_quit(exchange)
            }
            (true, true) => {
                exchange.accept_websocket()?;
                assert_eq!(exchange.ws_read_text()?, "2probe");
                exchange.ws_text("3probe")?;
                assert_eq!(exchange.ws_read_text()?, "5");
                until_quit(exchange)
            }
            _ => exchange.answer(OPEN_UPGRADE),
        }
    })
}

fn until_quit(exchange: &mut Exchange) -> io::Result<()> {
    loop {
        match exchange.ws_read_text()?.as_str() {
            "4quit" | "1" => return exchange.ws_text("1"),
            _ => {}
        }
    }
}

/// The requests since the first `before` ones: `poll` for a GET, `upgrade` and `websocket`.
fn requests(server: &Scripted, before: usize) -> Vec<&'static str> {
    let requests = server.requests();
    let kind = |request: &common::scripted::Request| match request.is_websocket() {
        true if request.query.contains_key("sid") => "upgrade",
        true => "websocket",
        false => "poll",
    };
    requests[before..].iter().map(kind).collect()
}

fn builder() -> ClientBuilder {
    Client::builder().remember_upgrade(true)
}

/// Connects once. Returns the requests of that connection.
fn visit(client: &Client, server: &Scripted, options: ConnectOptions) -> Vec<&'static str> {
    let before = server.requests().len();
    client.connect_with(server.url(), options).unwrap();
    client.disconnect().unwrap();
    client.wait();
    requests(server, before)
}

#[test]
fn an_upgrade_is_remembered() {
    let server = server(&Arc::default());
    let client = builder().build().unwrap();
    assert_eq!(visit(&client, &server, ConnectOptions::new()), ["poll", "upgrade"]);
    for _ in 0..3 {
        assert_eq!(visit(&client, &server, ConnectOptions::new()), ["websocket"]);
    }
    // Another client knows nothing of it, and a clone is the same client.
    assert_eq!(visit(&builder().build().unwrap(), &server, ConnectOptions::new()), ["poll", "upgrade"]);
    assert_eq!(visit(&client.clone(), &server, ConnectOptions::new()), ["websocket"]);
    // Other transports than the default ones are used as the user says.
    let before = server.requests().len();
    client.connect_with(server.url(), by(&[Polling])).unwrap();
    assert_eq!(client.transport().unwrap(), Polling);
    assert_eq!(requests(&server, before)[0], "poll");
}

#[test]
fn nothing_is_remembered_by_default() {
    let server = server(&Arc::default());
    let client = Client::new();
    for _ in 0..3 {
        assert_eq!(visit(&client, &server, ConnectOptions::new()), ["poll", "upgrade"]);
    }
    let client = builder().build().unwrap();
    // A websocket that the user has asked for is no upgrade.
    assert_eq!(visit(&client, &server, by(&[WebSocket])), ["websocket"]);
    assert_eq!(visit(&client, &server, ConnectOptions::new()), ["poll", "upgrade"]);
}

/// Two round trips are saved: one request is made in place of two, and there is no probe.
#[test]
fn the_policy_saves_round_trips() {
    let server = server(&Arc::default());
    let policy = Reconnection::new().delay(Duration::from_millis(1));
    let client = builder().reconnection(policy).build().unwrap();
    let watch = Watch::new(&client);
    client.connect(server.url()).unwrap();
    for _ in 0..3 {
        watch.connected();
        assert_eq!(client.transport().unwrap(), WebSocket);
        client.send("quit").unwrap();
        assert_eq!(watch.disconnected(), Reason::ServerDisconnect);
    }
    watch.connected();
    assert_eq!(requests(&server, 0), ["poll", "upgrade", "websocket", "websocket", "websocket"]);
    client.disconnect().unwrap();
}

#[test]
fn a_websocket_that_fails_is_followed_by_polling() {
    type Rule = fn(&Rules) -> &AtomicBool;
    let table: [(Rule, &str); 2] = [(|rules| &rules.refuses, "refused"), (|rules| &rules.holds, "no answer")];
    for (rule, what) in table {
        let rules = Arc::<Rules>::default();
        let server = server(&rules);
        let timeout = if what == "refused" { PATIENCE } else { Duration::from_secs(1) };
        let client = builder().request_timeout(timeout).build().unwrap();
        assert_eq!(visit(&client, &server, ConnectOptions::new()), ["poll", "upgrade"]);
        rule(&rules).store(true, Ordering::SeqCst);
        assert_eq!(
            visit(&client, &server, ConnectOptions::new()),
            ["websocket", "poll", "upgrade"],
            "{what}"
        );
        // It is not tried again, before another connection has been upgraded.
        assert_eq!(visit(&client, &server, ConnectOptions::new()), ["poll", "upgrade"], "{what}");
        rule(&rules).store(false, Ordering::SeqCst);
        assert_eq!(visit(&client, &server, ConnectOptions::new()), ["websocket"], "{what}");
    }
}

/// The error is that of polling, as without the option. A server that cannot be reached is not forgotten.
#[test]
fn attempts_that_fail_altogether() {
    let rules = Arc::<Rules>::default();
    let server = server(&rules);
    let client = builder().build().unwrap();
    assert_eq!(visit(&client, &server, ConnectOptions::new()), ["poll", "upgrade"]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    client.connect(format!("http://{nobody}")).unwrap_err();
    assert_eq!(visit(&client, &server, ConnectOptions::new()), ["websocket"]);
    rules.down.store(true, Ordering::SeqCst);
    let error = client.connect(server.url()).unwrap_err();
    assert!(matches!(error, engineio::Error::Connection { status: Some(503), .. }), "{error}");
    rules.down.store(false, Ordering::SeqCst);
    assert_eq!(visit(&client, &server, ConnectOptions::new()), ["poll", "upgrade"]);
}
