//! Certificates: a private authority, a client certificate, and no verification at all.
//!
//! ```text
//! cargo run --example tls
//! cargo run --example tls -- https://example.org [CA.pem [CLIENT.pem CLIENT.key]]
//! ```
//!
//! A copy of this file needs `engineio` and `demo-server` (`examples/server`).

use std::error::Error;
use std::time::Duration;

use demo_server::Front;
use engineio::{Client, ClientBuilder, Event};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((url, files)) = arguments.split_first() else { return demonstrate() };
    let mut builder = Client::builder();
    if let Some(ca) = files.first() {
        // The authority is accepted in addition to the system's.
        builder = builder.ca_certificate(std::fs::read(ca)?);
    }
    if let [_, certificate, key] = files {
        builder = builder.client_certificate(std::fs::read(certificate)?, std::fs::read(key)?);
    }
    report("", builder, url)
}

/// Connects to a server with an unknown authority, which requires client certificates.
fn demonstrate() -> Result<(), Box<dyn Error>> {
    let front = Front::start(&demo_server::start()?)?;
    let with_ca = Client::builder().ca_certificate(&front.ca);
    let with_both = with_ca.clone().client_certificate(&front.certificate, &front.key);
    let unverified = Client::builder().ssl_verify(false).client_certificate(&front.certificate, &front.key);
    report("as it is: ", Client::builder(), &front.url)?;
    report("with the authority: ", with_ca, &front.url)?;
    report("with a certificate as well: ", with_both, &front.url)?;
    report("without verification, which anybody in between can abuse: ", unverified, &front.url)
}

fn report(what: &str, builder: ClientBuilder, url: &str) -> Result<(), Box<dyn Error>> {
    let client = builder.build()?;
    let events = client.events(10);
    match client.connect(url) {
        Ok(()) => {
            client.send("hello")?;
            let echo = loop {
                if let Event::Message(message) = events.recv_timeout(Duration::from_secs(10))? {
                    break message;
                }
            };
            println!("{what}connected by {}, and the server says {echo}", client.transport()?);
        }
        Err(e) => println!("{what}{e}"),
    }
    Ok(client.disconnect()?)
}
