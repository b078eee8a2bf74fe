//! Connects to an Engine.IO server, sends a text, a JSON value and bytes, and prints the echoes.
//!
//! ```text
//! cargo run --example quickstart                                   # with a server in this process
//! cargo run --example quickstart -- http://localhost:5000          # with a server that echoes
//! cargo run --example quickstart -- --transport websocket [URL]    # or polling
//! ```
//!
//! A copy of this file needs `engineio`, `crossbeam-channel`, `serde_json` and `demo-server`
//! (`examples/server`).

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::unbounded;
use engineio::{Client, ConnectOptions, Message, TransportKind};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let (url, transport) = arguments()?;
    let url = match url {
        Some(url) => url,
        None => demo_server::start()?,
    };

    let client = Client::new();
    let (echoes, received) = unbounded();
    client.on_connect(|client| println!("connected by {}", name(client.transport().ok())));
    client.on_message(move |_, message| echoes.send(message));
    client.on_disconnect(|_, reason| println!("disconnected: {reason}"));

    let options = match transport {
        Some(transport) => ConnectOptions::new().transports([transport]),
        // By default the client starts with long polling, and then upgrades to websocket.
        None => ConnectOptions::new(),
    };
    println!("connecting to {url} by {}", name(transport.or(Some(TransportKind::Polling))));
    client.connect_with(&url, options)?;
    println!("session id {}", client.sid().unwrap_or_default());

    let messages = [
        Message::from("Hello Server!"),
        Message::from(json!({ "answer": 42 })),
        Message::from(vec![0, 1, 2, 255]),
    ];
    for message in messages {
        client.send(message.clone())?;
        println!("sent     {message:?}");
        println!("received {:?}", received.recv_timeout(PATIENCE)?);
    }

    client.disconnect()?;
    client.wait();
    Ok(())
}

fn name(transport: Option<TransportKind>) -> &'static str {
    transport.map_or("nothing", TransportKind::as_str)
}

/// The URL and the transport from the arguments, if they are given.
fn arguments() -> Result<(Option<String>, Option<TransportKind>), Box<dyn Error>> {
    let (mut url, mut transport) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--transport" {
            transport = Some(arguments.next().ok_or("--transport needs a name")?.parse()?);
        } else {
            url = Some(argument);
        }
    }
    Ok((url, transport))
}
