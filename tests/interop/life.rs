//! Pings, idle connections and ends, with each server and each route.

use std::time::{Duration, Instant};

use common::official::{Kind, Options, PATIENCE};
use common::{Seen, Watch, by};
use crossbeam_channel::unbounded;
use engineio::{Client, Disconnect, Reason};
use serde_json::json;

use crate::harness::*;

pub(crate) fn server_disconnects(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.echo("one message");
    peer.send("cmd:close");
    assert_eq!(peer.reason(), Reason::ServerDisconnect, "{}", peer.state());
    peer.assert_over();
    let seen = peer.server.wait_for("disconnect");
    let reason = if case.kind == Kind::Node { "forced close" } else { "server disconnect" };
    assert_eq!((&seen["reason"], &seen["received"]), (&json!(reason), &json!(1)));
}

/// A disconnect reaches the server without a ping. The next ping would come only after 25 s.
pub(crate) fn client_disconnects(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.echo("one message");
    let start = Instant::now();
    peer.disconnect();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "disconnect took {took:?}");
    assert_eq!(
        peer.watch.0.try_recv(),
        Ok(Seen::Disconnect(Reason::ClientDisconnect)),
        "the handler has run"
    );
    peer.assert_over();
    let seen = peer.server.wait_for("disconnect");
    // The JavaScript server has no other name for this reason.
    let reason = if case.kind == Kind::Node { "transport close" } else { "client disconnect" };
    assert_eq!((&seen["reason"], &seen["received"]), (&json!(reason), &json!(1)));
}

/// An abort waits for nothing. By websocket the server notices it at once all the same.
pub(crate) fn client_aborts(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.echo("one message");
    // The echo may overtake the response to the POST, and an unconfirmed message counts as unsent.
    peer.client.flush(Duration::from_secs(10)).expect("the server answers");
    peer.client.disconnect_with(Disconnect::new().abort(true).reason("enough")).expect("nothing is queued");
    assert_eq!(peer.reason(), Reason::Other("enough".to_owned()));
    peer.assert_over();
    // By polling the servers cannot notice the abort at once. The Python servers do not see that a poll is
    // cut off, and there may be no poll at the moment. They wait 45 s for the next pong.
    if case.route != Route::Polling {
        peer.server.wait_for("disconnect");
    }
}

pub(crate) fn reconnects(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    let first = peer.client.sid();
    for _ in 0..3 {
        peer.disconnect();
        assert_eq!(peer.reason(), Reason::ClientDisconnect);
        connect(&peer.client, &peer.server, by(case.route.transports()));
        assert_eq!(peer.event(), Seen::Connect);
        peer.assert_alive();
    }
    assert_ne!(peer.client.sid(), first, "a new connection is a new session");
}

pub(crate) fn ten_pings(case: Case) {
    let peer = Peer::connect(case, &fast_pings());
    for _ in 0..10 {
        peer.server.wait_for("pong");
    }
    assert!(!peer.client.wait_timeout(Duration::ZERO), "the connection has ended; {}", peer.state());
    peer.assert_alive();
}

/// The server's process is stopped. Connections stay open, but no more data arrives.
pub(crate) fn frozen_server(case: Case) {
    let peer = Peer::connect(case, &fast_pings());
    let bound = tolerance(&peer.client) + Duration::from_secs(3);
    peer.server.freeze();
    let start = Instant::now();
    assert_eq!(peer.reason(), Reason::PingTimeout, "{}", peer.state());
    let took = start.elapsed();
    assert!(took < bound, "noticed after {took:?}, not within {bound:?}");
    peer.assert_over();
}

/// The connection lives although the server announces an interval of 0, also while a handler runs. It ends
/// when the server falls silent.
pub(crate) fn interval_of_zero(case: Case) {
    let (asleep, falls_asleep) = unbounded();
    let client = Client::new();
    let watch = Watch::after(&client, move |client, message| {
        if message.as_text() == Some("sleep") {
            // The send fails if the test has failed already.
            let _ = asleep.send(());
            client.sleep(Duration::from_secs(3));
        }
    });
    let peer = Peer::connect_client(case, &announced_as_zero(), client, watch);
    let handshake = peer.client.handshake().expect("connected");
    if case.kind != Kind::Node {
        assert_eq!(handshake.ping_interval(), Duration::from_secs(1));
        assert_eq!(handshake.ping_timeout(), Duration::from_millis(900));
    }
    for _ in 0..5 {
        peer.server.wait_for("pong");
    }
    peer.send("sleep");
    falls_asleep.recv_timeout(PATIENCE).expect("the handler is called");
    for _ in 0..5 {
        peer.server.wait_for("pong");
    }
    assert_eq!(peer.text(), "sleep", "{}", peer.state());
    peer.assert_alive();
    peer.server.freeze();
    assert_eq!(peer.reason(), Reason::PingTimeout, "{}", peer.state());
    peer.assert_over();
}

/// A handler that blocks the reader for three times the time after which both sides give up.
pub(crate) fn slow_handler(case: Case) {
    let (asleep, falls_asleep) = unbounded();
    let client = Client::new();
    let watch = Watch::after(&client, move |client, message| {
        if message.as_text() == Some("sleep") {
            // The send fails if the test has failed already.
            let _ = asleep.send(());
            client.sleep(3 * tolerance(client));
        }
    });
    let peer = Peer::connect_client(case, &fast_pings(), client, watch);

    peer.send("sleep");
    falls_asleep.recv_timeout(PATIENCE).expect("the handler is called");
    for i in 0..5 {
        // The pings are answered, and sending works.
        peer.server.wait_for("pong");
        peer.send(format!("message {i}"));
    }
    // Nothing is delivered while the handler sleeps.
    peer.watch.nothing_more();
    assert_eq!(peer.text(), "sleep", "{}", peer.state());
    for i in 0..5 {
        assert_eq!(peer.text(), format!("message {i}"));
    }
    peer.assert_alive();
}

/// Node and uvicorn close an HTTP connection that was idle for 5 s. Node adds a second that it does not
/// announce. The next POST must not be lost in a closed connection.
pub(crate) fn post_after_idle(case: Case) {
    let peer = Peer::connect(case, &Options::default());
    peer.echo("opens the connection");
    assert!(!peer.client.wait_timeout(Duration::from_secs(8)), "the connection has ended; {}", peer.state());
    peer.assert_alive();
}
