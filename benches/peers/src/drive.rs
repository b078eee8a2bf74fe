//! Runs the cases in turn, and prints their figures.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;

use crate::measure::Figures;
use crate::{Carrier, Case, Scenario, Who};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only these scenarios. Default: all
    scenarios: Vec<Scenario>,
    /// Run only these carriers. Default: all
    #[arg(long)]
    carrier: Vec<Carrier>,
    /// Run only cases with messages of this size
    #[arg(long)]
    size: Option<usize>,
    /// Number of runs for each case. The figures are medians
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Also run with server and client on the same CPU
    #[arg(long)]
    one_cpu: bool,
    /// Leave rust_engineio out
    #[arg(long)]
    no_peer: bool,
}

/// The cases: scenario, carrier, message size, count for the limit and us, count for the peer, packets per
/// POST.
const CASES: &[(Scenario, Carrier, usize, usize, usize, usize)] = {
    use Carrier::*;
    use Scenario::*;
    &[
        (Rtt, Websocket, 16, 20_000, 20_000, 16),
        (Rtt, Tls, 16, 20_000, 20_000, 16),
        (Rtt, Polling, 16, 4_000, 4_000, 16),
        (Send, Websocket, 16, 2_000_000, 200_000, 16),
        (Send, Websocket, 1024, 500_000, 100_000, 16),
        (Send, Websocket, 65_536, 20_000, 20_000, 16),
        (Send, Tls, 65_536, 10_000, 10_000, 16),
        (Send, Polling, 1024, 50_000, 2_000, 16),
        (Send, Polling, 1024, 200_000, 2_000, 100_000),
        (Send, Polling, 65_536, 4_000, 1_000, 16),
        (Recv, Websocket, 16, 2_000_000, 500_000, 16),
        (Recv, Websocket, 1024, 500_000, 200_000, 16),
        (Recv, Websocket, 65_536, 20_000, 10_000, 16),
        (Recv, Tls, 65_536, 10_000, 10_000, 16),
        (Recv, Polling, 1024, 200_000, 200_000, 16),
        (Recv, Polling, 65_536, 4_000, 1_000, 16),
        (Pipeline, Websocket, 16, 500_000, 100_000, 16),
        (Connect, Websocket, 0, 500, 200, 16),
        (Connect, Tls, 0, 200, 30, 16),
        (Connect, Polling, 0, 500, 20, 16),
        (Connect, Upgrade, 0, 300, 20, 16),
        (Idle, Websocket, 0, 200, 200, 16),
    ]
};

pub(crate) fn run(options: &Options) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{cpus} CPUs; medians of {} runs; p99 and CPU are the client's, of the same runs",
        options.repeats
    );
    println!(
        "{:<36} {:>5}  {:>12} {:>10} {:>10}  {:>6} {:>6}",
        "case", "", "rate, time", "p99", "CPU each", "rate ×", "CPU ×"
    );
    // The server runs on the first CPU, and the client on the last one.
    let places: &[(usize, usize)] = if options.one_cpu { &[(0, cpus - 1), (0, 0)] } else { &[(0, cpus - 1)] };
    for &(scenario, carrier, size, count, peer_count, packets) in CASES {
        let wanted = (options.scenarios.is_empty() || options.scenarios.contains(&scenario))
            && (options.carrier.is_empty() || options.carrier.contains(&carrier))
            && options.size.is_none_or(|only| only == size);
        // On one CPU only the latency is of interest.
        for &(server, client) in
            places.iter().filter(|(s, c)| wanted && (s != c || scenario == Scenario::Rtt))
        {
            let case = Case { scenario, carrier, size, count, packets };
            run_case(&case, peer_count, (server, client), options);
        }
    }
}

fn run_case(case: &Case, peer_count: usize, (server, client): (usize, usize), options: &Options) {
    let whos =
        if options.no_peer { &[Who::Limit, Who::Ours][..] } else { &[Who::Limit, Who::Ours, Who::Peer] };
    let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); whos.len()];
    for _ in 0..options.repeats {
        for (who, runs) in whos.iter().zip(&mut runs) {
            let count = if *who == Who::Peer { peer_count } else { case.count };
            runs.extend(once(*who, &Case { count, ..*case }, server, client));
        }
    }
    let name = format!(
        "{} {}{}{}{}",
        name(case.scenario),
        name(case.carrier),
        if case.size > 0 { format!(" {} B", case.size) } else { String::new() },
        if case.packets == 16 { "" } else { ", uncapped" },
        if server == client { ", one CPU" } else { "" },
    );
    let mut limit = None;
    for (who, runs) in whos.iter().zip(&runs) {
        let Some(figures) = median(runs) else {
            println!("{name:<36} {:>5}  failed", name_of(*who));
            continue;
        };
        let limit = *limit.get_or_insert(figures);
        println!("{name:<36} {:>5}  {}", name_of(*who), line(case, figures, limit));
    }
}

/// The median of each figure.
fn median(runs: &[Figures]) -> Option<Figures> {
    let of = |figure: fn(&Figures) -> f64| {
        let mut all: Vec<f64> = runs.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    Some(Figures { each: of(|f| f.each)?, p99: of(|f| f.p99)?, cpu: of(|f| f.cpu)? })
}

fn line(case: &Case, figures: Figures, limit: Figures) -> String {
    let us = |ns: f64| format!("{:.2} µs", ns / 1e3);
    let (main, p99, ratio) = match case.scenario {
        Scenario::Rtt | Scenario::Connect => (us(figures.each), us(figures.p99), figures.each / limit.each),
        Scenario::Idle => {
            (format!("{:.1} KiB", figures.each / 1024.0), String::new(), figures.each / limit.each)
        }
        // The other figures are rates, where higher is better.
        _ => (format!("{:.1} k/s", 1e6 / figures.each), String::new(), limit.each / figures.each),
    };
    let cpu = us(figures.cpu);
    format!("{main:>12} {p99:>10} {cpu:>10}  {ratio:>6.2} {:>6.2}", figures.cpu / limit.cpu)
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

fn name_of(who: Who) -> String {
    name(who)
}

/// Runs a case once, with a server and a client of its own. `None` if the client fails, which reports to
/// stderr.
fn once(who: Who, case: &Case, server: usize, client: usize) -> Option<Figures> {
    let server = Server::start(Some(server));
    let output = this_program()
        .args(["client", &name(who), &name(case.scenario), "--carrier", &name(case.carrier)])
        .args(["--size", &case.size.to_string(), "--count", &case.count.to_string()])
        .args(["--packets", &case.packets.to_string(), "--cpu", &client.to_string()])
        .args(["--url", if case.carrier == Carrier::Tls { &server.tls } else { &server.plain }])
        .stderr(Stdio::inherit())
        .output()
        .expect("this program runs");
    Figures::parse(&String::from_utf8_lossy(&output.stdout))
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("this program"))
}

/// A server process, which ends when its stdin is closed.
pub(crate) struct Server {
    process: Child,
    /// The URLs.
    pub(crate) plain: String,
    tls: String,
}

impl Server {
    /// Starts a server, pinned to that CPU.
    pub(crate) fn start(cpu: Option<usize>) -> Self {
        let mut command = this_program();
        command.arg("server").args(cpu.map(|cpu| format!("--cpu={cpu}")));
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this program runs");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut url = || lines.next().expect("a URL").expect("text");
        Server { plain: url(), tls: url(), process }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
