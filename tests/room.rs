//! Room in the outbox: the first sender that waits is the first to get it, however large its message is.

#![cfg(target_os = "linux")]

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use common::process::waiting;
use common::scripted::{Exchange, OPEN, Scripted};
use common::{PATIENCE, only};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use engineio::{Client, Error, TransportKind};

use TransportKind::{Polling, WebSocket};

/// The limit of the outbox in bytes.
const LIMIT: usize = 400_000;

/// The number of small messages of each sender.
const SMALL: usize = 5000;

/// A server that reads nothing until the test releases it, and then everything.
fn serve(exchange: &mut Exchange, released: &Receiver<()>, tell: &Sender<String>) -> io::Result<()> {
    let tell = |text: &str| drop(tell.send(text.trim_start_matches('4').to_owned()));
    if exchange.request.is_websocket() {
        exchange.open_websocket(OPEN)?;
        // A fixed size turns off the kernel's adaptation, so a few megabytes fill the connection.
        rustix::net::sockopt::set_socket_recv_buffer_size(exchange.stream()?, 256 * 1024)?;
        let _ = released.recv();
        loop {
            match exchange.ws_read()? {
                (8, _) => return exchange.ws_frame(0x88, b""),
                (_, payload) => tell(std::str::from_utf8(&payload).map_err(io::Error::other)?),
            }
        }
    }
    match &exchange.request {
        request if request.is_post() => {
            let _ = released.recv();
            request.text().split('\u{1e}').for_each(tell);
            exchange.payload("ok")
        }
        request if request.is_poll() => exchange.hold(),
        _ => exchange.payload(OPEN),
    }
}

/// Sends until the kernel takes no more and the outbox is filled to more than a third.
fn fill(client: &Client) {
    let filler = "f".repeat(10_000);
    while client.flush(Duration::from_millis(100)).is_ok() {
        client.send(&filler).unwrap();
    }
    while client.stats().outbox_bytes < LIMIT / 3 {
        client.send(&filler).unwrap();
    }
    assert!(client.stats().outbox_bytes < LIMIT / 2, "{:?}", client.stats());
}

/// Sends messages on a thread of its own. Returns when that thread waits for room.
fn sending(client: &Client, messages: impl IntoIterator<Item = String> + Send + 'static) -> JoinHandle<()> {
    let client = client.clone();
    waiting("send waits", move || messages.into_iter().for_each(|message| client.send(message).unwrap()))
}

/// Sends a message that does not fit, and then small ones that would fit.
fn first_come_first_served(transport: TransportKind, size: usize) {
    let ((release, released), (tell, told)) = (bounded::<()>(0), unbounded());
    let server = Scripted::start(move |exchange| serve(exchange, &released, &tell));
    let client = Client::builder().outbox_limit(LIMIT).packets_per_post(1000).build().unwrap();
    client.connect_with(server.url(), only(transport)).unwrap();
    fill(&client);
    let big = sending(&client, ["B".repeat(size)]);
    assert!(!big.is_finished());
    let tried = client.try_send("t");
    let small = [0, 1].map(|_| sending(&client, (0..SMALL).map(|i| format!("s{i}"))));
    drop(release);
    for sender in [big].into_iter().chain(small) {
        sender.join().unwrap();
    }
    client.disconnect().unwrap();
    let texts = std::iter::from_fn(|| told.recv_timeout(PATIENCE).ok()).take_while(|text| text != "1");
    let order: Vec<u8> = texts.map(|text| text.as_bytes()[0]).filter(|kind| *kind != b'f').collect();
    assert_eq!(order.iter().filter(|kind| **kind == b's').count(), 2 * SMALL);
    let before = order.iter().position(|kind| *kind == b'B').expect("the big message arrives");
    assert_eq!(before, 0, "{transport}: {before} messages before that of {size} bytes");
    assert!(matches!(tried, Err(Error::QueueFull)), "{tried:?}");
}

#[test]
fn a_big_message_is_not_overtaken_by_websocket() {
    first_come_first_served(WebSocket, 300_000);
}

#[test]
fn a_big_message_is_not_overtaken_by_polling() {
    first_come_first_served(Polling, 300_000);
}

/// A message larger than the limit waits for an empty outbox.
#[test]
fn a_message_above_the_limit_is_not_overtaken() {
    for transport in [WebSocket, Polling] {
        first_come_first_served(transport, LIMIT + 100_000);
    }
}
