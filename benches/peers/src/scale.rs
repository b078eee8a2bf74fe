//! Many idle websocket clients in one process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use engineio::{Client, ConnectOptions, TransportKind};

use crate::drive::Server;
use crate::measure;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Numbers of clients
    #[arg(default_values_t = [1000, 10_000])]
    clients: Vec<usize>,
    /// Number of threads that connect
    #[arg(long, default_value_t = 64)]
    threads: usize,
    /// Time for which the clients stay idle. The server pings every 25 s
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

pub(crate) fn run(options: &Options) {
    measure::raise_descriptor_limit();
    println!(
        "{:>8} {:>14} {:>12} {:>14} {:>12} {:>14}",
        "clients", "connected in", "each", "threads each", "memory each", "CPU per minute"
    );
    for count in &options.clients {
        run_once(*count, options);
    }
}

fn run_once(count: usize, options: &Options) {
    let server = Server::start(None);
    // The first client loads code and shared data, and does not count.
    let first = connect(&server.plain);
    let (memory, threads) = (measure::resident(), measure::threads());
    let started = Instant::now();
    let clients = connect_all(&server.plain, count, options.threads);
    let took = started.elapsed();
    let each = |before: f64, after: f64| (after - before) / count as f64;
    let threads_each = each(threads, measure::threads());
    let before = measure::cpu_time();
    let idle = Duration::from_secs(options.seconds);
    thread::sleep(idle);
    let cpu = (measure::cpu_time() - before).as_secs_f64() * 60.0 / idle.as_secs_f64();
    // Every client has answered a ping by now.
    let memory_each = each(memory, measure::resident()) / 1024.0;
    let alive = clients.iter().filter(|client| client.is_connected()).count();
    assert_eq!(alive, count, "all clients are still connected");
    println!(
        "{count:>8} {:>12.2} s {:>9.0} µs {threads_each:>14.2} {memory_each:>8.1} KiB {cpu:>12.2} s",
        took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / count as f64,
    );
    drop((first, clients));
}

fn connect(url: &str) -> Client {
    let client = Client::new();
    let options = ConnectOptions::new().transports([TransportKind::WebSocket]);
    client.connect_with(url, options).expect("the server is up");
    client
}

/// Connects `count` clients on that many threads.
fn connect_all(url: &str, count: usize, threads: usize) -> Vec<Client> {
    let next = AtomicUsize::new(0);
    let connect_some = || {
        let mut clients = Vec::new();
        while next.fetch_add(1, Ordering::Relaxed) < count {
            clients.push(connect(url));
        }
        clients
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(connect_some)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("all clients connect")).collect()
    })
}
