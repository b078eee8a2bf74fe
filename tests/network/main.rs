//! Networks with a pulled cable, with a low bandwidth, and with delay and loss. The tests use network
//! namespaces (`unshare -n`, `ip`, `tc`). On systems that do not permit them the tests are skipped with a
//! message.

#![cfg(target_os = "linux")]

mod dial;
mod lossy;
mod stalls;

use std::process::Command;
use std::time::{Duration, Instant};

use common::real::{Options, Server};
use common::scripted::{Scripted, open_with};
use common::{PATIENCE, Watch, within};
use engineio::{Client, ConnectOptions, Error, Message, Reason, TransportKind};

use TransportKind::{Polling, WebSocket};

const PART: &str = "ENGINEIO_TEST_PART";

fn only(transport: TransportKind) -> ConnectOptions {
    ConnectOptions::new().transports([transport])
}

fn system(command: &str) -> bool {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status();
    status.is_ok_and(|status| status.success())
}

/// Runs `part` in a process and a namespace of its own, if `setup` works there.
fn in_a_namespace(part: &str, setup: &str) {
    let possible = Command::new("unshare").args(["-nm", "sh", "-c", setup]).status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("skipped: no such network namespaces here");
        return;
    }
    let output = Command::new("unshare")
        .args(["-nm", "sh", "-c", &format!("{setup} && exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(PART, part)
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains(&format!("[{part} done]")), "{told}");
}

/// The entry point of the child processes. The parent process has no part to run.
#[test]
fn child() {
    match std::env::var(PART).as_deref() {
        Ok("cable") => pull_the_cable(),
        Ok("two addresses") => dial::skip_a_dead_address(),
        Ok("thin") => send_much_over_a_thin_line(),
        Ok("zone") => dial::connect_to_a_zone(),
        Ok("slow uploads") => stalls::upload_over_a_slow_line(),
        Ok("unwritable poll") => stalls::write_a_poll_that_is_not_read(),
        Ok("lossy") => lossy::talk(),
        Ok("lossy-server") => lossy::serve(),
        _ => return,
    }
    println!("[{} done]", std::env::var(PART).unwrap());
}

#[test]
fn a_pulled_cable_is_noticed_in_time_whatever_is_going_on() {
    in_a_namespace("cable", "ip link set lo up");
}

#[test]
#[ignore = "needs python3"]
fn a_line_may_lose_packets_and_take_its_time() {
    in_a_namespace("lossy", lossy::SETUP);
}

#[test]
fn an_address_that_swallows_packets_costs_little_and_that_once() {
    in_a_namespace("two addresses", dial::SETUP);
}

#[test]
fn an_address_may_have_a_zone() {
    in_a_namespace("zone", "ip link set lo up && ip addr add fe80::1/64 dev lo nodad");
}

#[test]
fn a_message_may_take_longer_than_the_ping_deadline() {
    in_a_namespace(
        "thin",
        "ip link set lo mtu 1500 up && tc qdisc add dev lo root tbf rate 1mbit burst 4kb limit 1mb",
    );
}

/// The activity of the client when the cable is pulled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Idle,
    Sending,
    Disconnecting,
}

fn pull_the_cable() {
    let ping = Duration::from_millis(300);
    let server = Server::with(Options { ping_interval: ping, ping_timeout: ping, ..Options::default() });
    for transport in [Polling, WebSocket] {
        for phase in [Phase::Idle, Phase::Sending, Phase::Disconnecting] {
            let client = Client::builder().request_timeout(ping * 4).build().unwrap();
            let watch = Watch::new(&client);
            client.connect_with(server.url(), only(transport)).unwrap();
            watch.connected();
            assert!(system("ip link set lo down"));
            let pulled = Instant::now();
            if phase == Phase::Sending {
                // The loop ends when the client notices the end, or when the outbox is full.
                while client.try_send("x".repeat(1000)).is_ok() && pulled.elapsed() < ping {}
            }
            if phase == Phase::Disconnecting {
                let closer = client.clone();
                let gone = within(PATIENCE, "disconnect returns", move || closer.disconnect());
                assert!(matches!(gone, Ok(()) | Err(Error::Unsent { .. })), "{gone:?}");
            }
            let reason = watch.disconnected();
            let expected = match (phase, transport) {
                (Phase::Disconnecting, _) => &[Reason::ClientDisconnect][..],
                // The POST of a message or a pong may fail before the ping timeout.
                (_, Polling) => &[Reason::PingTimeout, Reason::TransportError],
                _ => &[Reason::PingTimeout],
            };
            assert!(expected.contains(&reason), "{phase:?} by {transport}: {reason}");
            assert!(pulled.elapsed() < PATIENCE / 2, "{phase:?} by {transport}: {:?}", pulled.elapsed());
            client.wait();
            // The server is unreachable now, and reachable again after `ip link set lo up`.
            client.connect_with(server.url(), only(transport)).unwrap_err();
            assert!(system("ip link set lo up"));
            client.connect_with(server.url(), only(transport)).unwrap();
            client.disconnect().unwrap();
        }
    }
}

/// A server that sends one text of this size by either transport, and then ends the session.
fn bulk_server(address: &str, open: String, size: usize) -> Scripted {
    let message = format!("4{}", "x".repeat(size));
    Scripted::start_at(address, move |exchange| {
        if exchange.request.is_websocket() {
            exchange.open_websocket(&open)?;
            exchange.ws_text(&message)?;
            exchange.ws_text("1")
        } else if exchange.request.is_post() {
            exchange.respond("200 OK", "ok")
        } else if !exchange.request.is_poll() {
            exchange.payload(&open)
        } else if exchange.polls() == 1 {
            exchange.payload(&message)
        } else {
            exchange.payload("1")
        }
    })
}

/// At 1 Mbit/s the message takes two seconds. The server must not be silent for more than 0.4 s.
fn send_much_over_a_thin_line() {
    const SIZE: usize = 250_000;
    let deadline = Duration::from_millis(400);
    for transport in [Polling, WebSocket] {
        let server = bulk_server("127.0.0.1", open_with(200, 200), SIZE);
        let client = Client::new();
        let watch = Watch::new(&client);
        let started = Instant::now();
        client.connect_with(server.url(), only(transport)).unwrap();
        watch.connected();
        assert_eq!(watch.message(), Message::from("x".repeat(SIZE)), "{transport}");
        assert!(started.elapsed() > deadline * 2, "the line was not thin: {:?}", started.elapsed());
        assert_eq!(watch.disconnected(), Reason::ServerDisconnect, "{transport}");
    }
}
