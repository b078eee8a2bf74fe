//! Worker threads that feed one client through a queue: the workers compute, and the main thread sends.
//!
//! ```text
//! cargo run --example workers
//! cargo run --example workers -- http://localhost:5000    # a server that echoes
//! ```
//!
//! A copy of this file needs `engineio`, `crossbeam-channel`, `serde_json` and `demo-server`
//! (`examples/server`).

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
        None => demo_server::start()?,
    };
    let client = Client::new();
    let (echoes, received) = unbounded();
    client.on_message(move |_, message| echoes.send(message));
    client.connect(url)?;

    // The bound makes the workers wait when the network is slower than they are.
    let (results, queue) = bounded(4);
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let results = results.clone();
            client.start_background_task(move || work(worker, &results))
        })
        .collect();
    // The queue ends when the last sender is dropped, so only the workers may have one.
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

/// Does the jobs of one worker. The result of a job is the number of steps of the Collatz sequence from `job`
/// to 1.
fn work(worker: u64, results: &Sender<Value>) {
    for job in (1..=JOBS).filter(|job| job % WORKERS == worker) {
        let (mut number, mut steps) = (job, 0);
        while number != 1 {
            number = if number % 2 == 0 { number / 2 } else { 3 * number + 1 };
            steps += 1;
        }
        if results.send(json!({ "worker": worker, "job": job, "steps": steps })).is_err() {
            // The main thread has stopped early.
            return;
        }
    }
}
