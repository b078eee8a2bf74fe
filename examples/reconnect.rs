//! A client that connects again by itself when the connection is lost.
//!
//! ```text
//! cargo run --example reconnect                                # the server goes down for a while
//! cargo run --example reconnect -- http://localhost:5000       # stop and start that server; Ctrl-C ends
//! ```

mod embedded;

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::unbounded;
use embedded::{Kind, Server};
use engineio::{Client, Reconnection, ReconnectionEvent};

fn main() -> Result<(), Box<dyn Error>> {
    let (failures, failed) = unbounded();
    let policy = Reconnection::new()
        // The pauses double from the first to the longest, and each is varied by up to half of it.
        .delay(Duration::from_millis(200))
        .max_delay(Duration::from_secs(5))
        .randomization_factor(0.5)
        .on_event(move |event| {
            println!("{event}");
            if let ReconnectionEvent::Failed { .. } = event {
                // Nobody listens, if there is no embedded server.
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
        // Goes on over all connections, as the policy makes new ones without end.
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
    // The end for good: what the client ends itself is not made again.
    client.disconnect()?;
    Ok(())
}
