//! Reconnecting in the disconnect handler, for programs that need another policy than `Reconnection`.
//!
//! ```text
//! cargo run --example reconnect_by_hand                           # the server goes down for a while
//! cargo run --example reconnect_by_hand -- http://localhost:5000  # stop and start that server; Ctrl-C ends
//! ```
//!
//! A copy of this file needs `engineio`, `crossbeam-channel` and `demo-server` (`examples/server`).

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use demo_server::{Kind, Server};
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
        // The send fails without an embedded server, because nobody receives then.
        connects.send(()).ok();
    });
    let same_url = url.clone();
    client.on_disconnect(move |client, reason| {
        println!("disconnected: {reason}");
        // After a disconnect by the client the program has to end.
        if reason != Reason::ClientDisconnect {
            connect_again(client, &same_url);
        }
    });
    client.connect(&url)?;

    if embedded {
        let rehearsal = client.clone();
        client.start_background_task(move || rehearse(&rehearsal, &server, &connected));
    }
    // The wait continues as long as the handler makes new connections.
    client.wait();
    println!("over");
    Ok(())
}

fn connect_again(client: &Client, url: &str) {
    for attempt in 1..=ATTEMPTS {
        client.sleep(Duration::from_millis(200) * attempt);
        // The connect handler runs before `connect` returns.
        match client.connect(url) {
            Ok(()) => return,
            Err(e) => println!("attempt {attempt} failed: {e}"),
        }
    }
}

/// Takes the server down for half a second, and disconnects when the client has reconnected.
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
