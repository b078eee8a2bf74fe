//! Measures `engineio`, a hand-written minimum on plain tungstenite or ureq ("limit"), and rust_engineio ("peer")
//! by turns against one engineioxide server, each in a process of its own, and prints medians and ratios.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- rtt send --carrier websocket --repeats 9
//! ```

mod drive;
mod limit;
mod measure;
mod ours;
mod peer;
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

/// What the processes that this one starts do.
#[derive(Subcommand)]
enum Role {
    /// Serves until its input ends. Prints two URLs, plain and TLS
    Server {
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// Runs one case once, and prints its figures
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
    /// One message after the other, there and back
    Rtt,
    /// Messages to the server, until it has counted them
    Send,
    /// Messages from the server, counted
    Recv,
    /// A window of messages under way, each echo checked
    Pipeline,
    /// Connections made and ended
    Connect,
    /// Connections that do nothing: memory for each
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
    /// Of a message, in bytes. 64 KiB and more are sent as binary, less as text
    #[arg(long, default_value_t = 16)]
    size: usize,
    /// Messages, or connections
    #[arg(long)]
    count: usize,
    /// In a POST
    #[arg(long, default_value_t = 16)]
    packets: usize,
}

impl Case {
    fn binary(&self) -> bool {
        self.size >= 64 * 1024
    }
}

/// How many messages are under way in a pipeline.
const WINDOW: usize = 512;

fn main() {
    let arguments = Arguments::parse();
    match arguments.role {
        None => drive::run(&arguments.drive),
        Some(Role::Server { cpu }) => {
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
