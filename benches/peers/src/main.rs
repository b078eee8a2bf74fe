//! Measures `engineio`, a hand-written minimum on plain tungstenite or ureq ("limit"), and rust_engineio
//! ("peer") in turn, with the same engineioxide server. The server and each client run in processes of their
//! own. The program prints medians and ratios.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- rtt send --carrier websocket --repeats 9
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- scale 1000 10000
//! ```

mod drive;
mod limit;
mod measure;
mod ours;
mod peer;
mod scale;
mod server;

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    drive: drive::Options,
}

/// The role of a process. The main process starts the servers and the clients.
#[derive(Subcommand)]
enum Role {
    /// Connect many idle websocket clients in one process, and print their memory, threads and CPU time
    Scale(scale::Options),
    /// Serve until stdin is closed. Prints two URLs, plain and TLS
    Server {
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// Run one case once, and print its figures
    Client {
        who: Who,
        #[command(flatten)]
        case: Case,
        #[arg(long)]
        url: String,
        #[arg(long)]
        cpu: Option<usize>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Who {
    Limit,
    Ours,
    Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Round trips of one message after the other
    Rtt,
    /// Messages to the server, until the server has counted them
    Send,
    /// Messages from the server, until the client has counted them
    Recv,
    /// Echoes with a window of messages in flight, each of them checked
    Pipeline,
    /// Opening and closing connections
    Connect,
    /// Memory of idle connections
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Carrier {
    Websocket,
    Tls,
    Polling,
    Upgrade,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Case {
    scenario: Scenario,
    #[arg(long)]
    carrier: Carrier,
    /// Size of a message in bytes. Messages of 64 KiB or more are binary, smaller ones are text
    #[arg(long, default_value_t = 16)]
    size: usize,
    /// Number of messages or connections
    #[arg(long)]
    count: usize,
    /// Number of packets per POST
    #[arg(long, default_value_t = 16)]
    packets: usize,
}

impl Case {
    fn binary(&self) -> bool {
        self.size >= 64 * 1024
    }
}

/// The number of messages in flight in the scenario `Pipeline`.
const WINDOW: usize = 512;

fn main() {
    let arguments = Arguments::parse();
    match arguments.role {
        None => drive::run(&arguments.drive),
        Some(Role::Scale(options)) => scale::run(&options),
        Some(Role::Server { cpu }) => {
            measure::raise_descriptor_limit();
            measure::pin(cpu);
            server::run();
        }
        Some(Role::Client { who, case, url, cpu }) => {
            measure::pin(cpu);
            let figures = match who {
                Who::Limit => limit::run(&case, &url),
                Who::Ours => ours::run(&case, &url),
                Who::Peer => peer::run(&case, &url),
            };
            println!("{figures}");
        }
    }
}
