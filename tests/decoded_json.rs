//! The memory that decoded JSON takes. One test, as memory is counted for the whole process.

use std::alloc::System;
use std::error::Error;
use std::sync::mpsc::channel;

use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, abort, only};
use engineio::{Client, ClientBuilder, JsonCodec, Message, TransportKind};
use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LENGTH: usize = 2_000_000;

/// The bound that [`ClientBuilder::decode_json`] documents, and a third more for the spare room of arrays.
const BOUND: usize = (16 * 1024 * 1024 + 32 * LENGTH) / 3 * 4;

struct Codec;

impl JsonCodec for Codec {
    fn dumps(&self, value: &Value) -> Result<String, Box<dyn Error + Send + Sync>> {
        Ok(value.to_string())
    }

    fn loads(&self, text: &str) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Ok(serde_json::from_str(text)?)
    }
}

#[test]
fn tiny_values_do_not_take_a_hundred_times_their_text() {
    // Whether an array that repeats the element is decoded.
    let table = [
        ("0", true),
        ("[]", true),
        (r#""a""#, true),
        (r#"{"id":12345,"name":"some name"}"#, true),
        ("[[0]]", false),
        (r#"{"x":1,"y":2}"#, false),
        (r#"{"a":{}}"#, false),
        (r#"{"":0}"#, false),
    ];
    let plain = || Client::builder().decode_json(true);
    for builder in [plain, || Client::builder().decode_json(true).json(Codec)] {
        for (element, decoded) in table {
            let text = format!("[{}]", vec![element; LENGTH / (element.len() + 1)].join(","));
            let (message, memory) = receive(builder(), text);
            println!("{element}: {} MB", memory / 1_000_000);
            assert_eq!(matches!(message, Message::Json(_)), decoded, "{element}");
            assert!(memory < BOUND, "{element}: {memory} bytes");
        }
    }
}

/// A text as it arrives, and the memory that the process then holds beyond what it held before.
fn receive(builder: ClientBuilder, text: String) -> (Message, usize) {
    let server = Scripted::start(move |exchange| {
        exchange.open_websocket(OPEN)?;
        exchange.ws_read()?;
        exchange.ws_text(&format!("4{text}"))?;
        exchange.hold()
    });
    let client = builder.build().unwrap();
    let (sender, received) = channel();
    client.connect_with(server.url(), only(TransportKind::WebSocket)).unwrap();
    let region = Region::new(ALLOCATOR);
    client.on_message(move |_, message| {
        let change = region.change();
        let memory = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
        sender.send((message, memory)).unwrap();
    });
    client.send("go").unwrap();
    let received = received.recv_timeout(PATIENCE).unwrap();
    abort(&client);
    received
}
