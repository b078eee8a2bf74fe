//! What differs from server to server.

use std::time::Duration;

use common::official::{Kind, Options, Server};
use common::{Watch, by, only};
use engineio::{Client, Error, Message, Reason, TransportKind};
use serde_json::json;

use crate::harness::*;

/// The transport that a client with `transports` ends up with, at a server with the transports `allowed`. A
/// message comes back by it.
pub(crate) fn gets_to(kind: Kind, allowed: &'static str, transports: [TransportKind; 2]) -> TransportKind {
    let server = Server::start(kind, &Options { transports: allowed, ..Options::default() });
    let client = Client::new();
    let watch = Watch::new(&client);
    connect(&client, &server, by(&transports));
    watch.connected();
    client.send("hello").expect("connected");
    assert_eq!(watch.message(), Message::from("hello"));
    client.transport().expect("connected")
}

/// The server refuses the upgrade, whether it offers one or not. The connection stays on polling.
pub(crate) fn upgrade_refused(kind: Kind) {
    use TransportKind::{Polling, WebSocket};
    assert_eq!(gets_to(kind, "polling", [Polling, WebSocket]), Polling);
}

pub(crate) fn falls_back(kind: Kind) {
    use TransportKind::{Polling, WebSocket};
    assert_eq!(gets_to(kind, "polling", [WebSocket, Polling]), Polling);
    assert_eq!(gets_to(kind, "websocket", [Polling, WebSocket]), WebSocket);
}

/// The error contains the server's own explanation.
pub(crate) fn transport_refused(kind: Kind) {
    let server = Server::start(kind, &Options { transports: "websocket", ..Options::default() });
    let error = Client::new()
        .connect_with(server.url(), only(TransportKind::Polling))
        .expect_err("polling is not allowed");
    let Error::Connection { status, ref body, .. } = error else { panic!("another error: {error:?}") };
    let expected = match kind {
        Kind::Node => json!({"code": 0, "message": "Transport unknown"}),
        _ => json!("Invalid transport"),
    };
    assert_eq!((status, body.as_deref()), (Some(400), Some(&expected)), "{error}");
}

// These tests need a server of their own kind.

/// A server that closes each HTTP connection behind its answer, and does not announce it.
#[test]
#[ignore = "needs python3 and node"]
fn uvicorn_without_keep_alive() {
    let options = Options { keep_alive: Some(0), ..Options::default() };
    let case = Case { kind: Kind::PythonAsgi, route: Route::Polling };
    let peer = Peer::connect(case, &options);
    for i in 0..500 {
        peer.echo(format!("message {i}"));
    }
    peer.assert_alive();
}

/// npm's server refuses a slash at the end of the path, or requires it.
#[test]
#[ignore = "needs python3 and node"]
fn paths_of_the_official_servers() {
    let table = [
        (Kind::Node, "engine.io", false),
        (Kind::Node, "deep/er", true),
        (Kind::Node, "", true),
        (Kind::PythonThreading, "deep/er", true),
        (Kind::PythonAsgi, "deep/er", true),
    ];
    for (kind, path, trailing_slash) in table {
        let server = Server::start(kind, &Options { path, trailing_slash, ..Options::default() });
        let connect = |route: Route, slash| {
            let path = if path.is_empty() { "/" } else { path };
            let options = by(route.transports()).path(path).trailing_slash(slash);
            let client = Client::new();
            client.connect_with(server.url(), options).map(|()| client)
        };
        for route in [Route::Polling, Route::WebSocket, Route::Upgrade] {
            let client = connect(route, trailing_slash).unwrap();
            assert_eq!(client.transport().unwrap(), route.destination(), "{kind:?}, {path:?}");
            client.disconnect().unwrap();
        }
        if kind == Kind::Node && !path.is_empty() && trailing_slash {
            connect(Route::Polling, false).map(drop).expect_err("the slash makes a difference");
        }
    }
}

#[test]
#[ignore = "needs python3 and node"]
fn unix_sockets_of_the_official_servers() {
    for kind in [Kind::Node, Kind::PythonAsgi] {
        let path = std::env::temp_dir().join(format!("eio-{kind:?}-{}.sock", std::process::id()));
        let server = Server::start(kind, &Options { socket: Some(path.clone()), ..Options::default() });
        let encoded = path.display().to_string().replace('/', "%2F");
        for url in [format!("unix://{}", path.display()), format!("http+unix://{encoded}/")] {
            for route in [Route::Polling, Route::WebSocket, Route::Upgrade] {
                let client = Client::new();
                let watch = Watch::new(&client);
                client.connect_with(&url, by(route.transports())).unwrap();
                watch.connected();
                client.send("cmd:transport").unwrap();
                assert_eq!(watch.message(), Message::from(route.destination().as_str()), "{kind:?}, {url}");
                client.disconnect().unwrap();
            }
        }
        drop(server);
        let _ = std::fs::remove_file(path);
    }
}

/// A server of Engine.IO v3 is told at once, by every transport.
#[test]
#[ignore = "needs python3 and node"]
fn version_3() {
    let options = Options { ping_timeout: Duration::from_secs(5), ..Options::default() };
    let server = Server::start(Kind::NodeV3, &options);
    for route in [Route::Polling, Route::WebSocket, Route::Upgrade] {
        let error = Client::new().connect_with(server.url(), by(route.transports())).unwrap_err();
        assert!(error.to_string().contains("the server speaks Engine.IO v3"), "{route:?}: {error}");
    }
}

/// A server of Engine.IO v3 with other times than the usual ones is told when it ends the connection, because
/// it has got no pings.
#[test]
#[ignore = "needs python3 and node"]
fn version_3_with_other_times() {
    let server = Server::start(Kind::NodeV3, &fast_pings());
    let client = Client::new();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(TransportKind::WebSocket)).unwrap();
    watch.connected();
    let reason = watch.disconnected();
    // The server and the client give up at the same time.
    assert!(matches!(reason, Reason::ServerDisconnect | Reason::PingTimeout), "{reason:?}");
    client.wait();
    let error = client.last_error().expect("a reason").to_string();
    assert!(error.contains("Engine.IO v3"), "{error}");
}
