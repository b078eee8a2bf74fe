//! The small part of Socket.IO that a program needs on top of Engine.IO to talk to a python-socketio or
//! socket.io server: enter a namespace, emit an event and get it acknowledged, receive events and acknowledge
//! them, and all of that with binary attachments.
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
//! A Socket.IO packet is the text of an Engine.IO message. It consists of its type, the number of its
//! attachments with a hyphen (only if the type is binary), the namespace with a comma (unless the namespace
//! is `/`), an id if an acknowledgement is requested or given, and JSON. Each attachment is a binary message
//! that follows at once, with a placeholder in the JSON. No other message may come between them, so the
//! packet is sent with `send_all`.

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use demo_server::{Kind, Server};
use engineio::bytes::Bytes;
use engineio::{Client, ConnectOptions, Message};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(5);

const CONNECT: char = '0';
const DISCONNECT: char = '1';
const EVENT: char = '2';
const ACK: char = '3';
const CONNECT_ERROR: char = '4';
const BINARY_EVENT: char = '5';

#[derive(Debug)]
struct Packet {
    kind: char,
    id: Option<u64>,
    /// The JSON. For an event it is an array that starts with the event's name.
    data: Value,
    attachments: Vec<Bytes>,
}

impl Packet {
    /// Parses a packet, and returns it with the number of attachments that follow. `None` if the text is not
    /// a packet, or a packet of another namespace.
    fn parse(text: &str, namespace: &str) -> Option<(Self, usize)> {
        let kind = text.chars().next()?;
        let mut rest = &text[kind.len_utf8()..];
        let mut following = 0;
        if kind == BINARY_EVENT {
            let (number, behind) = rest.split_once('-')?;
            (following, rest) = (number.parse().ok()?, behind);
        }
        let mut packet_namespace = "/";
        if rest.starts_with('/') {
            (packet_namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (id, data) = rest.split_at(digits);
        let data = if data.is_empty() { Value::Null } else { serde_json::from_str(data).ok()? };
        let packet = Packet { kind, id: id.parse().ok(), data, attachments: Vec::new() };
        (packet_namespace == namespace).then_some((packet, following))
    }

    fn text(&self, namespace: &str) -> String {
        let namespace = if namespace == "/" { String::new() } else { format!("{namespace},") };
        let id = self.id.map_or(String::new(), |id| id.to_string());
        let data = if self.data.is_null() { String::new() } else { self.data.to_string() };
        let number = match self.attachments.len() {
            0 => String::new(),
            number => format!("{number}-"),
        };
        format!("{}{number}{namespace}{id}{data}", self.kind)
    }
}

/// Puts packets together from messages.
struct Assembly {
    namespace: String,
    /// The packet that waits for attachments, with their number.
    unfinished: Option<(Packet, usize)>,
}

impl Assembly {
    /// Takes the next message. Returns a packet if it is complete.
    fn accept(&mut self, message: &Message) -> Option<Packet> {
        let (packet, missing) = match (message, self.unfinished.take()) {
            (Message::Binary(bytes), Some((mut packet, missing))) => {
                packet.attachments.push(bytes.clone());
                (packet, missing - 1)
            }
            (message, _) => Packet::parse(message.as_text()?, &self.namespace)?,
        };
        if missing == 0 {
            return Some(packet);
        }
        self.unfinished = Some((packet, missing));
        None
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
        let mut assembly = Assembly { namespace: namespace.to_owned(), unfinished: None };
        client.on_message(move |_, message| {
            if let Some(packet) = assembly.accept(&message) {
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
        self.client.send(Packet { kind, id, data, attachments: Vec::new() }.text(&self.namespace))
    }

    /// Emits an event with one attachment, which is its only argument.
    fn emit_binary(&self, id: Option<u64>, event: &str, attachment: Bytes) -> engineio::Result<()> {
        let data = json!([event, { "_placeholder": true, "num": 0 }]);
        let packet = Packet { kind: BINARY_EVENT, id, data, attachments: vec![attachment.clone()] };
        self.client.send_all([Message::from(packet.text(&self.namespace)), attachment.into()])
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
    let (id, binary_id) = (7, 8);
    println!("emit      echo {}", json!({ "text": "hello" }));
    socket.send(EVENT, Some(id), json!(["echo", { "text": "hello" }]))?;
    let bytes = Bytes::from_static(&[0, 1, 2]);
    println!("emit      echo with an attachment of {} bytes", bytes.len());
    socket.emit_binary(Some(binary_id), "echo", bytes.clone())?;
    let mut acknowledged = 0;
    while let Ok(packet) = socket.packets.recv_timeout(Duration::from_secs(1)) {
        match (packet.kind, packet.id) {
            (EVENT, None) => println!("event     {}", packet.data),
            (BINARY_EVENT, None) if packet.attachments == [&bytes] => {
                println!("event     {} with the attachment", packet.data[0]);
            }
            (EVENT, Some(id)) => {
                println!("event     {}, to be acknowledged", packet.data);
                socket.send(ACK, Some(id), json!(["fine, thank you"]))?;
            }
            (ACK, Some(answered)) if answered == id || answered == binary_id => {
                println!("ack       {}", packet.data);
                acknowledged += 1;
            }
            (DISCONNECT, _) => return Err("the server has ended the namespace".into()),
            _ => println!("other     {packet:?}"),
        }
    }
    if acknowledged < 2 {
        println!("not acknowledged: the handler of `echo`, if there is one, does not answer");
    }
    socket.send(DISCONNECT, None, Value::Null)?;
    socket.client.disconnect()?;
    Ok(())
}
