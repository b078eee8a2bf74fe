//! The steps of the reconnection policy in event channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::next;
use common::real::Server;
use common::scripted::{OPEN, Scripted};
use common::{Lines, PATIENCE, only, within};
use crossbeam_channel::{Receiver, select, tick};
use engineio::{
    Client, Disconnect, EVENT_NAMES, Error, Event, Reason, Reconnection, ReconnectionEvent, TransportKind,
};

use TransportKind::{Polling, WebSocket};

fn quick() -> Reconnection {
    Reconnection::new().delay(Duration::from_millis(2)).max_delay(Duration::from_millis(5))
}

/// The pause of a policy that a test interrupts.
const ENDLESS: Duration = Duration::from_secs(1000);

fn step(event: Event) -> ReconnectionEvent {
    match event {
        Event::Reconnection(step) => step,
        other => panic!("{other:?} instead of a step"),
    }
}

/// Checks the failure of the `connect` that the policy repeats, the steps of failed attempts up to
/// `attempts`, and that the policy gives up.
fn gives_up(events: &Receiver<Event>, attempts: u32) {
    let first = step(next(events));
    assert!(matches!(first, ReconnectionEvent::Failed { attempt: 0, .. }), "{first}");
    for number in 1..=attempts {
        let waiting = step(next(events));
        assert!(
            matches!(waiting, ReconnectionEvent::Waiting { attempt, .. } if attempt == number),
            "{waiting}"
        );
        let failed = step(next(events));
        let ReconnectionEvent::Failed { attempt, error, .. } = &failed else { panic!("{failed}") };
        assert!(*attempt == number && matches!(**error, Error::Connection { .. }), "{failed}");
        assert_eq!(failed, failed.clone());
        assert_ne!(failed, waiting);
    }
    let last = step(next(events));
    assert!(matches!(last, ReconnectionEvent::GaveUp { attempts: made, .. } if made == attempts), "{last}");
}

#[test]
fn a_loop_learns_that_the_policy_gives_up() {
    for transport in [Polling, WebSocket] {
        for capacity in [0, 1, 100] {
            let server = Server::start();
            let client = Client::builder().reconnection(quick().max_attempts(3)).build().unwrap();
            let events = client.events(capacity);
            client.connect_with(server.url(), only(transport)).unwrap();
            assert_eq!(next(&events), Event::Connect);
            client.send("cmd:close").unwrap();
            assert!(matches!(next(&events), Event::Disconnect(_)));
            // The pause of the first attempt may be over before the server is gone.
            drop(server);
            let first = step(next(&events));
            assert!(matches!(first, ReconnectionEvent::Waiting { attempt: 1, .. }), "{first}");
            let deadline = Instant::now() + PATIENCE;
            let ticks = tick(Duration::from_millis(10));
            loop {
                select! {
                    recv(events) -> event => match event.unwrap() {
                        Event::Reconnection(ReconnectionEvent::GaveUp { attempts: 3, .. }) => break,
                        event => println!("{event:?}"),
                    },
                    recv(ticks) -> _ => assert!(Instant::now() < deadline, "nobody gives up"),
                }
            }
            assert!(within(PATIENCE, "wait returns", move || client.wait_timeout(PATIENCE)));
        }
    }
}

/// A server that ends each session at once, except for the last.
fn losing(losses: usize) -> Scripted {
    let sessions = AtomicUsize::new(0);
    Scripted::websocket(move |exchange| {
        if sessions.fetch_add(1, Ordering::SeqCst) < losses { exchange.ws_text("1") } else { exchange.hold() }
    })
}

#[test]
fn the_steps_stand_between_the_connections() {
    for capacity in [0, 1, 100] {
        let server = losing(20);
        let client = Client::builder().reconnection(quick()).build().unwrap();
        let events = client.events(capacity);
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        for _ in 0..20 {
            assert_eq!(next(&events), Event::Connect);
            assert_eq!(next(&events), Event::Disconnect(Reason::ServerDisconnect));
            let (waiting, connected) = (step(next(&events)), step(next(&events)));
            assert!(matches!(waiting, ReconnectionEvent::Waiting { attempt: 1, .. }), "{waiting}");
            assert!(matches!(connected, ReconnectionEvent::Connected { attempt: 1, .. }), "{connected}");
        }
        assert_eq!(next(&events), Event::Connect);
        client.disconnect().unwrap();
        assert_eq!(next(&events), Event::Disconnect(Reason::ClientDisconnect));
        client.wait();
        assert!(events.try_recv().is_err(), "the client's own end is not repaired");
    }
}

#[test]
fn a_disconnect_in_a_pause_cancels() {
    for capacity in [1, 100] {
        let server = losing(1);
        let policy = Reconnection::new().delay(ENDLESS).max_delay(ENDLESS);
        let timeout = Duration::from_millis(300);
        let client = Client::builder().reconnection(policy).request_timeout(timeout).build().unwrap();
        let events = client.events(capacity);
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        assert_eq!(next(&events), Event::Connect);
        assert!(matches!(next(&events), Event::Disconnect(_)));
        let waiting = step(next(&events));
        assert!(matches!(waiting, ReconnectionEvent::Waiting { attempt: 1, .. }), "{waiting}");
        client.disconnect().unwrap();
        let cancelled = step(next(&events));
        assert!(matches!(cancelled, ReconnectionEvent::Cancelled { attempts: 0, .. }), "{cancelled}");
        client.wait();
    }
}

/// A loop that ends at the last event of the policy ends, whoever has disconnected and when.
#[test]
fn a_loop_ends_with_the_reconnection() {
    let policy = || Reconnection::new().delay(ENDLESS).max_delay(ENDLESS);
    // The events before the last one.
    let before = |events: &Receiver<Event>| {
        let count = (0..).take_while(|_| !next(events).ends_reconnection()).count();
        assert!(events.try_recv().is_err(), "an event behind the last one");
        count
    };
    for reason in [Disconnect::new(), Disconnect::new().reason("enough")] {
        let server = losing(0);
        let client = Client::builder().reconnection(policy()).build().unwrap();
        let events = client.events(100);
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        client.disconnect_with(reason).unwrap();
        client.wait();
        assert_eq!(before(&events), 1);
    }
    // The disconnect comes after the loss, and before the policy begins.
    let server = losing(1);
    let client = Client::builder().reconnection(policy()).build().unwrap();
    client.on_disconnect(|client, _| client.disconnect());
    let events = client.events(100);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    assert_eq!(before(&events), 2);
    // The policy gives up.
    let gone = Client::builder().reconnection(quick().max_attempts(1)).build().unwrap();
    let server = Server::start();
    let events = gone.events(100);
    gone.connect_with(server.url(), only(WebSocket)).unwrap();
    drop(server);
    assert!(before(&events) > 2);
}

/// The channel is full, and nobody reads it.
#[test]
fn a_disconnect_does_not_wait_for_room() {
    let server = losing(1);
    let policy = Reconnection::new().delay(ENDLESS).max_delay(ENDLESS);
    let (lines, timeout) = (Lines::default(), Duration::from_millis(300));
    let builder = Client::builder().reconnection(policy).request_timeout(timeout).logger(lines.clone());
    let client = builder.build().unwrap();
    let events = client.events(2);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    common::eventually("a full channel", || events.is_full());
    let ended = within(PATIENCE, "disconnect returns", {
        let client = client.clone();
        move || client.disconnect().map(|()| client.wait_timeout(PATIENCE))
    });
    assert!(ended.unwrap(), "{client:?}");
    let missed = lines.at(log::Level::Warn);
    assert!(missed.iter().any(|line| line.contains("missed reconnection")), "{missed:?}");
    assert_eq!(events.try_iter().count(), 2);
}

#[test]
fn the_last_handle_may_be_dropped_in_a_pause() {
    let server = losing(1);
    let policy = Reconnection::new().delay(ENDLESS).max_delay(ENDLESS);
    let client = Client::builder().reconnection(policy).build().unwrap();
    let events = client.events(100);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    assert_eq!(next(&events), Event::Connect);
    assert!(matches!(next(&events), Event::Disconnect(_)));
    step(next(&events));
    drop(client);
    let cancelled = step(next(&events));
    assert!(matches!(cancelled, ReconnectionEvent::Cancelled { .. }), "{cancelled}");
    assert!(events.recv_timeout(PATIENCE).is_err_and(|e| e.is_disconnected()), "nobody is left to send");
}

#[test]
fn the_steps_of_a_first_connect_reach_the_channel() {
    let gone = Server::start().url().to_owned();
    let policy = quick().max_attempts(2).first_connect(true);
    let client = Client::builder().reconnection(policy).build().unwrap();
    let events = client.events(100);
    let error = client.connect_with(&gone, only(WebSocket)).unwrap_err();
    gives_up(&events, 2);
    // The caller gets the whole error, although the channel has had it too.
    let cause = std::error::Error::source(&error).expect("the system's error");
    assert!(cause.is::<std::io::Error>(), "{cause:?}");
}

/// The thread that connects is the one that would read the channel.
#[test]
fn a_first_connect_does_not_wait_for_room() {
    for capacity in [0, 1] {
        let gone = Server::start().url().to_owned();
        let lines = Lines::default();
        let policy = quick().max_attempts(2).first_connect(true);
        let client = Client::builder().reconnection(policy).logger(lines.clone()).build().unwrap();
        let events = client.events(capacity);
        let refused = within(PATIENCE, "connect returns", {
            let client = client.clone();
            move || client.connect_with(&gone, only(WebSocket))
        });
        assert!(matches!(refused, Err(Error::Connection { .. })), "{refused:?}");
        assert_eq!(events.try_iter().count(), capacity);
        let missed = lines.at(log::Level::Warn);
        let missed = missed.iter().filter(|line| line.contains("missed reconnection")).count();
        assert_eq!(missed, 6 - capacity);
    }
}

/// The disconnect handler runs before its event is sent, so the steps of its own `connect` come first.
#[test]
fn a_first_connect_in_a_disconnect_handler_waits_for_nothing() {
    let gone = Server::start().url().to_owned();
    let server = losing(1);
    let policy = quick().max_attempts(1).first_connect(true);
    let client = Client::builder().reconnection(policy).build().unwrap();
    let mut calls = 0;
    let url = server.url().to_owned();
    client.on_disconnect(move |client, _| {
        calls += 1;
        // The first server that this asks does not exist.
        if calls == 1 {
            client.connect_with(&gone, only(WebSocket)).unwrap_err();
            client.connect_with(&url, only(WebSocket)).unwrap();
        }
    });
    let events = client.events(100);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    assert_eq!(next(&events), Event::Connect);
    gives_up(&events, 1);
    assert_eq!(next(&events), Event::Disconnect(Reason::ServerDisconnect));
    assert_eq!(next(&events), Event::Connect);
    client.disconnect().unwrap();
    assert_eq!(next(&events), Event::Disconnect(Reason::ClientDisconnect));
}

#[test]
fn the_policys_own_function_hears_each_step_first() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    let policy = quick().on_event(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let server = losing(3);
    let client = Client::builder().reconnection(policy).build().unwrap();
    let events = client.events(0);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    let mut steps = 0;
    while steps < 6 {
        if let Event::Reconnection(_) = next(&events) {
            steps += 1;
            assert!(heard.load(Ordering::SeqCst) >= steps);
        }
    }
    client.disconnect_with(engineio::Disconnect::new().abort(true)).unwrap();
}

#[test]
fn a_step_has_a_name_and_no_handler() {
    let client = Client::new();
    assert!(matches!(client.on("reconnection", |_, _| {}), Err(Error::InvalidEvent { .. })));
    assert_eq!(EVENT_NAMES, ["connect", "message", "disconnect"]);
    let gone = Server::start().url().to_owned();
    let policy = quick().max_attempts(0).first_connect(true);
    let client = Client::builder().reconnection(policy).build().unwrap();
    let events = client.events(10);
    client.connect_with(&gone, only(WebSocket)).unwrap_err();
    assert!(events.try_iter().all(|event| event.name() == "reconnection"));
    client.connect_with(&gone, only(WebSocket)).unwrap_err();
    gives_up(&events, 0);
    let quiet = Scripted::silent(OPEN);
    client.connect_with(quiet.url(), only(WebSocket)).unwrap();
    assert_eq!(next(&events), Event::Connect);
    client.disconnect().unwrap();
}
