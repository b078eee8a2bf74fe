//! The time that a message takes to the server and back, by each transport.
//!
//! ```text
//! cargo run --release --example latency
//! cargo run --release --example latency -- --rounds 100 http://localhost:5000    # a server that echoes
//! ```

mod embedded;

use std::error::Error;
use std::time::{Duration, Instant};

use clap::Parser;
use crossbeam_channel::bounded;
use engineio::{Client, ConnectOptions, TransportKind};

/// Measures the round trip of a small message by polling and by websocket.
#[derive(Parser)]
struct Arguments {
    /// URL of a server that echoes messages. Default: a server in this process
    url: Option<String>,
    /// Number of round trips by each transport
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Pause between two round trips, in milliseconds
    #[arg(long, default_value_t = 0)]
    pause: u64,
}

/// The number of rows for each transport, which show the progress.
const ROWS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let url = match &arguments.url {
        Some(url) => url.clone(),
        None => embedded::start()?,
    };
    println!("{:<10} {:>7} {:>10} {:>10} {:>10}", "transport", "rounds", "p50 ms", "p90 ms", "p99 ms");
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        measure(&url, transport, &arguments)?;
    }
    Ok(())
}

fn measure(url: &str, transport: TransportKind, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let client = Client::new();
    // The handler takes the time, so the time to wake this thread does not count.
    let (arrivals, arrived) = bounded(1);
    client.on_message(move |_, _| arrivals.send(Instant::now()));
    client.connect_with(url, ConnectOptions::new().transports([transport]))?;

    let mut times = Vec::new();
    for round in 1..=arguments.rounds {
        let start = Instant::now();
        client.send("ping")?;
        times.push(arrived.recv_timeout(PATIENCE).map_err(|_| "the server does not echo")? - start);
        if round % arguments.rounds.div_ceil(ROWS) == 0 || round == arguments.rounds {
            print_row(transport, &mut times);
        }
        client.sleep(Duration::from_millis(arguments.pause));
    }
    client.disconnect()?;
    Ok(())
}

/// Prints a row about all round trips so far.
fn print_row(transport: TransportKind, times: &mut [Duration]) {
    times.sort_unstable();
    let percentile = |percent: usize| {
        // The percentile is the smallest time that `percent` of all times do not exceed.
        let rank = (times.len() * percent).div_ceil(100);
        times[rank - 1].as_secs_f64() * 1000.0
    };
    let (p50, p90, p99) = (percentile(50), percentile(90), percentile(99));
    println!("{:<10} {:>7} {p50:>10.3} {p90:>10.3} {p99:>10.3}", transport.as_str(), times.len());
}
