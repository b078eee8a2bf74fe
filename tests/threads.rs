//! The resources of a connection: threads, file descriptors and CPU time. An async runtime around the client
//! makes no difference.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::{Duration, Instant};

use common::process::{alone, descriptors, sleeps, threads, ticks};
use common::real::Server;
use common::scripted::{Exchange, OPEN, OPEN_UPGRADE, Scripted};
use common::{PATIENCE, Stuck, WAYS, Watch, abort, by, carrier, connected, eventually, only, within};
use crossbeam_channel::{Receiver, bounded, unbounded};
use engineio::{Client, Disconnect, Event, Message, Reconnection, TransportKind};

const WATCHDOG: &str = "eio-watchdog";

/// Registers a handler, or subscribes to the events.
type Register = fn(&Client) -> Option<Receiver<Event>>;

fn names() -> Vec<String> {
    threads().into_iter().map(|(name, _)| name).collect()
}

fn echo(client: &Client, watch: &Watch, text: &str) {
    client.send(text).unwrap();
    assert_eq!(watch.message(), Message::from(text));
}

#[test]
fn at_most_three_threads_for_a_connection_and_none_after_it() {
    let _alone = alone();
    let server = Server::start();
    for way in WAYS {
        let client = Client::new();
        assert!(threads().is_empty(), "a client alone has none");
        let watch = Watch::new(&client);
        client.connect_with(server.url(), by(way)).unwrap();
        watch.connected();
        assert_eq!(client.transport().unwrap(), carrier(way));
        // A thread sets its name when it first runs.
        eventually("two threads", || names().starts_with(&["eio-reader".into(), "eio-watchdog".into()]));
        // The writer starts when a message has to wait.
        let texts: Vec<_> = (0..1000).map(|i| i.to_string()).collect();
        texts.iter().for_each(|text| client.send(text).unwrap());
        texts.iter().for_each(|text| assert_eq!(watch.message().as_text(), Some(text.as_str())));
        eventually("a third", || names() == ["eio-reader", "eio-watchdog", "eio-writer"]);
        // Further messages start no more threads.
        (0..100).for_each(|i| echo(&client, &watch, &i.to_string()));
        assert_eq!(names(), ["eio-reader", "eio-watchdog", "eio-writer"]);
        client.disconnect().unwrap();
        eventually("no threads after the end", || threads().is_empty());
    }
}

/// The watchdog starts before the first handler, or before the first event goes into a channel.
#[test]
fn one_thread_until_the_first_handler_runs() {
    let _alone = alone();
    let server = Server::start();
    let users: [Register; 3] = [
        |client| {
            client.on_connect(|_| {});
            None
        },
        |client| {
            client.on_message(|_, _| {});
            None
        },
        |client| Some(client.events(8)),
    ];
    for way in WAYS {
        let client = Client::new();
        client.connect_with(server.url(), by(way)).unwrap();
        // The writer may have started for the answer to the server's first ping.
        let readers = || names().into_iter().filter(|name| name != "eio-writer").collect::<Vec<_>>();
        eventually("its reader", || readers() == ["eio-reader"]);
        if carrier(way) == TransportKind::WebSocket {
            client.send("the echo of this meets no handler").unwrap();
            client.flush(PATIENCE).unwrap();
            eventually("the echo", || client.stats().received.messages == 1);
            // The writer may have started, because a send does not wait for a socket that the reader uses.
            assert!(!names().contains(&WATCHDOG.into()), "{:?}", names());
        }
        // The handler itself sees the watchdog.
        let (entered, enters) = bounded(1);
        client.on_message(move |_, _| {
            eventually("the watchdog", || names().contains(&WATCHDOG.into()));
            entered.send(())
        });
        client.send("x").unwrap();
        enters.recv_timeout(PATIENCE).unwrap();
        client.disconnect().unwrap();
        eventually("no threads after the end", || threads().is_empty());
        for user in users {
            let client = Client::new();
            let _user = user(&client);
            client.connect_with(server.url(), by(way)).unwrap();
            client.send("x").unwrap();
            eventually("the watchdog", || names().contains(&WATCHDOG.into()));
            client.disconnect().unwrap();
            eventually("no threads after the end", || threads().is_empty());
        }
    }
}

/// The close is written without the writer thread, which would take longer to start than the server to
/// answer.
#[test]
fn an_idle_polling_client_says_goodbye_on_the_thread_that_disconnects() {
    let _alone = alone();
    let (sender, goodbyes) = unbounded();
    let server = Scripted::start(move |exchange| {
        if exchange.request.is_poll() {
            return exchange.hold();
        }
        if exchange.request.is_post() {
            sender.send((exchange.request.text().to_owned(), names())).unwrap();
        }
        exchange.answer(OPEN)
    });
    let client = Client::new();
    client.connect_with(server.url(), only(TransportKind::Polling)).unwrap();
    client.disconnect().unwrap();
    let (packet, threads) = goodbyes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(packet, "1");
    assert!(!threads.contains(&"eio-writer".to_owned()), "{threads:?}");
}

/// The threads of a connection wake at most some 40 times a second, whatever the server announces: while it
/// is silent, while a handler runs, and while the inbox is full.
#[test]
fn no_numbers_of_a_server_make_a_thread_spin() {
    let _alone = alone();
    for (interval, timeout) in [("0", "0"), ("0", "0.001"), ("0.001", "0.001"), ("0.001", "4000")] {
        let open =
            format!(r#"0{{"sid":"abc","upgrades":[],"pingInterval":{interval},"pingTimeout":{timeout}}}"#);
        let server = Scripted::start(move |exchange| {
            exchange.open_websocket(&open)?;
            for _ in 0..100 {
                exchange.ws_text("4a message that fills the inbox")?;
                exchange.ws_text("2")?;
            }
            exchange.hold()
        });
        let client = Client::builder().inbox_limit(1000).build().unwrap();
        let stuck = Stuck::new(&client);
        client.connect_with(server.url(), only(TransportKind::WebSocket)).unwrap();
        stuck.entered();
        let before: Vec<_> = threads().into_iter().map(|(_, id)| (sleeps(&id), ticks(&id), id)).collect();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            client.sleep(Duration::from_secs(1));
        }
        let tenths = start.elapsed().as_millis() as u64 / 100;
        for (slept, used, id) in before {
            let (slept, used) = (sleeps(&id).saturating_sub(slept), ticks(&id).saturating_sub(used));
            assert!(slept <= 10 + 5 * tenths, "{interval}, {timeout}: {slept} wakes in {tenths} tenths");
            assert!(used <= 2 + tenths, "{interval}, {timeout}: {used} ticks in {tenths} tenths");
        }
        stuck.release();
        client.wait();
    }
}

#[test]
fn a_connect_that_fails_leaves_no_threads() {
    let _alone = alone();
    let server = Scripted::start(|exchange| exchange.respond("403 Forbidden", ""));
    Client::new().connect(server.url()).unwrap_err();
    assert!(threads().is_empty());
}

#[test]
fn cycles_leave_no_file_descriptors_and_no_threads() {
    let _alone = alone();
    for way in WAYS {
        let server = Server::start();
        let client = Client::new();
        let watch = Watch::new(&client);
        let cycle = |how: &Disconnect| {
            client.connect_with(server.url(), by(way)).unwrap();
            watch.connected();
            echo(&client, &watch, "x");
            // The answer to the POST may come after the echo.
            client.flush(PATIENCE).unwrap();
            client.disconnect_with(how.clone()).unwrap();
            client.wait();
            watch.disconnected();
        };
        let before = descriptors();
        for i in 0..50 {
            cycle(&Disconnect::new().abort(i % 5 == 0));
        }
        // The count includes the server's ends of the connections.
        let open = || descriptors().saturating_sub(before);
        eventually(&format!("{way:?}: file descriptors closed"), || open() == 0);
        eventually("no threads", || threads().is_empty());
    }
}

#[test]
fn a_websocket_client_has_little_more_than_one_file_descriptor() {
    let _alone = alone();
    let server = Server::start();
    let connect = || connected(server.url(), only(TransportKind::WebSocket)).0;
    // The first client opens what all clients of the process share.
    let _first = connect();
    let before = descriptors();
    let clients: Vec<_> = (0..64).map(|_| connect()).collect();
    // The client has a descriptor for its socket, and the server has one for the other end of the connection.
    // About sixteen clients share another one, which ends their waits.
    let sockets = before + 2 * clients.len();
    eventually("two file descriptors each", || {
        (sockets..=sockets + clients.len() / 8).contains(&descriptors())
    });
}

#[test]
fn a_lost_connection_keeps_nothing_while_the_policy_waits() {
    let _alone = alone();
    let before = descriptors();
    let server = Scripted::websocket(Exchange::reset);
    let policy = Reconnection::new().delay(PATIENCE * 10).max_delay(PATIENCE * 10);
    let client = Client::builder().reconnection(policy).build().unwrap();
    client.connect_with(server.url(), only(TransportKind::WebSocket)).unwrap();
    eventually("it is lost", || client.is_reconnecting());
    // The server keeps its ends of all connections until it is dropped.
    drop(server);
    eventually("file descriptors closed", || descriptors() <= before);
    client.disconnect().unwrap();
    client.wait();
}

/// Opens a session and then stays silent. The first ping is due only after 25 s.
fn quiet(exchange: &mut Exchange) -> std::io::Result<()> {
    match &exchange.request {
        request if request.is_websocket() && request.query.contains_key("sid") => {
            exchange.accept_websocket()?;
            exchange.ws_read_text()?;
            exchange.ws_text("3probe")?;
            exchange.hold()
        }
        request if request.is_websocket() => {
            exchange.open_websocket(OPEN)?;
            exchange.hold()
        }
        request if request.is_poll() => exchange.hold(),
        _ => exchange.answer(OPEN_UPGRADE),
    }
}

/// The CPU ticks of a thread, and the number of its voluntary context switches.
fn usage(id: &str) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/self/task/{id}/status")).unwrap();
    let switches = status.lines().filter_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    (ticks(id), switches.map(|count| count.trim().parse::<u64>().unwrap()).sum())
}

#[test]
fn an_idle_connection_takes_no_cpu() {
    let _alone = alone();
    let server = Scripted::start(quiet);
    for way in WAYS {
        let client = Client::new();
        client.connect_with(server.url(), by(way)).unwrap();
        client.send("x").unwrap();
        client.flush(PATIENCE).unwrap();
        eventually("its threads", || !threads().is_empty());
        let all = threads();
        let usages = || all.iter().map(|(_, id)| usage(id)).collect::<Vec<_>>();
        // The threads come to rest some time after the start.
        let mut last = usages();
        eventually("rest", || {
            assert!(!client.wait_timeout(Duration::from_millis(50)));
            let former = std::mem::replace(&mut last, usages());
            former == last
        });
        assert!(!client.wait_timeout(Duration::from_secs(1)));
        for ((before, after), (name, _)) in last.iter().zip(usages()).zip(&all) {
            assert!(after.0 - before.0 <= 1, "{way:?}: {name} took {} ticks", after.0 - before.0);
            assert!(after.1 - before.1 <= 1, "{way:?}: {name} woke {} times", after.1 - before.1);
        }
        abort(&client);
        client.wait();
        eventually("no threads", || threads().is_empty());
    }
}

/// Runs whole connections, with blocking calls.
fn lives(url: &str) {
    for way in WAYS {
        let (client, watch) = connected(url, by(way));
        assert_eq!(client.transport().unwrap(), carrier(way));
        echo(&client, &watch, "in a runtime");
        client.disconnect().unwrap();
        client.wait();
        watch.disconnected();
    }
}

#[test]
fn a_runtime_around_it_makes_no_difference() {
    let _alone = alone();
    let server = Server::start();
    let url = server.url().to_owned();
    within(PATIENCE, "a life in a runtime", move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // The client works on a thread for blocking calls, in a task, and on the runtime's own thread.
            let blocking = url.clone();
            tokio::task::spawn_blocking(move || lives(&blocking)).await.unwrap();
            let task = url.clone();
            tokio::spawn(async move { lives(&task) }).await.unwrap();
            lives(&url);
        });
        // The client outlives its runtime and is dropped in another one.
        let client = runtime.block_on(async {
            let client = Client::new();
            client.connect(&url).unwrap();
            client
        });
        drop(runtime);
        let watch = Watch::new(&client);
        echo(&client, &watch, "without a runtime");
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        other.block_on(async move { drop(client) });
        watch.disconnected();
    });
}
