//! The number of memory allocations for a message. A busy machine cannot break this limit, as it could a time
//! limit. There is only one test, because the allocator counts for the whole process.

use std::alloc::System;
use std::sync::mpsc::channel;

use bytes::Bytes;
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, abort, only};
use crossbeam_channel::unbounded;
use engineio::{Client, Message, TransportKind};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The number of messages in a measurement.
const COUNT: usize = 20_000;

/// The number of allocations while `run` runs, divided by `count`.
fn allocations(count: usize, run: impl FnOnce()) -> f64 {
    let region = Region::new(ALLOCATOR);
    run();
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / count as f64
}

fn assert_within(what: &str, count: f64, bound: f64) {
    println!("{what}: {count:.3} allocations (bound {bound})");
    assert!(count <= bound, "{what}: {count:.3} allocations, and not {bound}");
}

#[test]
fn a_message_costs_one_allocation_each_way() {
    // The margin is for batches, whose buffers grow until they are large enough.
    assert_within("send a text of 16 B", send(|| Message::from("sixteen bytes it")), 1.1);
    let bytes = Bytes::from(vec![7; 1024]);
    assert_within("send a binary of 1 KiB", send(|| bytes.clone().into()), 0.1);
    assert_within("receive a text of 16 B", receive(0x81, &[b"4".as_slice(), &[b'x'; 16]].concat()), 1.1);
    assert_within("receive a binary of 1 KiB", receive(0x82, &[7; 1024]), 1.2);
    assert_within("receive a text of 16 B by polling", poll(), 1.1);
}

/// Allocations for a sent message, including the message itself.
fn send(message: impl Fn() -> Message) -> f64 {
    let server = Scripted::start(|exchange| {
        exchange.open_websocket(OPEN)?;
        exchange.swallow()
    });
    let client = Client::new();
    client.connect_with(server.url(), only(TransportKind::WebSocket)).unwrap();
    let run = || {
        (0..COUNT).for_each(|_| client.send(message()).unwrap());
        client.flush(PATIENCE).unwrap();
    };
    // The first run lets the buffers grow.
    run();
    let count = allocations(COUNT, run);
    abort(&client);
    count
}

/// Allocations for a message that is received by polling, in one payload with all messages.
fn poll() -> f64 {
    let payload = vec!["4".to_owned() + &"x".repeat(16); COUNT].join("\u{1e}");
    let (ask, asked) = unbounded();
    let server = Scripted::start(move |exchange| {
        if exchange.request.is_post() {
            ask.send(()).map_err(std::io::Error::other)?;
            exchange.respond("200 OK", "ok")
        } else if exchange.request.is_poll() {
            asked.recv_timeout(PATIENCE).map_err(std::io::Error::other)?;
            exchange.payload(&payload)
        } else {
            exchange.payload(OPEN)
        }
    });
    count_received(&server, TransportKind::Polling)
}

fn receive(first: u8, payload: &[u8]) -> f64 {
    let length = payload.len();
    let head = if length < 126 {
        vec![first, length as u8]
    } else {
        [&[first, 126][..], &(length as u16).to_be_bytes()].concat()
    };
    let flood = [head, payload.to_vec()].concat().repeat(COUNT);
    let server = Scripted::start(move |exchange| {
        exchange.open_websocket(OPEN)?;
        for _ in 0..2 {
            exchange.ws_read()?;
            exchange.raw(&flood)?;
        }
        exchange.hold()
    });
    count_received(&server, TransportKind::WebSocket)
}

/// Allocations for a received message. The server starts to send when it gets a message.
fn count_received(server: &Scripted, transport: TransportKind) -> f64 {
    let client = Client::new();
    let (sender, all) = channel();
    let mut seen = 0;
    client.on_message(move |_, _| {
        seen += 1;
        if seen % COUNT == 0 {
            sender.send(()).unwrap();
        }
    });
    client.connect_with(server.url(), only(transport)).unwrap();
    let run = || {
        client.send("go").unwrap();
        all.recv_timeout(PATIENCE).unwrap();
    };
    run();
    let count = allocations(COUNT, run);
    abort(&client);
    count
}
