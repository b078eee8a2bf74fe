//! Long runs and many connections: the numbers of file descriptors and threads, and the memory, stay the
//! same. `ENGINEIO_SOAK=long cargo test --release --test soak -- --nocapture` runs the long form, which takes
//! minutes.

#![cfg(target_os = "linux")]

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::hang::{Watchdog, resident, times};
use common::process::{self, alone, descriptors};
use common::real::{Options, Server};
use common::{PATIENCE, Seen, WAYS, Watch, abort, by, connected, eventually, only};
use engineio::{Client, Reason, TransportKind};

use TransportKind::{Polling, WebSocket};

const MIB: usize = 1 << 20;

fn threads() -> usize {
    process::threads().len()
}

/// Makes a connection, and ends it in one of several ways.
fn cycle(server: &Server, index: usize) {
    let (client, watch) = connected(server.url(), by(WAYS[index % 3]));
    client.send("x").unwrap();
    assert_eq!(watch.message().as_text(), Some("x"));
    let expected = match index / 3 % 5 {
        0 => {
            client.disconnect().unwrap();
            Reason::ClientDisconnect
        }
        1 => {
            abort(&client);
            Reason::ClientDisconnect
        }
        2 => {
            client.send("cmd:close").unwrap();
            // engineioxide may fail to deliver this end. By polling it loses its `1` if no GET waits. By
            // websocket the pong to its first ping may meet a closed socket, whose reset overtakes the close
            // frame.
            Reason::ServerDisconnect
        }
        3 => {
            client.on_message(|client, _| client.disconnect());
            client.send("y").unwrap();
            client.wait();
            Reason::ClientDisconnect
        }
        _ => {
            drop(client);
            Reason::ClientDisconnect
        }
    };
    let reason = watch.disconnected();
    let by_server = expected == Reason::ServerDisconnect;
    assert!(reason == expected || (by_server && reason == Reason::TransportError), "{index}: {reason}");
}

#[test]
fn cycles() {
    let _alone = alone();
    let count = times(300, 10_000) as usize;
    let watchdog = Watchdog::new(3 * PATIENCE);
    // By polling the server notices an abort only when it misses a pong, so the heartbeat is fast.
    let heartbeat = PATIENCE / 8;
    let options = Options { ping_interval: heartbeat, ping_timeout: heartbeat, ..Options::default() };
    let server = Server::with(options);
    // The first cycles create what TLS, the allocator and the server keep.
    (0..30).for_each(|index| cycle(&server, index));
    settle(&server);
    let before = descriptors();
    let mut memory = Vec::new();
    for index in 0..count {
        cycle(&server, index);
        if index % 15 == 14 {
            settle(&server);
            watchdog.feed(format!("cycle {index}"));
            memory.push(resident());
        }
    }
    eventually("file descriptors as before", || descriptors() <= before);
    assert_flat("cycles", &memory, 4 * MIB);
}

/// Reads the server's reports, so that they do not pile up, until its sessions and our threads have ended.
fn settle(server: &Server) {
    (0..15).for_each(|_| drop(server.disconnected()));
    eventually("no threads", || threads() == 0);
}

/// Checks that the last quarter does not take more memory than the first. The margin is for chance and the
/// allocator.
fn assert_flat(what: &str, memory: &[usize], margin: usize) {
    let quarter = memory.len() / 4;
    let mean = |part: &[usize]| part.iter().sum::<usize>() / part.len();
    let (first, last) = (mean(&memory[..quarter]), mean(&memory[memory.len() - quarter..]));
    println!("{what}: resident {} KiB in the first quarter, {} KiB in the last", first / 1024, last / 1024);
    assert!(
        last <= first + margin,
        "{what}: resident {first} bytes in the first quarter, {last} in the last"
    );
}

#[test]
fn many_clients_at_once() {
    let _alone = alone();
    let count = times(200, 1_000) as usize;
    let _watchdog = Watchdog::new(6 * PATIENCE);
    let server = Server::start();
    let (before, memory, start) = (descriptors(), resident(), Instant::now());
    let clients: Vec<_> = (0..count)
        .map(|index| {
            let client = Client::builder().request_timeout(PATIENCE).build().unwrap();
            let watch = Watch::new(&client);
            client.connect_with(server.url(), by(WAYS[index % 3])).unwrap();
            watch.connected();
            (client, watch)
        })
        .collect();
    eventually("two or three threads each", || (2 * count..=3 * count).contains(&threads()));
    let each = (resident() - memory) / count / 1024;
    println!("{count} clients: connected in {:?}, {each} KiB each with the server's side", start.elapsed());
    for (client, _) in &clients {
        (0..10).for_each(|i| client.send(format!("{i}")).unwrap());
    }
    for (_, watch) in &clients {
        (0..10).for_each(|i| assert_eq!(watch.message().as_text(), Some(format!("{i}").as_str())));
    }
    thread::scope(|scope| {
        for part in clients.chunks(count.div_ceil(8)) {
            scope.spawn(move || part.iter().for_each(|(client, _)| client.disconnect().unwrap()));
        }
    });
    assert!(clients.iter().all(|(_, watch)| watch.disconnected() == Reason::ClientDisconnect));
    drop(clients);
    eventually("no threads", || threads() == 0);
    eventually("file descriptors as before", || descriptors() <= before);
}

#[test]
fn messages_each_way_in_order() {
    let _alone = alone();
    let count = times(100_000, 1_000_000) as usize;
    let watchdog = Watchdog::new(3 * PATIENCE);
    for transport in [WebSocket, Polling] {
        let server = Server::start();
        let client = Client::new();
        // The window bounds the number of echoes under way, because engineioxide drops messages that do not
        // fit its buffer.
        let (taken, window) = crossbeam_channel::bounded(4_000);
        let (done, ended) = mpsc::channel();
        let (mut next, mut memory) = (0, Vec::new());
        client.on_message(move |_, message| {
            assert_eq!(message.as_text().unwrap().parse(), Ok(next));
            next += 1;
            window.recv().unwrap();
            if next % (count / 100) == 0 {
                memory.push(resident());
                done.send((next, memory.clone())).unwrap();
            }
        });
        client.connect_with(server.url(), only(transport)).unwrap();
        assert_eq!(server.next(), common::real::Event::Connect);
        let start = Instant::now();
        for i in 0..count {
            taken.send(()).unwrap();
            client.send(i.to_string()).unwrap();
            if i >= 4_000 {
                // The server's reports are read here, so they do not pile up.
                assert_eq!(server.next(), common::real::Event::Text((i - 4_000).to_string()));
            }
        }
        let memory = loop {
            let (so_far, memory) = ended.recv_timeout(PATIENCE).expect("messages are missing");
            watchdog.feed(format!("message {so_far}"));
            if so_far == count {
                break memory;
            }
        };
        println!("{count} messages each way by {transport} in {:?}", start.elapsed());
        assert_flat(&format!("messages by {transport}"), &memory, 4 * MIB);
        assert_eq!(client.stats().received.messages, count as u64);
        client.disconnect().unwrap();
    }
}

#[test]
fn an_hour_of_pings() {
    let _alone = alone();
    // One ping in 25 s makes 144 pings in an hour.
    let pings = times(144, 6_000);
    let interval = Duration::from_millis(20);
    let _watchdog = Watchdog::new(Duration::from_secs(60) + interval * 4 * pings as u32);
    let timeout = Duration::from_secs(5);
    let server =
        Server::with(Options { ping_interval: interval, ping_timeout: timeout, ..Options::default() });
    let clients = WAYS.map(|way| connected(server.url(), by(way)));
    let (before, mut memory) = (descriptors(), Vec::new());
    let fewest = || clients.iter().map(|(client, _)| client.stats().received.packets).min().unwrap();
    while fewest() < pings {
        assert!(clients.iter().all(|(client, watch)| client.is_connected() && watch.0.is_empty()));
        // A thread gets its name only when it first runs.
        eventually("two or three threads each", || (6..=9).contains(&threads()));
        memory.push(resident());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(descriptors() <= before + 2, "{before} descriptors became {}", descriptors());
    assert_flat("pings", &memory, MIB);
    for (client, watch) in clients {
        client.disconnect().unwrap();
        assert_eq!(watch.next(), Seen::Disconnect(Reason::ClientDisconnect));
    }
}
