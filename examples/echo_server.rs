//! A server that sends every message back, for the first program of the README.
//!
//! ```text
//! cargo run --example echo_server            # http://localhost:5000
//! cargo run --example echo_server -- 8080    # another port; 0 is any free one
//! ```
//!
//! A copy of this file needs `demo-server` (`examples/server`).

use std::error::Error;
use std::io::ErrorKind;

use demo_server::{Kind, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let port = match std::env::args().nth(1) {
        Some(port) => port.parse()?,
        None => 5000,
    };
    let server = Server::start_at(port, Kind::Echo).map_err(|e| match e.kind() {
        ErrorKind::AddrInUse => format!("port {port}: {e} (is another server running?)"),
        _ => format!("port {port}: {e}"),
    })?;
    println!("listening at {}; Ctrl-C ends the server", server.url());
    loop {
        std::thread::park();
    }
}
