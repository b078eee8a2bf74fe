//! Connecting again in the disconnect handler: for those who want another policy than `Reconnection`'s.
//!
//! ```text
//! cargo run --example reconnect_by_hand                           # the server goes down for a while
//! cargo run --example reconnect_by_hand -- http://localhost:5000  # stop and start that server; Ctrl-C ends
//! ```

mod embedded;

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use embedded::{Kind, Server};
use engineio::{Client, Reason};

const ATTEMPTS: u32 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::start(Kind::Echo)?;
    let (url, embedded) = match std::env::args().nth(1) {
        Some(url) => (url, false),
        None => (server.url().to_owned(), true),
    };

    let client = Client::new();
    let (connects, connected) = unbounded();
    client.on_connect(move |client| {
        println!("connected, session {}", client.sid().unwrap_or_default());
        // Nobody listens, if there is no embedded server.
        connects.send(()).ok();
    });
    let same_url = url.clone();
    client.on_disconnect(move |client, reason| {
        println!("disconnected: {reason}");
        // Otherwise there would be no way to end it.
        if reason != Reason::ClientDisconnect {
            connect_again(client, &same_url);
        }
    });
    client.connect(&url)?;

    if embedded {
        let rehearsal = client.clone();
        client.start_background_task(move || rehearse(&rehearsal, &server, &connected));
    }
    // Goes on for as long as the handler finds a new connection.
    client.wait();
    println!("over");
    Ok(())
}

fn connect_again(client: &Client, url: &str) {
    for attempt in 1..=ATTEMPTS {
        client.sleep(Duration::from_millis(200) * attempt);
        // The connect handler runs before it returns.
        match client.connect(url) {
            Ok(()) => return,
            Err(e) => println!("attempt {attempt} failed: {e}"),
        }
    }
}

/// The server is down for half a second. When the client is back, it disconnects.
fn rehearse(client: &Client, server: &Server, connected: &Receiver<()>) {
    connected.recv().ok();
    println!("-- the server goes down");
    server.cut();
    client.sleep(Duration::from_millis(500));
    println!("-- the server is up again");
    server.mend();
    connected.recv().ok();
    if let Err(e) = client.disconnect() {
        println!("{e}");
    }
}
