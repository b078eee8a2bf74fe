//! Errors: their causes, and the reactions of a program.
//!
//! ```text
//! cargo run --example error_handling
//! cargo run --example error_handling -- http://localhost:5000    # connects, or explains why not
//! ```
//!
//! A copy of this file needs `engineio` and `demo-server` (`examples/server`).

use std::error::Error as _;
use std::io;
use std::net::TcpListener;

use engineio::{Client, Error};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(url) = std::env::args().nth(1) {
        return match connect(&url) {
            Ok(client) => {
                println!("connected by {}", client.transport()?);
                Ok(())
            }
            Err(e) => Err(explain(&e).into()),
        };
    }
    show("a URL without a scheme", connect("localhost:5000"));
    show("no server there", connect(&unused_url()?));
    show("a server that requires credentials", connect(&demo_server::refusing()?));
    let url = demo_server::start()?;
    show("a connect handler that fails", connect_with_failing_handler(&url));
    show("a message above the server's limit", send_too_much(&url));
    show("a message without a connection", Client::new().send("hello"));
    Ok(())
}

fn connect(url: &str) -> engineio::Result<Client> {
    let client = Client::new();
    client.connect(url)?;
    Ok(client)
}

fn connect_with_failing_handler(url: &str) -> engineio::Result<()> {
    let client = Client::new();
    client.on_connect(|_| Err("no configuration found"));
    client.connect(url)
}

fn send_too_much(url: &str) -> engineio::Result<()> {
    let client = connect(url)?;
    let result = client.send("x".repeat(10_000_000));
    // Nothing was sent, so the connection is still usable.
    client.send("hello")?;
    result
}

fn show<T>(what: &str, result: engineio::Result<T>) {
    println!("{what}:");
    match result {
        Ok(_) => println!("    no error"),
        Err(e) => println!("    {}", explain(&e)),
    }
}

/// The error, its causes, and a reaction. The variants are grouped by reaction.
fn explain(error: &Error) -> String {
    let advice = match error {
        Error::InvalidUrl { .. } | Error::InvalidOption { .. } => "correct the program or its configuration",
        Error::Connection { status: Some(401 | 403), .. } => "log in, then connect again",
        Error::Connection { status: Some(_), .. } => "check the path and the server's version",
        Error::Connection { .. } | Error::Timeout { .. } => "try again later",
        Error::ConnectHandler { .. } => "there is no connection; connect again when the cause is gone",
        Error::MessageTooLarge { .. } | Error::Separator => {
            "send it in another form; the connection stays open"
        }
        Error::SocketIsClosed | Error::NotConnected => "connect first",
        Error::QueueFull => "send less, or wait with `send`",
        Error::Unsent { .. } => "send them again after the next connect",
        // Later versions may add variants.
        _ => "show the error to the user",
    };
    let mut text = error.to_string();
    if let Error::Connection { body: Some(body), .. } = error {
        text += &format!(" (the server's response: {body})");
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    format!("{text} -> {advice}")
}

/// A URL with a port that was free a moment ago.
fn unused_url() -> io::Result<String> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    Ok(format!("http://{address}"))
}
