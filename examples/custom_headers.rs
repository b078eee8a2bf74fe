//! Custom headers, which are sent with every HTTP request and with the opening request of the websocket.
//!
//! ```text
//! cargo run --example custom_headers                                # the server greets the user in `X-User`
//! cargo run --example custom_headers -- http://localhost:5000
//! ```
//!
//! A copy of this file needs `engineio`, `crossbeam-channel` and `demo-server` (`examples/server`).

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::unbounded;
use engineio::{Client, ConnectOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => demo_server::start()?,
    };
    let client = Client::new();
    let (messages, received) = unbounded();
    client.on_message(move |_, message| messages.send(message));

    let options = ConnectOptions::new()
        .header("X-User", "ann")
        .header("Authorization", "Bearer a-secret")
        // These cookies are merged with the server's.
        .header("Cookie", "theme=dark")
        // This replaces the crate's own `User-Agent`.
        .header("User-Agent", "custom-headers/1.0");
    // Values may be secret, so `Debug` shows only the names. The client's log shows neither.
    println!("connecting with {options:?}");
    client.connect_with(url, options)?;

    client.send("hello")?;
    while let Ok(message) = received.recv_timeout(Duration::from_secs(1)) {
        println!("received {message}");
    }
    client.disconnect()?;
    Ok(())
}
