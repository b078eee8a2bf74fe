//! The small part of Socket.IO that a program needs on top of Engine.IO to talk to a python-socketio or
//! socket.io server: enter a namespace, emit an event and get it acknowledged, receive events and acknowledge
//! them.
//!
//! ```text
//! cargo run --example socketio_echo
//! cargo run --example socketio_echo -- http://localhost:3000           # a server with a handler for `echo`
//! cargo run --example socketio_echo -- http://localhost:3000 /chat     # in another namespace
//! ```
//!
//! A copy of this file needs `engineio`, `crossbeam-channel`, `serde_json` and `demo-server`
//! (`examples/server`).
//!
//! A Socket.IO packet is the text of an Engine.IO message. It consists of its type, the namespace with a
//! comma (unless the namespace is `/`), an id if an acknowledgement is requested or given, and JSON. This
//! example does not support packets with binary attachments.

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use demo_server::{Kind, Server};
use engineio::{Client, ConnectOptions};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(5);

const CONNECT: char = '0';
const DISCONNECT: char = '1';
const EVENT: char = '2';
const ACK: char = '3';
const CONNECT_ERROR: char = '4';

#[derive(Debug)]
struct Packet {
    kind: char,
    id: Option<u64>,
    /// The JSON. For an event it is an array that starts with the event's name.
    data: Value,
}

impl Packet {
    /// Parses a packet. `None` if the text is not a packet, or a packet of another namespace.
    fn parse(text: &str, namespace: &str) -> Option<Self> {
        let kind = text.chars().next()?;
        let mut rest = &text[kind.len_utf8()..];
        let mut packet_namespace = "/";
        if rest.starts_with('/') {
            (packet_namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (id, data) = rest.split_at(digits);
        let data = if data.is_empty() { Value::Null } else { serde_json::from_str(data).ok()? };
        (packet_namespace == namespace).then(|| Packet { kind, id: id.parse().ok(), data })
    }

    fn text(&self, namespace: &str) -> String {
        let namespace = if namespace == "/" { String::new() } else { format!("{namespace},") };
        let id = self.id.map_or(String::new(), |id| id.to_string());
        let data = if self.data.is_null() { String::new() } else { self.data.to_string() };
        format!("{}{namespace}{id}{data}", self.kind)
    }
}

struct SocketIo {
    client: Client,
    namespace: String,
    packets: Receiver<Packet>,
}

impl SocketIo {
    /// Connects and enters the namespace.
    fn connect(url: &str, namespace: &str) -> Result<Self, Box<dyn Error>> {
        let client = Client::new();
        let (arrived, packets) = unbounded();
        let of = namespace.to_owned();
        client.on_message(move |_, message| {
            if let Some(packet) = message.as_text().and_then(|text| Packet::parse(text, &of)) {
                arrived.send(packet).ok();
            }
        });
        client.connect_with(url, ConnectOptions::new().path("socket.io"))?;
        let socket = SocketIo { client, namespace: namespace.to_owned(), packets };
        // An object in place of null would be the `auth` for the server.
        socket.send(CONNECT, None, Value::Null)?;
        let answer = socket.packets.recv_timeout(PATIENCE)?;
        match answer.kind {
            CONNECT => println!("in namespace {namespace}: {}", answer.data),
            CONNECT_ERROR => return Err(format!("not let into {namespace}: {}", answer.data).into()),
            _ => return Err(format!("unexpected: {answer:?}").into()),
        }
        Ok(socket)
    }

    fn send(&self, kind: char, id: Option<u64>, data: Value) -> engineio::Result<()> {
        self.client.send(Packet { kind, id, data }.text(&self.namespace))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = match arguments.next() {
        Some(url) => url,
        None => Server::start(Kind::SocketIo)?.url().to_owned(),
    };
    let socket = SocketIo::connect(&url, &arguments.next().unwrap_or_else(|| "/".into()))?;

    // The id requests an acknowledgement. An event without an id gets none.
    let id = 7;
    println!("emit      echo {}", json!({ "text": "hello" }));
    socket.send(EVENT, Some(id), json!(["echo", { "text": "hello" }]))?;
    let mut acknowledged = false;
    while let Ok(packet) = socket.packets.recv_timeout(Duration::from_secs(1)) {
        match (packet.kind, packet.id) {
            (EVENT, None) => println!("event     {}", packet.data),
            (EVENT, Some(id)) => {
                println!("event     {}, to be acknowledged", packet.data);
                socket.send(ACK, Some(id), json!(["fine, thank you"]))?;
            }
            (ACK, Some(answered)) if answered == id => {
                println!("ack       {}", packet.data);
                acknowledged = true;
            }
            (DISCONNECT, _) => return Err("the server has ended the namespace".into()),
            _ => println!("other     {packet:?}"),
        }
    }
    if !acknowledged {
        println!("no acknowledgement: the handler of `echo`, if there is one, does not answer");
    }
    socket.send(DISCONNECT, None, Value::Null)?;
    socket.client.disconnect()?;
    Ok(())
}
