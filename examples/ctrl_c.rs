//! Data that is kept on Ctrl-C: the program collects messages, and writes them to a file at its end.
//!
//! ```text
//! cargo run --example ctrl_c                                            # press Ctrl-C
//! cargo run --example ctrl_c -- http://localhost:5000 messages.txt
//! ```
//!
//! A copy of this file needs `engineio` and `demo-server` (`examples/server`).

use std::error::Error;
use std::sync::{Arc, Mutex};

use engineio::{Client, OnSigint};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = match arguments.next() {
        Some(url) => url,
        None => demo_server::start()?,
    };
    let file = arguments.next().map_or_else(|| std::env::temp_dir().join("messages.txt"), Into::into);

    // With `Return`, `wait` returns on Ctrl-C. By default, the process would end instead.
    let client = Client::builder().handle_sigint(OnSigint::Return).build()?;
    let collected = Arc::new(Mutex::new(Vec::new()));
    let messages = collected.clone();
    client.on_message(move |_, message| {
        println!("received {message}");
        messages.lock().expect("no handler panics").push(message.to_string());
    });
    client.on_disconnect(|_, reason| println!("disconnected: {reason}"));
    client.connect(url)?;
    // A server that echoes sends these back.
    for number in 1..=3 {
        client.send(format!("message {number}"))?;
    }
    println!("press Ctrl-C");
    client.wait();

    let messages = collected.lock().expect("no handler panics");
    std::fs::write(&file, messages.join("\n"))?;
    println!("wrote {} messages to {}", messages.len(), file.display());
    Ok(())
}
