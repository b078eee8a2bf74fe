//! A background task that sends a report at regular intervals until the connection ends.
//!
//! ```text
//! cargo run --example background_task
//! cargo run --example background_task -- http://localhost:5000    # runs until Ctrl-C
//! ```
//!
//! A copy of this file needs `engineio` and `demo-server` (`examples/server`).

use std::error::Error;
use std::time::{Duration, Instant};

use engineio::{Client, Error as ClientError};

fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1);
    let reports = if argument.is_some() { usize::MAX } else { 3 };
    let url = match argument {
        Some(url) => url,
        None => demo_server::start()?,
    };
    let client = Client::new();
    client.on_message(|_, message| println!("received {message}"));
    client.on_disconnect(|_, reason| println!("disconnected: {reason}"));
    client.connect(url)?;

    // The task is an ordinary thread. It needs only a handle of its own.
    let handle = client.clone();
    let task = client.start_background_task(move || report(&handle, reports));

    // The main thread is free for other work, but has none in this example.
    client.wait();
    match task.join() {
        Ok(count) => println!("{count} reports were sent"),
        Err(_) => return Err("the task panicked".into()),
    }
    Ok(())
}

/// Sends the reports, and returns how many were sent.
fn report(client: &Client, reports: usize) -> usize {
    let start = Instant::now();
    for count in 0..reports {
        client.sleep(Duration::from_millis(300));
        match client.send(format!("up for {} ms", start.elapsed().as_millis())) {
            Ok(()) => {}
            // This error tells the task that the connection has ended.
            Err(ClientError::SocketIsClosed) => return count,
            Err(e) => eprintln!("not sent: {e}"),
        }
    }
    // The pause lets the last answer arrive. Then `disconnect` ends the wait in `main`.
    client.sleep(Duration::from_millis(300));
    if let Err(e) = client.disconnect() {
        eprintln!("{e}");
    }
    reports
}
