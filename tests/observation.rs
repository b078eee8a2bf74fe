//! The view of single packets that `on_packet` gives to tools, and the count and the age of pings.

use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use common::real::{Options, Server};
use common::scripted::{OPEN, Scripted};
use common::{Lines, PATIENCE, Seen, Watch, abort, connected, eventually, only};
use crossbeam_channel::unbounded;
use engineio::{Client, ClientBuilder, Direction, Message, PacketKind, Reason, TransportKind};

use Direction::{Received, Sent};
use TransportKind::{Polling, WebSocket};

/// A packet as the function has seen it, and the name of the thread that it ran on.
type Packet = (Direction, PacketKind, usize, String);

/// A builder whose client records its packets.
fn recording() -> (ClientBuilder, Arc<Mutex<Vec<Packet>>>) {
    let packets = Arc::new(Mutex::new(Vec::new()));
    let record = packets.clone();
    let builder = Client::builder().on_packet(move |direction, packet| {
        let name = thread::current().name().unwrap_or_default().to_owned();
        record.lock().unwrap().push((direction, packet.kind, packet.size, name));
    });
    (builder, packets)
}

fn places(packets: &[Packet], direction: Direction, kind: PacketKind) -> Vec<usize> {
    let same = |(_, packet): &(usize, &Packet)| (packet.0, packet.1) == (direction, kind);
    packets.iter().enumerate().filter(same).map(|(place, _)| place).collect()
}

#[test]
fn each_packet_is_shown_once_and_in_order() {
    for transport in [Polling, WebSocket] {
        let options = Options { ping_interval: Duration::from_millis(50), ..Options::default() };
        let server = Server::with(options);
        let (builder, packets) = recording();
        let client = builder.build().unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        for i in 0..50 {
            client.send("four").unwrap();
            client.send(vec![i; 7]).unwrap();
            assert_eq!(watch.message(), Message::from("four"));
            assert_eq!(watch.message(), Message::from(vec![i; 7]));
        }
        client.send_all(vec!["group"; 20]).unwrap();
        (0..20).for_each(|_| assert_eq!(watch.message(), Message::from("group")));
        eventually("two pings", || client.stats().pings >= 2);
        client.disconnect().unwrap();
        client.wait();

        let packets = packets.lock().unwrap().clone();
        let stats = client.stats();
        for (direction, traffic) in [(Sent, stats.sent), (Received, stats.received)] {
            let seen: Vec<_> = packets.iter().filter(|packet| packet.0 == direction).collect();
            let bytes: usize = seen.iter().map(|packet| packet.2).sum();
            assert_eq!((seen.len() as u64, bytes as u64), (traffic.packets, traffic.bytes), "{transport}");
            for (kind, count, size) in [(PacketKind::Binary, 50, 7), (PacketKind::Text, 70, 5)] {
                let of_kind: Vec<_> = seen.iter().filter(|packet| packet.1 == kind).collect();
                assert_eq!(of_kind.len(), count, "{transport}: {direction:?} {kind}");
                assert!(of_kind[..50].iter().all(|packet| packet.2 == size));
            }
        }
        // An answer comes behind its cause.
        for kind in [PacketKind::Text, PacketKind::Binary] {
            let (sent, received) = (places(&packets, Sent, kind), places(&packets, Received, kind));
            assert!(sent.iter().zip(&received).all(|(sent, received)| sent < received), "{packets:?}");
        }
        let (pings, pongs) =
            (places(&packets, Received, PacketKind::Ping), places(&packets, Sent, PacketKind::Pong));
        assert_eq!(pings.len() as u64, stats.pings);
        assert!(pongs.len() <= pings.len() && pings.iter().zip(&pongs).all(|(ping, pong)| ping < pong));
        let last = packets.iter().rfind(|packet| packet.0 == Sent);
        assert_eq!(last.map(|packet| packet.1), Some(PacketKind::Close));
        // A ping may come with the handshake.
        let here = thread::current().name().unwrap_or_default().to_owned();
        for (direction, kind, _, name) in packets {
            match direction {
                Sent => assert_eq!(name, "eio-writer", "{kind}"),
                Received => {
                    assert!(["eio-reader", "eio-watchdog", &here].contains(&&*name), "{kind} on {name}")
                }
            }
        }
    }
}

#[test]
fn packets_with_the_handshake_are_shown_on_the_thread_that_connects() {
    let server = Scripted::silent(format!("{OPEN}\u{1e}4early"));
    let (builder, packets) = recording();
    let client = builder.build().unwrap();
    client.connect_with(server.url(), only(Polling)).unwrap();
    let name = thread::current().name().unwrap_or_default().to_owned();
    assert_eq!(packets.lock().unwrap()[..], [(Received, PacketKind::Text, 6, name)]);
    abort(&client);
}

#[test]
fn a_panic_of_the_function_is_told_once() {
    for transport in [Polling, WebSocket] {
        let server = Server::start();
        let lines = Lines::default();
        let client = Client::builder()
            .on_packet(|direction, packet| panic!("no {direction:?} {}", packet.kind))
            .logger(lines.clone())
            .build()
            .unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        for _ in 0..3 {
            client.send("x").unwrap();
            assert_eq!(watch.message(), Message::from("x"));
        }
        client.disconnect().unwrap();
        assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
        let errors = lines.at(log::Level::Error);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("on_packet panicked: no "), "{errors:?}");
    }
}

/// No lock is held while the function runs.
#[test]
fn the_function_may_use_the_client() {
    for transport in [Polling, WebSocket] {
        let server = Server::start();
        let known = Arc::new(OnceLock::<Client>::new());
        let user = known.clone();
        let client = Client::builder()
            .on_packet(move |direction, packet| {
                let Some(client) = user.get() else { return };
                let _ = (client.stats(), client.state(), format!("{client:?}"));
                if (direction, packet.kind) == (Received, PacketKind::Text) {
                    client.try_send(vec![1]).unwrap();
                } else if (direction, packet.kind) == (Received, PacketKind::Binary) {
                    client.disconnect().unwrap();
                }
            })
            .build()
            .unwrap();
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(transport)).unwrap();
        known.set(client.clone()).ok();
        watch.connected();
        client.send("go").unwrap();
        assert!(client.wait_timeout(PATIENCE));
        let mut end = watch.next();
        while let Seen::Message(_) = end {
            end = watch.next();
        }
        assert_eq!(end, Seen::Disconnect(Reason::ClientDisconnect));
    }
}

#[test]
fn packets_are_shown_while_a_handler_runs() {
    let options = Options { ping_interval: Duration::from_millis(20), ..Options::default() };
    let server = Server::with(options);
    let (ping, pings) = unbounded();
    let client = Client::builder()
        .on_packet(move |direction, packet| {
            if (direction, packet.kind) == (Received, PacketKind::Ping) {
                ping.send(()).unwrap();
            }
        })
        .build()
        .unwrap();
    let (done, is_done) = unbounded();
    client.on_message(move |_, _| {
        // The pings of the time before do not count.
        while pings.try_recv().is_ok() {}
        let seen = (0..3).all(|_| pings.recv_timeout(PATIENCE).is_ok());
        done.send(seen)
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.send("go").unwrap();
    assert_eq!(is_done.recv_timeout(PATIENCE), Ok(true));
    client.disconnect().unwrap();
}

#[test]
fn pings_are_counted_over_all_connections() {
    let server = Scripted::websocket(|exchange| {
        for _ in 0..3 {
            exchange.ws_frame(0x81, b"2")?;
        }
        exchange.ws_frame(0x81, b"4go")?;
        exchange.hold()
    });
    for connections in 1..3 {
        let (client, watch) = connected(server.url(), only(WebSocket));
        assert_eq!(watch.message(), Message::from("go"));
        for _ in 1..connections {
            client.disconnect().unwrap();
            assert_eq!(client.stats().last_ping, None, "it is the age of this connection's ping");
            watch.disconnected();
            client.connect_with(server.url(), only(WebSocket)).unwrap();
            watch.connected();
            assert_eq!(watch.message(), Message::from("go"));
        }
        let stats = client.stats();
        assert_eq!(stats.pings, 3 * connections);
        assert!(stats.last_ping.is_some_and(|age| age <= PATIENCE), "{stats:?}");
        abort(&client);
    }
}
