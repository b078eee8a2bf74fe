//! The choice of the transport. The client tries the transports in the order of the list.
//!
//! ```text
//! cargo run --example transports
//! cargo run --example transports -- http://localhost:5000
//! ```
//!
//! A copy of this file needs `engineio` and `demo-server` (`examples/server`).

use std::error::Error;

use engineio::{Client, ConnectOptions, TransportKind};

fn main() -> Result<(), Box<dyn Error>> {
    use TransportKind::{Polling, WebSocket};

    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => demo_server::start()?,
    };
    let choices: [(&str, &[TransportKind]); 4] = [
        ("the default: polling, then an upgrade to websocket", &[Polling, WebSocket]),
        ("websocket only: one request less, but some proxies block it", &[WebSocket]),
        ("polling only: works everywhere, slower", &[Polling]),
        ("websocket at once, polling if that fails", &[WebSocket, Polling]),
    ];
    for (what, transports) in choices {
        println!("{what}");
        let client = Client::new();
        let options = ConnectOptions::new().transports(transports.iter().copied());
        match client.connect_with(&url, options) {
            Ok(()) => println!("    connected by {}", client.transport()?),
            // Not every server supports both transports.
            Err(e) => println!("    {e}"),
        }
        client.disconnect()?;
    }
    Ok(())
}
