//! Workers on threads of their own feed one client through a queue: they compute, the main thread sends.
//!
//! ```text
//! cargo run --example workers
//! cargo run --example workers -- http://localhost:5000    # a server that echoes
//! ```

mod embedded;

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded, unbounded};
use engineio::Client;
use serde_json::{Value, json};

const WORKERS: u64 = 3;
const JOBS: u64 = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => embedded::start()?,
    };
    let client = Client::new();
    let (echoes, received) = unbounded();
    client.on_message(move |_, message| echoes.send(message));
    client.connect(url)?;

    // Bounded, so that workers wait when the network is slower than they are.
    let (results, queue) = bounded(4);
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let results = results.clone();
            client.start_background_task(move || work(worker, &results))
        })
        .collect();
    // The queue ends with its last sender, which is now a worker's.
    drop(results);

    let mut sent = 0;
    for result in queue {
        println!("sending {result}");
        client.send(result)?;
        sent += 1;
    }
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")?;
    }
    for _ in 0..sent {
        received.recv_timeout(Duration::from_secs(5))?;
    }
    println!("{sent} results came back");
    client.disconnect()?;
    Ok(())
}

/// Every job that is this worker's: how many steps the Collatz sequence takes from `job` to 1.
fn work(worker: u64, results: &Sender<Value>) {
    for job in (1..=JOBS).filter(|job| job % WORKERS == worker) {
        let (mut number, mut steps) = (job, 0);
        while number != 1 {
            number = if number % 2 == 0 { number / 2 } else { 3 * number + 1 };
            steps += 1;
        }
        if results.send(json!({ "worker": worker, "job": job, "steps": steps })).is_err() {
            // The main thread has ended early.
            return;
        }
    }
}
