//! The memory that kept messages take. There is only one test, because the allocator counts for the whole
//! process.

use std::alloc::System;

use common::scripted::Scripted;
use common::{PATIENCE, abort, only};
use crossbeam_channel::unbounded;
use engineio::{Client, Message, TransportKind};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LARGE: usize = 8 << 20;
const ROUNDS: usize = 40;
const MIB: usize = 1 << 20;

/// A program that keeps small messages does not keep the buffers through which they came.
#[test]
fn small_messages_keep_no_large_buffers() {
    for small in [15_000, 20_480] {
        // The small message comes as binary, as text, and in two fragments.
        for form in 0..3 {
            let kept = kept(small, form);
            let least = small * ROUNDS;
            println!("{small} bytes in form {form}: {kept} bytes for {least}");
            assert!(kept < least * 5 / 4 + MIB, "{small} bytes in form {form}: {kept} bytes for {least}");
        }
    }
}

/// The memory that the client and the small messages take in the end, in bytes.
fn kept(small: usize, form: usize) -> usize {
    let server = Scripted::websocket(move |exchange| {
        let large = vec![0; LARGE];
        let bytes = [&b"4"[..], &vec![b'x'; small - 1]].concat();
        for _ in 0..ROUNDS {
            exchange.ws_frame(0x82, &large)?;
            match form {
                0 => exchange.ws_frame(0x82, &bytes)?,
                1 => exchange.ws_frame(0x81, &bytes)?,
                _ => {
                    exchange.ws_frame(0x02, &bytes[..small / 2])?;
                    exchange.ws_frame(0x80, &bytes[small / 2..])?;
                }
            }
            // One large message at a time: the program is not behind.
            exchange.ws_read()?;
        }
        drop((large, bytes));
        exchange.ws_text("4done")?;
        exchange.hold()
    });
    let region = Region::new(ALLOCATOR);
    let client = Client::new();
    let (sender, messages) = unbounded();
    client.on_message(move |client, message| {
        let large = matches!(&message, Message::Binary(bytes) if bytes.len() == LARGE);
        if !large {
            sender.send(message).unwrap();
            // The test may have ended the connection. (A panic would print its backtrace, which takes
            // memory.)
            let _ = client.send("next");
        }
    });
    client.connect_with(server.url(), only(TransportKind::WebSocket)).unwrap();
    let kept: Vec<Message> = (0..ROUNDS).map(|_| messages.recv_timeout(PATIENCE).unwrap()).collect();
    messages.recv_timeout(PATIENCE).expect("the server is done");
    let change = region.change();
    // A reallocation that shrinks counts as a deallocation, and one that grows as an allocation.
    let memory = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    drop(kept);
    abort(&client);
    memory
}
