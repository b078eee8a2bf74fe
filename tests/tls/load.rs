//! A lot of data in both directions at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::unbounded;
use engineio::{Client, Message, TransportKind};

use crate::builder;
use crate::certificates::Authority;
use crate::server::{Digest, Server, Setup, chunk};
use common::only;

/// The number of messages of 64 KiB, in total 50 MiB.
const COUNT: usize = 800;

#[test]
fn both_directions_by_websocket() {
    both_directions(TransportKind::WebSocket);
}

#[test]
fn both_directions_by_polling() {
    both_directions(TransportKind::Polling);
}

/// All messages arrive, in order, while the other side sends as fast as it can.
fn both_directions(transport: TransportKind) {
    let authority = Authority::new();
    let server = Server::start(&Setup::new(&authority.identity(&["localhost"])));
    let client = builder().ca_certificate(authority.pem()).build().unwrap();
    let received = Arc::new(Mutex::new(Digest::default()));
    let (texts_tx, texts) = unbounded();
    let digest = received.clone();
    client.on_message(move |_: &Client, message| match message {
        Message::Binary(bytes) => digest.lock().unwrap().add(&bytes),
        text => texts_tx.send(text).unwrap(),
    });
    client.connect_with(server.url("localhost"), only(transport)).unwrap();
    client.send(format!("flood {COUNT}")).unwrap();
    (0..COUNT).for_each(|index| client.send(chunk(index)).unwrap());
    client.send("digest").unwrap();
    let expected = Digest::of_flood(COUNT).to_string();
    let text = || texts.recv_timeout(Duration::from_secs(120)).unwrap().to_string();
    // The two answers may arrive in any order.
    let mut answers = [text(), text()];
    answers.sort();
    assert_eq!(answers, [expected.clone(), "flooded".to_owned()], "at the server");
    client.disconnect().unwrap();
    assert_eq!(received.lock().unwrap().to_string(), expected, "at the client");
}
