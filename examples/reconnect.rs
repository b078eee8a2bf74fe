//! A client that reconnects by itself when the connection is lost.
//!
//! ```text
//! cargo run --example reconnect                                # the server goes down for a while
//! cargo run --example reconnect -- http://localhost:5000       # stop and start that server; Ctrl-C ends
//! ```
//!
//! A copy of this file needs `engineio`, `crossbeam-channel` and `demo-server` (`examples/server`).

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::unbounded;
use demo_server::{Kind, Server};
use engineio::{Client, Reconnection, ReconnectionEvent};

fn main() -> Result<(), Box<dyn Error>> {
    let (failures, failed) = unbounded();
    let policy = Reconnection::new()
        // The delay doubles with each attempt up to the maximum. Each delay varies randomly by up to half of
        // it.
        .delay(Duration::from_millis(200))
        .max_delay(Duration::from_secs(5))
        .randomization_factor(0.5)
        .on_event(move |event| {
            println!("{event}");
            if let ReconnectionEvent::Failed { .. } = event {
                // The send fails without an embedded server, because nobody receives then.
                failures.send(()).ok();
            }
        });
    let client = Client::builder().reconnection(policy).build()?;
    let (connects, connected) = unbounded();
    client.on_connect(move |client| {
        println!("connected, session {}", client.sid().unwrap_or_default());
        connects.send(())
    });
    client.on_disconnect(|_, reason| println!("disconnected: {reason}"));

    if let Some(url) = std::env::args().nth(1) {
        client.connect(url)?;
        // The wait continues over all connections. The policy makes new ones without a limit.
        client.wait();
        return Ok(());
    }

    let server = Server::start(Kind::Echo)?;
    client.connect(server.url())?;
    connected.recv()?;
    println!("-- the server goes down");
    server.cut();
    failed.recv()?;
    failed.recv()?;
    println!("-- the server is up again");
    server.mend();
    connected.recv()?;
    // The policy does not reconnect after a disconnect by the client.
    client.disconnect()?;
    Ok(())
}
