//! The content of requests by both transports: path and query, headers, credentials, cookies, and the
//! settings of a user's agent.

#[path = "../tls/certificates.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod certificates;
#[path = "../proxy/server.rs"]
#[allow(dead_code, reason = "what it has of TLS is used")]
mod front;

mod addresses;
mod agent;
mod balancer;
mod cookies;
mod ends;
mod errors;
mod headers;
mod redirects;
mod secrets;
mod sizes;
#[cfg(unix)]
mod unix;

use std::io;

use common::PATIENCE;
use common::scripted::{Exchange, OPEN, OPEN_UPGRADE, Request, Scripted};
use engineio::{Client, ConnectOptions, TransportKind};

pub(crate) use TransportKind::{Polling, WebSocket};
pub(crate) use common::{WAYS, abort, by};

/// A server that accepts every client and offers the upgrade. Its first response sets the cookie `set`.
pub(crate) fn server() -> Scripted {
    Scripted::start(|exchange| serve(exchange, "Set-Cookie: set=by-server; Path=/\r\n"))
}

/// Answers one request. `headers` are sent with the first response.
pub(crate) fn serve(exchange: &mut Exchange, headers: &str) -> io::Result<()> {
    let known = exchange.request.query.contains_key("sid");
    if exchange.request.is_websocket() {
        exchange.accept_websocket_with(if known { "" } else { headers })?;
        if known {
            exchange.ws_read_text()?;
            exchange.ws_text("3probe")?;
            exchange.ws_read_text()?;
        } else {
            exchange.ws_text(OPEN)?;
        }
        while exchange.ws_read_text()? != "4quit" {}
        exchange.ws_text("1")
    } else if exchange.request.is_post() {
        exchange.payload("ok")
    } else if known {
        exchange.wait_closed()
    } else {
        let open = if exchange.request.query.contains_key("noupgrade") { OPEN } else { OPEN_UPGRADE };
        exchange.respond_with("200 OK", headers, open)
    }
}

/// Connects, sends a message, disconnects.
pub(crate) fn visit(client: &Client, url: &str, options: ConnectOptions) {
    client.connect_with(url, options).unwrap();
    client.send("hello").unwrap();
    client.disconnect().unwrap();
}

/// Connects in every way, so that every kind of request is made: handshake, poll, POST, upgrade and
/// websocket.
pub(crate) fn every_request(
    client: &Client,
    url: impl Fn(&str) -> String,
    options: &ConnectOptions,
) -> Vec<Request> {
    let mut requests = Vec::new();
    for way in WAYS {
        let server = Scripted::start(|exchange| serve(exchange, ""));
        let options = options.clone().transports(way.iter().copied());
        client.connect_with(url(server.url()), options).unwrap();
        client.send("hello").unwrap();
        if way == [Polling] {
            // `flush` waits for the response to the POST.
            client.flush(PATIENCE).unwrap();
            server.wait_for("poll", Request::is_poll);
        }
        client.disconnect().unwrap();
        requests.extend(server.requests());
    }
    assert!(requests.len() >= 6, "{requests:?}");
    requests
}
