//! A codec of your own for JSON, which writes ASCII only, and messages that arrive decoded. A codec may also
//! use another library than `serde_json`.
//!
//! ```text
//! cargo run --example custom_json
//! cargo run --example custom_json -- http://localhost:5000    # a server that echoes
//! ```
//!
//! A copy of this file needs `engineio`, `serde_json` and `demo-server` (`examples/server`).

use std::error::Error;
use std::time::Duration;

use engineio::{Client, Event, JsonCodec, Message};
use serde_json::{Value, json};

/// Writes JSON in ASCII, as Python does: every other character becomes an escape.
struct Ascii;

impl JsonCodec for Ascii {
    fn dumps(&self, value: &Value) -> Result<String, Box<dyn Error + Send + Sync>> {
        let json = serde_json::to_string(value)?;
        let mut ascii = String::with_capacity(json.len());
        // In JSON, only strings have characters outside of ASCII.
        for character in json.chars() {
            if character.is_ascii() {
                ascii.push(character);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    ascii += &format!("\\u{unit:04x}");
                }
            }
        }
        Ok(ascii)
    }

    fn loads(&self, text: &str) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Ok(serde_json::from_str(text)?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => demo_server::start()?,
    };
    let client = Client::builder().json(Ascii).decode_json(true).build()?;
    let events = client.events(10);
    client.connect(url)?;
    client.send(json!({"name": "ann", "scores": [1, 2, 3]}))?;
    client.send("plain text")?;
    let mut left = 2;
    while left > 0 {
        match events.recv_timeout(Duration::from_secs(10))? {
            Event::Message(Message::Json(value)) => {
                println!("JSON: {} has {}", value["name"], value["scores"])
            }
            Event::Message(message) => println!("no JSON: {message}"),
            _ => continue,
        }
        left -= 1;
    }
    Ok(client.disconnect()?)
}
