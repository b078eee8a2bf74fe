//! A real front end, nginx, between the client and python-engineio: what passes through it, and what the
//! client makes of nginx's own answers.

#![cfg(target_os = "linux")]

#[path = "../tls/certificates.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod certificates;

mod answers;
mod passes;
mod redirects;
mod server;

use engineio::{Client, ClientBuilder, Message, TransportKind};

use common::official::{Kind, Options, Server};
use common::{PATIENCE, WAYS, Watch, by, carrier};
use server::{Nginx, PASS};

pub(crate) use TransportKind::{Polling, WebSocket};

pub(crate) fn builder() -> ClientBuilder {
    Client::builder().request_timeout(PATIENCE)
}

/// Connects by these transports, gets messages echoed, and disconnects.
pub(crate) fn visit(client: &Client, url: &str, way: &[TransportKind]) {
    let watch = Watch::new(client);
    client.connect_with(url, by(way)).unwrap_or_else(|e| panic!("{way:?}: {e:?}"));
    watch.connected();
    assert_eq!(client.transport().unwrap(), carrier(way));
    let messages = [
        Message::from("hello"),
        Message::from(""),
        Message::from((0..=255).cycle().take(100_000).collect::<Vec<u8>>()),
        Message::from("ü".repeat(100_000)),
    ];
    for message in messages {
        client.send(message.clone()).unwrap();
        assert!(watch.message() == message, "{way:?}: another message came back");
    }
    client.send("cmd:burst 200 number ").unwrap();
    for number in 0..200 {
        assert_eq!(watch.message(), Message::from(format!("number {number}")), "{way:?}");
    }
    client.disconnect().unwrap();
}
