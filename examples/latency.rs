//! The time that a message takes to the server and back, by each transport.
//!
//! ```text
//! cargo run --release --example latency
//! cargo run --release --example latency -- --rounds 100 --pause 20 http://localhost:5000
//! ```
//!
//! A copy of this file needs `engineio`, `crossbeam-channel` and `demo-server` (`examples/server`).

use std::error::Error;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use engineio::{Client, ConnectOptions, TransportKind};

struct Arguments {
    /// The URL of a server that echoes messages. By default, a server in this process is started.
    url: Option<String>,
    /// The number of round trips by each transport.
    rounds: u32,
    /// The pause between two round trips.
    pause: Duration,
}

/// The number of rows for each transport, which show the progress.
const ROWS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let url = match &arguments.url {
        Some(url) => url.clone(),
        None => demo_server::start()?,
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
        client.sleep(arguments.pause);
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

/// The options `--rounds` and `--pause` (in milliseconds), and the URL.
fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments { url: None, rounds: 1000, pause: Duration::ZERO };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().ok_or(format!("{argument} needs a number"));
        match argument.as_str() {
            "--rounds" => parsed.rounds = number()?.parse::<NonZeroU32>()?.get(),
            "--pause" => parsed.pause = Duration::from_millis(number()?.parse()?),
            _ => parsed.url = Some(argument),
        }
    }
    Ok(parsed)
}
