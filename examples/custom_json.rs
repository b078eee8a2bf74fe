//! Another JSON library (simd-json), and messages that arrive decoded.
//!
//! ```text
//! cargo run --example custom_json
//! cargo run --example custom_json -- http://localhost:5000    # a server that echoes
//! ```

mod embedded;

use std::error::Error;
use std::time::Duration;

use engineio::{Client, Event, JsonCodec, Message};
use serde_json::{Value, json};

struct SimdJson;

impl JsonCodec for SimdJson {
    fn dumps(&self, value: &Value) -> Result<String, Box<dyn Error + Send + Sync>> {
        Ok(simd_json::serde::to_string(value)?)
    }

    fn loads(&self, text: &str) -> Result<Value, Box<dyn Error + Send + Sync>> {
        // simd-json parses in place, so it needs a copy.
        let mut bytes = text.as_bytes().to_vec();
        Ok(simd_json::serde::from_slice(&mut bytes)?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => embedded::start()?,
    };
    let client = Client::builder().json(SimdJson).decode_json(true).build()?;
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
