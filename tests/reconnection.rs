//! Reconnection after a loss, by the policy and by hand in the disconnect handler.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use common::real::Server;
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, Seen, Watch, only, within};
use crossbeam_channel::{Receiver, bounded, unbounded};
use engineio::{Client, ConnectOptions, Error, NextAttempt, Reason, Reconnection, State, TransportKind};

use TransportKind::{Polling, WebSocket};

fn quick() -> Reconnection {
    Reconnection::new().delay(Duration::from_millis(5)).max_delay(Duration::from_millis(20))
}

const CANCELLED: &str = "connecting again was cancelled after 0 attempt(s)";

fn told(policy: Reconnection) -> (Reconnection, Receiver<String>) {
    let (tell, told) = unbounded();
    (policy.on_event(move |event| drop(tell.send(event.to_string()))), told)
}

fn heard(told: &Receiver<String>, part: &str) {
    while !told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("not told of {part:?}")).contains(part) {}
}

/// A server that ends each of its first sessions as soon as it is open, each time in another way, and then no
/// more.
fn losing(losses: usize) -> Scripted {
    let sessions = AtomicUsize::new(0);
    Scripted::start(move |exchange| {
        exchange.open_websocket(OPEN)?;
        let session = sessions.fetch_add(1, Ordering::SeqCst);
        exchange.ws_text(&format!("4session {session}"))?;
        match (session < losses, session % 4) {
            (true, 0) => exchange.ws_text("1"),
            (true, 1) => exchange.close(),
            (true, 2) => exchange.reset(),
            (true, _) => exchange.ws_frame(0x88, &1011u16.to_be_bytes()),
            (false, _) => exchange.hold(),
        }
    })
}

#[test]
fn every_loss_is_made_good() {
    let server = losing(8);
    let client = Client::builder().reconnection(quick()).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(WebSocket).header("X-Kept", "yes")).unwrap();
    for session in 0..8 {
        watch.connected();
        match watch.next() {
            Seen::Message(message) => {
                assert_eq!(message.as_text(), Some(&*format!("session {session}")));
                watch.disconnected();
            }
            // A reset may overtake the message.
            Seen::Disconnect(reason) => assert_eq!(reason, Reason::TransportError),
            Seen::Connect => panic!("connected twice"),
        }
    }
    watch.connected();
    assert_eq!(watch.message().as_text(), Some("session 8"));
    // The count changes after the connect handler has run.
    common::eventually("the count", || client.stats().reconnections == 8);
    assert!(server.requests().iter().all(|request| request.header("x-kept") == ["yes"]));
    client.disconnect().unwrap();
    assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
    assert_eq!(client.state(), State::Disconnected);
}

#[test]
fn wait_goes_on_over_all_connections() {
    for transport in [Polling, WebSocket] {
        let server = Server::start();
        let client = Client::builder().reconnection(quick()).build().unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        let waiter = thread::spawn({
            let client = client.clone();
            move || client.wait()
        });
        for _ in 0..3 {
            watch.connected();
            client.send("cmd:close").unwrap();
            // By polling, engineioxide may close before it has answered the POST.
            assert_ne!(watch.disconnected(), Reason::ClientDisconnect);
        }
        watch.connected();
        assert!(!waiter.is_finished());
        client.disconnect().unwrap();
        within(PATIENCE, "wait returns", move || waiter.join().unwrap());
    }
}

#[test]
fn disconnect_ends_it_in_the_middle_of_a_pause() {
    let server = losing(1);
    let (policy, told) = told(Reconnection::new().delay(PATIENCE * 10).max_delay(PATIENCE * 10));
    let client = Client::builder().reconnection(policy).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    heard(&told, "connecting again in");
    assert_eq!(client.state(), State::Disconnected);
    let started = Instant::now();
    client.disconnect().unwrap();
    client.wait();
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn disconnect_ends_it_in_the_middle_of_an_attempt() {
    let connections = AtomicUsize::new(0);
    let server = Scripted::start(move |exchange| match connections.fetch_add(1, Ordering::SeqCst) {
        0 => {
            exchange.open_websocket(OPEN)?;
            exchange.ws_text("1")
        }
        _ => exchange.hold(),
    });
    let (policy, told) = told(quick());
    let client = Client::builder().reconnection(policy).request_timeout(PATIENCE * 10).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    common::eventually("the second attempt", || server.requests().len() == 2);
    let started = Instant::now();
    client.disconnect().unwrap();
    client.wait();
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(client.state(), State::Disconnected);
    // The observer is not told of a further attempt.
    heard(&told, "attempt 1 to connect again failed");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [CANCELLED.replace('0', "1")]);
}

#[test]
fn dropping_the_last_handle_ends_it() {
    let server = losing(1);
    let (policy, told) = told(Reconnection::new().delay(PATIENCE * 10).max_delay(PATIENCE * 10));
    let client = Client::builder().reconnection(policy).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    heard(&told, "connecting again in");
    drop(client);
    heard(&told, CANCELLED);
    // The policy, which owns the channel's sender, is dropped with the last thread.
    assert!(told.recv_timeout(PATIENCE).is_err_and(|e| e.is_disconnected()));
}

#[test]
fn it_gives_up_after_max_attempts_and_wait_returns() {
    let gone = Arc::new(AtomicUsize::new(0));
    let count = gone.clone();
    let server = Scripted::start(move |exchange| match count.fetch_add(1, Ordering::SeqCst) {
        0 => {
            exchange.open_websocket(OPEN)?;
            exchange.ws_text("1")
        }
        _ => exchange.respond("503 Service Unavailable", ""),
    });
    let (policy, told) = told(quick().max_attempts(3));
    let client = Client::builder().reconnection(policy).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.wait();
    heard(&told, "gave up after 3 attempt(s)");
    assert_eq!(gone.load(Ordering::SeqCst), 4);
    assert_eq!(client.state(), State::Disconnected);
}

#[test]
fn the_first_connect_is_retried_on_request() {
    let server = Scripted::start({
        let connections = AtomicUsize::new(0);
        move |exchange| match connections.fetch_add(1, Ordering::SeqCst) {
            0..3 => exchange.respond("503 Service Unavailable", ""),
            _ => {
                exchange.open_websocket(OPEN)?;
                exchange.hold()
            }
        }
    });
    let plain = Client::builder().reconnection(quick()).build().unwrap();
    let error = plain.connect_with(server.url(), only(WebSocket)).unwrap_err();
    assert!(matches!(error, Error::Connection { status: Some(503), .. }), "{error:?}");
    assert_eq!(server.requests().len(), 1, "it is not retried by default");
    let patient = Client::builder().reconnection(quick().first_connect(true)).build().unwrap();
    patient.connect_with(server.url(), only(WebSocket)).unwrap();
    assert_eq!(server.requests().len(), 4);
    patient.disconnect().unwrap();
}

/// The error does not say that of the last attempt, which has nothing to do with the end.
#[test]
fn a_disconnect_in_a_pause_of_the_first_connect_is_what_connect_returns() {
    let (policy, told) = told(Reconnection::new().first_connect(true).delay(PATIENCE));
    let client = Client::builder().reconnection(policy).build().unwrap();
    let gone = Server::start().url().to_owned();
    thread::scope(|scope| {
        let connected = scope.spawn(|| client.connect(&gone));
        heard(&told, "connecting again in");
        client.disconnect().unwrap();
        let error = connected.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("ended by `disconnect` or Ctrl-C"), "{error}");
    });
}

#[test]
fn a_connect_in_a_pause_of_the_first_connect_is_what_connect_returns() {
    let (policy, told) = told(Reconnection::new().first_connect(true).delay(PATIENCE));
    let client = Client::builder().reconnection(policy).build().unwrap();
    let gone = Server::start().url().to_owned();
    let server = Server::start();
    thread::scope(|scope| {
        let connected = scope.spawn(|| client.connect(&gone));
        heard(&told, "connecting again in");
        client.connect(server.url()).unwrap();
        let error = connected.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("connected or disconnected meanwhile"), "{error}");
    });
    client.disconnect().unwrap();
}

#[test]
fn a_handler_that_connects_by_itself_takes_precedence() {
    let server = losing(2);
    let (policy, told) = told(quick());
    let client = Client::builder().reconnection(policy).build().unwrap();
    let (connects, connected) = unbounded();
    let url = server.url().to_owned();
    client.on_connect(move |_| connects.send(()));
    client.on_disconnect(move |client, reason| match reason {
        Reason::ClientDisconnect => Ok(()),
        _ => client.connect_with(&url, only(WebSocket).header("X-By", "hand")),
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    for _ in 0..3 {
        connected.recv_timeout(PATIENCE).unwrap();
    }
    client.disconnect().unwrap();
    assert!(told.is_empty(), "{:?}", told.try_iter().collect::<Vec<_>>());
    assert!(server.requests()[1..].iter().all(|request| request.header("x-by") == ["hand"]));
}

/// The documentation's example of a reconnection without a policy.
#[test]
fn the_recipe_of_the_disconnect_handler() {
    let server = losing(5);
    let client = Client::new();
    let url = server.url().to_owned();
    let (messages, received) = unbounded();
    client.on_message(move |_, message| messages.send(message.to_string()));
    client.on_disconnect(move |client, reason| {
        while reason != Reason::ClientDisconnect && client.connect_with(&url, only(WebSocket)).is_err() {}
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    while received.recv_timeout(PATIENCE).unwrap() != "session 5" {}
    assert!(!client.wait_timeout(Duration::ZERO));
    client.disconnect().unwrap();
    assert!(client.wait_timeout(PATIENCE));
}

#[test]
fn what_is_sent_while_there_is_no_connection_is_refused() {
    let server = losing(1);
    let (policy, told) = told(Reconnection::new().delay(PATIENCE * 10).max_delay(PATIENCE * 10));
    let client = Client::builder().reconnection(policy).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    heard(&told, "connecting again in");
    assert!(matches!(client.send("x"), Err(Error::SocketIsClosed)));
    // The user's own `connect` takes precedence over the policy.
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    assert_eq!(client.state(), State::Connected);
    client.disconnect().unwrap();
}

#[test]
fn a_failed_connect_of_ones_own_leaves_the_policy_at_work() {
    let server = losing(1);
    let (policy, told) =
        told(quick().delay(Duration::from_millis(500)).max_delay(Duration::from_millis(500)));
    let client = Client::builder().reconnection(policy).build().unwrap();
    let (connects, connected) = unbounded();
    client.on_connect(move |_| connects.send(()));
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    connected.recv_timeout(PATIENCE).unwrap();
    heard(&told, "connecting again in");
    assert!(client.is_reconnecting());
    let refuses_once = refusing(1);
    client.connect_with(refuses_once.url(), only(WebSocket)).unwrap_err();
    heard(&told, "connected again at attempt 1");
    connected.recv_timeout(PATIENCE).unwrap();
    assert!(!client.wait_timeout(Duration::ZERO));
    client.disconnect().unwrap();
    common::eventually("the policy rests", || !client.is_reconnecting());
}

#[test]
fn a_connect_of_ones_own_ends_the_policys_pause() {
    let server = losing(1);
    let (policy, told) = told(quick().delay(PATIENCE).max_delay(PATIENCE));
    let client = Client::builder().reconnection(policy).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    heard(&told, "connecting again in");
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    common::eventually("the policy has ended", || !client.is_reconnecting());
    client.disconnect().unwrap();
    client.wait();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [CANCELLED]);
}

/// A server that refuses its first handshakes and ends no session.
fn refusing(refusals: usize) -> Scripted {
    let handshakes = AtomicUsize::new(0);
    Scripted::start(move |exchange| match &exchange.request {
        request if request.query.contains_key("sid") => exchange.hold(),
        _ if handshakes.fetch_add(1, Ordering::SeqCst) < refusals => {
            exchange.respond("503 Service Unavailable", "")
        }
        request if request.is_websocket() => {
            exchange.open_websocket(OPEN)?;
            exchange.hold()
        }
        _ => exchange.payload(OPEN),
    })
}

/// The tokens of all handshakes, in order.
fn tokens(server: &Scripted) -> Vec<String> {
    let handshakes = server.requests().into_iter().filter(|request| !request.query.contains_key("sid"));
    handshakes.map(|request| request.header("x-token").join(", ")).collect()
}

#[test]
fn the_policy_goes_on_with_the_last_connect_that_failed_in_its_pause() {
    for transport in [Polling, WebSocket] {
        let first = losing(1);
        let (second, third) = (refusing(1), refusing(1));
        let pause = Duration::from_millis(1500);
        let (policy, told) =
            told(Reconnection::new().delay(pause).max_delay(pause).randomization_factor(0.0));
        let client = Client::builder().reconnection(policy).build().unwrap();
        client.connect_with(first.url(), only(WebSocket).header("X-Token", "first")).unwrap();
        heard(&told, "connecting again in");
        client.connect_with(second.url(), only(transport).header("X-Token", "second")).unwrap_err();
        client.connect_with(third.url(), only(transport).header("X-Token", "third")).unwrap_err();
        heard(&told, "connected again at attempt 1");
        assert_eq!(tokens(&third), ["third", "third"], "{transport}");
        assert_eq!((tokens(&first).len(), tokens(&second).len()), (1, 1), "{transport}");
        assert_eq!(client.transport().unwrap(), transport);
        client.disconnect().unwrap();
    }
}

#[test]
fn the_policy_goes_on_with_the_last_connect_that_failed_in_the_disconnect_handler() {
    let (first, second) = (losing(1), refusing(2));
    let (policy, told) = told(quick());
    let client = Client::builder().reconnection(policy).build().unwrap();
    let url = second.url().to_owned();
    client.on_disconnect(move |client, reason| match reason {
        Reason::ClientDisconnect => Ok(()),
        _ => client.connect_with(&url, only(Polling).header("X-Token", "fresh")),
    });
    client.connect_with(first.url(), only(WebSocket).header("X-Token", "expired")).unwrap();
    heard(&told, "connected again at attempt 2");
    assert_eq!(tokens(&second), ["fresh"; 3]);
    assert_eq!(tokens(&first), ["expired"]);
    client.disconnect().unwrap();
}

/// The policy does not repeat a call that was refused because of its URL or because the client was connected.
#[test]
fn the_policy_does_not_go_on_with_a_call_that_tried_nothing() {
    let first = losing(2);
    let (policy, told) = told(quick());
    let client = Client::builder().reconnection(policy).build().unwrap();
    let (connects, connected) = unbounded();
    client.on_connect(move |client| {
        let again = client.connect("http://127.0.0.1:1");
        connects.send(matches!(again, Err(Error::AlreadyConnected)))
    });
    client.on_disconnect(|client, _| drop(client.connect("not a URL")));
    client.connect_with(first.url(), only(WebSocket).header("X-Token", "first")).unwrap();
    (0..3).for_each(|_| assert!(connected.recv_timeout(PATIENCE).unwrap()));
    heard(&told, "connected again at attempt 1");
    heard(&told, "connected again at attempt 1");
    assert_eq!(tokens(&first), ["first"; 3]);
    client.disconnect().unwrap();
}

/// The policy repeats the first connect as well: `wait` goes on in its pauses.
#[test]
fn wait_goes_on_while_a_first_connect_is_repeated() {
    let pause = Duration::from_secs(60);
    let (policy, told) = told(quick().delay(pause).max_delay(pause).first_connect(true));
    let client = Client::builder().reconnection(policy).build().unwrap();
    let connects = client.clone();
    let connect = thread::spawn(move || connects.connect("http://127.0.0.1:1"));
    heard(&told, "connecting again in");
    assert!(!client.wait_timeout(Duration::from_millis(100)));
    client.disconnect().unwrap();
    connect.join().unwrap().unwrap_err();
    assert!(client.wait_timeout(PATIENCE));
}

/// A server that ends each session after a message, and lets in only clients with the current token.
fn with_token(token: Arc<AtomicUsize>) -> Scripted {
    Scripted::start(move |exchange| {
        let expected = format!("Bearer {}", token.load(Ordering::SeqCst));
        if exchange.request.header("authorization") != [expected] {
            return exchange.respond("401 Unauthorized", "\"expired\"");
        }
        token.fetch_add(1, Ordering::SeqCst);
        exchange.open_websocket(OPEN)?;
        exchange.ws_text("4welcome")?;
        exchange.ws_text("1")
    })
}

fn bearer(token: usize) -> ConnectOptions {
    only(WebSocket).header("Authorization", format!("Bearer {token}"))
}

#[test]
fn each_attempt_gets_a_fresh_token() {
    let token = Arc::new(AtomicUsize::new(0));
    let server = with_token(token.clone());
    let url = format!("{}?own=1", server.url());
    let own = url.clone();
    let threads = Arc::new(Mutex::new(Vec::new()));
    let seen = threads.clone();
    let policy = quick().before_attempt(move |_| {
        seen.lock().unwrap().push(thread::current().name().unwrap_or_default().to_owned());
        let next = token.load(Ordering::SeqCst);
        match next {
            5 => Ok::<_, Error>(NextAttempt::Stop),
            _ => Ok(NextAttempt::connect(&own, bearer(next))),
        }
    });
    let (policy, told) = told(policy);
    let client = Client::builder().reconnection(policy).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(&url, bearer(0)).unwrap();
    for _ in 0..5 {
        watch.connected();
        assert_eq!(watch.message().as_text(), Some("welcome"));
        assert_eq!(watch.disconnected(), Reason::ServerDisconnect);
    }
    heard(&told, "gave up after 0 attempt(s) to connect again");
    assert!(client.wait_timeout(PATIENCE));
    assert_eq!(client.stats().reconnections, 4);
    assert_eq!(server.requests().len(), 5, "no attempt had an old token");
    assert!(server.requests().iter().all(|request| request.query["own"] == "1"));
    assert!(threads.lock().unwrap().iter().all(|name| name == "eio-reader"), "{threads:?}");
    watch.nothing_more();
}

#[test]
fn attempts_that_cannot_be_prepared_are_failed_attempts() {
    let server = losing(1);
    let url = server.url().to_owned();
    let policy = quick().before_attempt(move |upcoming| match upcoming.attempt() {
        1 => Err(io::Error::other("no token today")),
        2 => panic!("no idea"),
        3 => Ok(NextAttempt::connect("localhost", ConnectOptions::new())),
        4 => Ok(NextAttempt::connect(&url, ConnectOptions::new().header("a b", "c"))),
        5 => {
            let last = upcoming.last_error().expect("the attempt before has failed").to_string();
            assert!(last.contains("a b"), "{last}");
            Ok(NextAttempt::Repeat)
        }
        other => panic!("attempt {other}"),
    });
    let (policy, told) = told(policy);
    let client = Client::builder().reconnection(policy).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    for expected in [
        "attempt 1 to connect again failed: preparing the attempt failed: no token today",
        "attempt 2 to connect again failed: preparing the attempt panicked: no idea",
        "attempt 3 to connect again failed: invalid URL",
        "attempt 4 to connect again failed: invalid header",
        "connected again at attempt 5",
    ] {
        heard(&told, expected);
    }
    assert_eq!(server.requests().len(), 2);
    client.disconnect().unwrap();
}

/// The text of an error is the user's code as well.
#[test]
fn an_error_whose_text_panics_is_that_of_a_failed_attempt() {
    #[derive(Debug)]
    struct Unreadable;

    impl std::fmt::Display for Unreadable {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("no text")
        }
    }

    impl std::error::Error for Unreadable {}

    let server = losing(1);
    let policy = quick().before_attempt(|upcoming| match upcoming.attempt() {
        1 => Err(Box::<dyn std::error::Error + Send + Sync>::from(Unreadable)),
        2 => Err(io::Error::other(Unreadable).into()),
        _ => Ok(NextAttempt::Repeat),
    });
    let (policy, told) = told(policy);
    let client = Client::builder().reconnection(policy).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    for expected in [
        "attempt 1 to connect again failed: preparing the attempt failed, with an error that panicked",
        "attempt 2 to connect again failed: preparing the attempt failed, with an error that panicked",
        "connected again at attempt 3",
    ] {
        heard(&told, expected);
    }
    client.disconnect().unwrap();
    assert!(client.wait_timeout(PATIENCE));
}

/// The first call of `connect` is not prepared. The error is that of the last attempt.
#[test]
fn the_first_connect_is_repeated_with_fresh_options() {
    let token = Arc::new(AtomicUsize::new(7));
    let server = with_token(token.clone());
    let url = server.url().to_owned();
    for (first, stops) in [(false, true), (true, true), (true, false)] {
        let url = url.clone();
        let policy = quick().first_connect(first).before_attempt(move |upcoming| {
            Ok::<_, Error>(match (stops, upcoming.attempt()) {
                (true, 2..) => NextAttempt::Stop,
                (_, 1) => NextAttempt::connect(&url, bearer(0)),
                _ => NextAttempt::connect(&url, bearer(7)),
            })
        });
        let client = Client::builder().reconnection(policy).build().unwrap();
        let before = server.requests().len();
        let connected = client.connect_with(server.url(), bearer(1));
        let requests = server.requests().len() - before;
        if stops {
            let error = connected.unwrap_err();
            assert!(matches!(error, Error::Connection { status: Some(401), .. }), "{error}");
            assert_eq!(requests, if first { 2 } else { 1 });
        } else {
            connected.unwrap();
            client.disconnect_with(engineio::Disconnect::new().abort(true)).unwrap();
        }
    }
}

/// The user's decision counts, and the attempt that was being prepared is not made.
#[test]
fn the_user_may_decide_while_an_attempt_is_prepared() {
    for connects in [false, true] {
        let lost = losing(1);
        let other = Server::start();
        let (enter, entered) = bounded(1);
        let (release, released) = bounded::<()>(1);
        let policy = quick().before_attempt(move |_| {
            let _ = enter.send(());
            let _ = released.recv_timeout(PATIENCE);
            Ok::<_, Error>(NextAttempt::Repeat)
        });
        let (policy, told) = told(policy);
        let client = Client::builder().reconnection(policy).build().unwrap();
        client.connect_with(lost.url(), only(WebSocket)).unwrap();
        entered.recv_timeout(PATIENCE).unwrap();
        match connects {
            true => client.connect_with(other.url(), only(WebSocket)).unwrap(),
            // The call does not wait for the function.
            false => client.disconnect().unwrap(),
        }
        release.send(()).unwrap();
        heard(&told, CANCELLED);
        assert_eq!(client.is_connected(), connects);
        assert_eq!(lost.requests().len(), 1);
        client.disconnect().unwrap();
        client.wait();
    }
}

/// The function may call the client, as a handler may.
#[test]
fn the_function_may_disconnect_or_connect() {
    let server = losing(1);
    let handle = Arc::new(OnceLock::<Client>::new());
    let own = handle.clone();
    let policy = quick().before_attempt(move |_| {
        own.get().expect("set").disconnect()?;
        Ok::<_, Error>(NextAttempt::Repeat)
    });
    let (policy, told) = told(policy);
    let client = Client::builder().reconnection(policy).build().unwrap();
    let _ = handle.set(client.clone());
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    heard(&told, CANCELLED);
    assert!(client.wait_timeout(PATIENCE));
    assert_eq!(server.requests().len(), 1);
}
