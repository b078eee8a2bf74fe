//! Many threads use one client at the same time, and handlers make every call. There is no deadlock, and
//! connects and disconnects alternate. `ENGINEIO_SEED` repeats the operations of a failure, but not the
//! schedule of the threads.

#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::hang::{Chance, Watchdog, seed, times};
use common::process::{alone, threads};
use common::real::Server;
use common::scripted::{Exchange, OPEN, OPEN_UPGRADE, Scripted, open_with};
use common::{PATIENCE, WAYS, Watch, by, eventually, only, within};
use engineio::{Client, ConnectOptions, Disconnect, Error, Reason, Reconnection, State, TransportKind};

use TransportKind::{Polling, WebSocket};

fn no_threads() {
    eventually("the client's threads have ended", || threads().is_empty());
}

/// The order in which handlers began: true for connect, false for disconnect.
type Order = Arc<Mutex<Vec<bool>>>;

fn record(order: &Order, connect: bool) {
    order.lock().unwrap_or_else(PoisonError::into_inner).push(connect);
}

/// Makes a random call. Its result does not matter, but it must return.
fn operate(client: &Client, url: &str, chance: &mut Chance) {
    match chance.below(40) {
        0..8 => {
            let way = WAYS[chance.below(3) as usize];
            drop(client.connect_with(url, by(way)));
        }
        8..16 => drop(client.send(format!("{}", chance.next()))),
        16..20 => drop(client.try_send(vec![1; 100])),
        20..22 => drop(client.send("cmd:burst 20 x")),
        22 => drop(client.send("cmd:close")),
        23..26 => drop(client.flush(Duration::from_micros(chance.below(2_000)))),
        26..29 => drop(client.disconnect()),
        29 => drop(client.disconnect_with(Disconnect::new().abort(true))),
        30 => drop(client.disconnect_with(Disconnect::new().reason("enough"))),
        31..33 => drop(client.wait_timeout(Duration::from_micros(chance.below(2_000)))),
        33..36 => on_message(client, url, chance.next()),
        36 => {
            drop((client.sid(), client.transport(), client.handshake(), client.stats(), client.last_error()))
        }
        37 => drop(client.clone()),
        _ => thread::sleep(Duration::from_micros(chance.below(1_000))),
    }
}

/// Registers a handler that sometimes makes a random call too, or panics.
fn on_message(client: &Client, url: &str, seed: u64) {
    let (mut chance, url) = (Chance::new(seed), url.to_owned());
    client.on_message(move |client, _| match chance.below(8) {
        0 => operate(client, &url, &mut chance),
        1 => std::panic::resume_unwind(Box::new("a handler's")),
        _ => {}
    });
}

fn round(url: &str, seed: u64) {
    let mut chance = Chance::new(seed);
    let client = Client::builder().outbox_limit(2_000).inbox_limit(2_000).build().unwrap();
    let order = Order::default();
    let (connects, disconnects) = (order.clone(), order.clone());
    client.on_connect(move |_| record(&connects, true));
    client.on_disconnect(move |_, _| record(&disconnects, false));
    on_message(&client, url, chance.next());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (client, url, mut chance) = (client.clone(), url.to_owned(), Chance::new(chance.next()));
            thread::spawn(move || (0..15).for_each(|_| operate(&client, &url, &mut chance)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let gone = client.disconnect();
    assert!(matches!(gone, Ok(()) | Err(Error::Unsent { .. })), "{gone:?}");
    client.wait();
    assert_eq!(client.state(), State::Disconnected);
    assert_alternate(&order.lock().unwrap());
}

fn assert_alternate(order: &[bool]) {
    let alternate = order.iter().enumerate().all(|(index, connect)| *connect == (index % 2 == 0));
    assert!(alternate && order.len().is_multiple_of(2), "{order:?}");
}

#[test]
fn threads_do_everything_at_once() {
    let _alone = alone();
    let server = Server::start();
    let first = seed();
    let watchdog = Watchdog::new(3 * PATIENCE);
    for seed in (0..times(300, 10_000)).map(|round| first.wrapping_add(round)) {
        watchdog.feed(format!("ENGINEIO_SEED={seed}"));
        let url = server.url();
        if let Err(panic) = std::panic::catch_unwind(|| round(url, seed)) {
            eprintln!("ENGINEIO_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
    no_threads();
}

/// Either call may come first, with and without a reconnection policy.
#[test]
fn a_disconnect_that_meets_the_end_of_a_connect() {
    let _alone = alone();
    let server = Scripted::silent(OPEN);
    let policy = Reconnection::new().delay(Duration::from_millis(1)).max_delay(Duration::from_millis(2));
    let builder = Client::builder().reconnection(policy);
    let (mut chance, mut typical) = (Chance::new(seed()), Duration::from_millis(1));
    for _ in 0..times(500, 20_000) {
        let client = builder.clone().build().unwrap();
        thread::scope(|scope| {
            let connect = scope.spawn(|| {
                let began = Instant::now();
                client.connect_with(server.url(), only(WebSocket)).is_ok().then(|| began.elapsed())
            });
            while client.state() == State::Disconnected {
                thread::yield_now();
            }
            let disconnect = Instant::now() + typical * (50 + chance.below(60) as u32) / 100;
            while Instant::now() < disconnect {
                std::hint::spin_loop();
            }
            client.disconnect().unwrap();
            match connect.join().unwrap() {
                Some(took) => typical = (typical * 7 + took) / 8,
                None => typical += Duration::from_micros(2),
            }
        });
        assert!(client.wait_timeout(PATIENCE), "{:?}", client.state());
    }
}

/// A call that a handler makes. It returns whether the call succeeded, or `None` if the result does not
/// matter.
type Call = fn(&Client, &str) -> Option<bool>;

const CALLS: [(&str, Call); 8] = [
    ("connect", |client, url| Some(client.connect(url).is_ok())),
    ("disconnect", |client, _| Some(ended(client.disconnect()))),
    ("abort", |client, _| Some(ended(client.disconnect_with(Disconnect::new().abort(true))))),
    ("wait", |client, _| {
        client.wait();
        None
    }),
    ("wait_timeout", |client, _| Some(client.wait_timeout(PATIENCE))),
    ("send", |client, _| Some(client.send("x").is_ok())),
    ("flush", |client, _| Some(client.flush(PATIENCE).is_ok())),
    ("register", |client, _| {
        client.on_connect(|_| {});
        client.on_message(|_, _| {});
        client.on_disconnect(|_, _| {});
        None
    }),
];

/// True for the results of a disconnect. A POST whose answer is still under way counts as unsent.
fn ended(disconnected: engineio::Result<()>) -> bool {
    matches!(disconnected, Ok(()) | Err(Error::Unsent { .. }))
}

#[test]
fn every_call_in_every_handler() {
    let _alone = alone();
    let server = Server::start();
    for options in WAYS.map(by) {
        for (first, one) in CALLS {
            for (second, other) in CALLS {
                for place in ["connect", "message", "disconnect"] {
                    let (server, options) = (server.url().to_owned(), options.clone());
                    let what = format!("{first} and {second} in the {place} handler");
                    within(PATIENCE, &what.clone(), move || {
                        handler_calls(&server, options, place, &what, move |client, url| {
                            check(place, first, one(client, url));
                            other(client, url);
                        });
                    });
                }
            }
        }
    }
    no_threads();
}

/// Checks the result of a handler's call.
fn check(place: &str, call: &str, succeeds: Option<bool>) {
    let expected = match (call, place) {
        ("connect", "disconnect") => Some(true),
        ("connect" | "wait_timeout", _) => Some(false),
        ("disconnect" | "abort", _) => Some(true),
        ("send" | "flush", place) => Some(place != "disconnect"),
        _ => None,
    };
    assert_eq!(succeeds, expected, "{call} in {place}");
}

fn handler_calls(
    url: &str,
    options: ConnectOptions,
    place: &'static str,
    what: &str,
    calls: impl Fn(&Client, &str) + Send + 'static,
) {
    let client = Client::new();
    let (sender, failures) = mpsc::channel();
    let (mut left, server) = (1, url.to_owned());
    let mut handler = move |client: &Client| {
        // Only the first call does this, because a disconnect handler that always connects would do so
        // forever.
        if std::mem::take(&mut left) == 1 {
            let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| calls(client, &server)));
            sender.send(called.is_err()).unwrap();
        }
    };
    match place {
        "connect" => client.on_connect(move |client| handler(client)),
        "message" => client.on_message(move |client, _| handler(client)),
        _ => client.on_disconnect(move |client, _| handler(client)),
    }
    client.connect_with(url, options).unwrap();
    // The echo calls the message handler, unless the connect handler has ended the connection.
    let _ = client.send("a message");
    if place == "disconnect" {
        let _ = client.disconnect();
    }
    assert_eq!(failures.recv_timeout(PATIENCE), Ok(false), "{what}");
    let gone = client.disconnect();
    assert!(matches!(gone, Ok(()) | Err(Error::Unsent { .. })), "{what}: {gone:?}");
    client.wait();
    assert_eq!(client.state(), State::Disconnected, "{what}");
}

#[test]
fn the_last_handle_is_dropped_on_the_reader() {
    let _alone = alone();
    let server = Server::start();
    for (index, options) in WAYS.map(by).into_iter().enumerate() {
        for place in ["connect", "message", "disconnect"] {
            let client = Client::new();
            let (give, given) = mpsc::channel::<Client>();
            let (sender, seen) = mpsc::channel();
            let given = Arc::new(Mutex::new(given));
            let drop_it = move |here: &str| {
                if here == place {
                    drop(given.lock().unwrap().recv_timeout(PATIENCE).unwrap());
                }
            };
            let [connect, message, disconnect] = [drop_it.clone(), drop_it.clone(), drop_it];
            client.on_connect(move |_| connect("connect"));
            client.on_message(move |_, _| message("message"));
            client.on_disconnect(move |client, reason| {
                let error = client.last_error().map(|e| e.to_string());
                disconnect("disconnect");
                sender.send((reason, error))
            });
            if place == "connect" {
                // `connect` itself uses a handle, and drops it when the handler has run.
                let (url, options, second) = (server.url().to_owned(), options.clone(), client.clone());
                let connecting = thread::spawn(move || second.connect_with(url, options));
                give.send(client).unwrap();
                connecting.join().unwrap().unwrap();
            } else {
                client.connect_with(server.url(), options.clone()).unwrap();
                client.send(if place == "message" { "x" } else { "cmd:close" }).unwrap();
                give.send(client).unwrap();
            }
            let reason =
                if place == "disconnect" { Reason::ServerDisconnect } else { Reason::ClientDisconnect };
            let (seen, error) = seen.recv_timeout(PATIENCE).unwrap();
            // engineioxide may fail to deliver this end. By polling it loses its `1` if no GET waits. By
            // websocket the pong to its first ping may meet a closed socket, whose reset overtakes the close
            // frame.
            let lost = place == "disconnect" && seen == Reason::TransportError && error.is_some();
            assert!(seen == reason || lost, "{place}, way {index}: {seen}, {error:?}");
            no_threads();
        }
    }
}

/// The steps of the upgrade at which the server closes its websocket.
const STEPS: [fn(&mut Exchange) -> std::io::Result<()>; 5] = [
    |exchange| exchange.close(),
    |exchange| {
        exchange.accept_websocket()?;
        exchange.close()
    },
    |exchange| {
        exchange.accept_websocket()?;
        exchange.ws_read_text()?;
        exchange.reset()
    },
    |exchange| {
        exchange.accept_websocket()?;
        exchange.ws_read_text()?;
        exchange.ws_frame(0x88, b"")?;
        exchange.close()
    },
    |exchange| {
        exchange.accept_websocket()?;
        exchange.ws_read_text()?;
        exchange.ws_text("1")?;
        exchange.close()
    },
];

#[test]
fn a_server_that_closes_in_the_middle_of_the_upgrade() {
    let _alone = alone();
    for (index, step) in STEPS.into_iter().enumerate() {
        for session_too in [false, true] {
            let server = Scripted::start(move |exchange| match &exchange.request {
                request if request.is_websocket() => step(exchange),
                request if request.is_poll() && session_too => exchange.respond("400 Bad Request", "{}"),
                request if request.is_poll() && exchange.polls() == 1 => exchange.payload("4still here"),
                request if request.is_poll() => exchange.hold(),
                _ => exchange.answer(OPEN_UPGRADE),
            });
            let client = Client::new();
            let watch = Watch::new(&client);
            client.connect(server.url()).unwrap();
            assert!(client.transport().ok().is_none_or(|kind| kind == Polling), "step {index}");
            watch.connected();
            if session_too {
                assert_eq!(watch.disconnected(), Reason::TransportError, "step {index}");
            } else {
                assert_eq!(watch.message().as_text(), Some("still here"), "step {index}");
                client.disconnect().unwrap();
                assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
            }
            client.wait();
            watch.nothing_more();
        }
    }
    // This is the last possible step: the client has announced that it moves to the websocket.
    let server = Scripted::start(|exchange| match exchange.request.is_websocket() {
        true => {
            exchange.accept_websocket()?;
            exchange.ws_read_text()?;
            exchange.ws_text("3probe")?;
            exchange.ws_read_text()?;
            exchange.close()
        }
        false => exchange.payload(OPEN_UPGRADE),
    });
    let client = Client::new();
    let watch = Watch::new(&client);
    client.connect(server.url()).unwrap();
    watch.connected();
    assert_eq!(watch.disconnected(), Reason::TransportError);
    client.wait();
    no_threads();
}

#[test]
fn the_ping_deadline_passes_during_a_disconnect() {
    let _alone = alone();
    // After the handshake this server neither sends nor closes anything.
    let by_websocket = Scripted::start(|exchange| {
        exchange.open_websocket(&open_with(100, 100))?;
        exchange.wait_closed()
    });
    let by_polling = Scripted::start(|exchange| match exchange.request.method == "GET" {
        true if !exchange.request.is_poll() => exchange.payload(open_with(100, 100)),
        _ => exchange.hold(),
    });
    for (transport, server) in [(WebSocket, &by_websocket), (Polling, &by_polling)] {
        // The disconnect begins before, at and after the deadline.
        for pause in [0, 150, 190, 195, 200, 205] {
            let client = Client::builder().request_timeout(Duration::from_millis(600)).build().unwrap();
            let ends = Arc::new(AtomicUsize::new(0));
            let (counter, (sender, reason)) = (ends.clone(), mpsc::channel());
            client.on_disconnect(move |_, reason| {
                counter.fetch_add(1, Ordering::SeqCst);
                sender.send(reason)
            });
            client.connect_with(server.url(), only(transport)).unwrap();
            thread::sleep(Duration::from_millis(pause));
            let second = client.clone();
            let gone = within(PATIENCE, "disconnect", move || second.disconnect());
            assert!(matches!(gone, Ok(()) | Err(Error::Unsent { .. })), "{gone:?}");
            client.wait();
            let reason = reason.recv_timeout(PATIENCE).unwrap();
            let possible = matches!(reason, Reason::ClientDisconnect | Reason::PingTimeout);
            assert!(possible && (pause > 0 || reason == Reason::ClientDisconnect), "{transport}: {reason}");
            assert_eq!(ends.load(Ordering::SeqCst), 1, "{transport} after {pause} ms");
        }
    }
    no_threads();
}

#[test]
fn a_connect_in_the_moment_of_an_end_comes_after_it() {
    let _alone = alone();
    let server = Scripted::start(|exchange| {
        exchange.open_websocket(&open_with(25_000, 20_000))?;
        exchange.close()
    });
    let client = Client::new();
    let order = Order::default();
    let (connects, disconnects) = (order.clone(), order.clone());
    client.on_connect(move |_| record(&connects, true));
    client.on_disconnect(move |_, _| record(&disconnects, false));
    let rounds = times(300, 10_000) as usize;
    let watchdog = Watchdog::new(3 * PATIENCE);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while order.lock().unwrap().len() < rounds {
                    let _ = client.connect_with(server.url(), only(WebSocket));
                    thread::yield_now();
                }
            });
        }
    });
    drop(watchdog);
    client.wait();
    assert_alternate(&order.lock().unwrap());
}
