//! A loop for the client's events and for timers, with crossbeam's `select!`.
//!
//! ```text
//! cargo run --example select
//! cargo run --example select -- http://localhost:5000    # a server that echoes
//! ```
//!
//! A copy of this file needs `engineio`, `crossbeam-channel` and `demo-server` (`examples/server`).

use std::error::Error;
use std::time::{Duration, Instant};

use crossbeam_channel::{after, select, tick};
use engineio::{Client, Event};

fn main() -> Result<(), Box<dyn Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => demo_server::start()?,
    };
    let client = Client::new();
    // The channel is created before `connect`, so it misses no event. While it is full, the client waits.
    let events = client.events(100);
    client.connect(url)?;

    let start = Instant::now();
    let mut count = 0;
    let ticks = tick(Duration::from_millis(200));
    let enough = after(Duration::from_millis(900));
    loop {
        select! {
            recv(events) -> event => match event? {
                Event::Connect => println!("connect     by {}", client.transport()?),
                Event::Message(message) => println!("message     {message}"),
                Event::Disconnect(reason) => {
                    println!("disconnect  {reason}");
                    return Ok(());
                }
                // Later versions may add events.
                _ => {}
            },
            recv(ticks) -> _ => {
                count += 1;
                println!("tick        {count} after {} ms", start.elapsed().as_millis());
                // The last tick may arrive while the connection ends.
                if client.is_connected() {
                    client.send(format!("tick {count}"))?;
                }
            }
            recv(enough) -> _ => {
                println!("enough      disconnecting");
                client.disconnect()?;
            }
        }
    }
}
