//! Two clients that talk to each other through a server.
//!
//! ```text
//! cargo run --example chat                                 # through a server in this process
//! cargo run --example chat -- http://localhost:5000        # through a server that broadcasts
//! ```
//!
//! A copy of this file needs `engineio`, `crossbeam-channel`, `serde` with the feature `derive` and
//! `demo-server` (`examples/server`).

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use demo_server::{Kind, Server};
use engineio::Client;
use serde::{Deserialize, Serialize};

const PATIENCE: Duration = Duration::from_secs(5);

/// A chat line, which is sent as JSON.
#[derive(Serialize, Deserialize)]
struct Line {
    from: String,
    text: String,
}

struct Person {
    name: &'static str,
    client: Client,
    /// The lines of the others.
    heard: Receiver<Line>,
}

impl Person {
    fn join(name: &'static str, url: &str) -> engineio::Result<Self> {
        let client = Client::new();
        let (lines, heard) = unbounded();
        client.on_message(move |_, message| {
            let line: Line = message.json()?;
            // Some servers also send a message back to its sender.
            if line.from != name {
                println!("{name:>4} hears {}: {}", line.from, line.text);
                lines.send(line).ok();
            }
            // The client logs the error of a handler, and the connection stays open.
            Ok::<(), engineio::Error>(())
        });
        client.on_disconnect(move |_, _| println!("{name:>4} has left"));
        client.connect(url)?;
        println!("{name:>4} has joined by {}", client.transport()?);
        Ok(Person { name, client, heard })
    }

    fn say(&self, text: &str) -> engineio::Result<()> {
        self.client.send_json(&Line { from: self.name.into(), text: text.into() })
    }

    fn hear(&self) -> Result<Line, Box<dyn Error>> {
        let line = self.heard.recv_timeout(PATIENCE);
        line.map_err(|_| format!("{} has heard nothing: does the server pass messages on?", self.name).into())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => Server::start(Kind::Room)?.url().to_owned(),
    };
    let ann = Person::join("ann", &url)?;
    let bob = Person::join("bob", &url)?;
    for (question, answer) in [("Hello, Bob!", "Hello, Ann!"), ("How are you?", "Fine, thank you.")] {
        ann.say(question)?;
        bob.hear()?;
        bob.say(answer)?;
        ann.hear()?;
    }
    bob.client.disconnect()?;
    ann.client.disconnect()?;
    Ok(())
}
