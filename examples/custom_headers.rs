//! Headers of one's own: they go with every HTTP request and with the websocket's opening request.
//!
//! ```text
//! cargo run --example custom_headers                                # the server greets whom `X-User` names
//! cargo run --example custom_headers -- http://localhost:5000
//! ```

mod embedded;

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::unbounded;
use engineio::{Client, ConnectOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => embedded::start()?,
    };
    let client = Client::new();
    let (messages, received) = unbounded();
    client.on_message(move |_, message| messages.send(message));

    let options = ConnectOptions::new()
        .header("X-User", "ann")
        .header("Authorization", "Bearer a-secret")
        // Merged with the cookies that the server sets.
        .header("Cookie", "theme=dark")
        // In place of this crate's own.
        .header("User-Agent", "custom-headers/1.0");
    // Values may be secret, so only names are shown here, and neither in a log.
    println!("connecting with {options:?}");
    client.connect_with(url, options)?;

    client.send("hello")?;
    while let Ok(message) = received.recv_timeout(Duration::from_secs(1)) {
        println!("received {message}");
    }
    client.disconnect()?;
    Ok(())
}
