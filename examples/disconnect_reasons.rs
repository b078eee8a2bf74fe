//! The ways in which a connection ends, and the reason that the disconnect handler gets for each.
//!
//! ```text
//! cargo run --example disconnect_reasons
//! cargo run --example disconnect_reasons -- http://localhost:5000    # then stop that server
//! ```
//!
//! A copy of this file needs `engineio` and `demo-server` (`examples/server`).

use std::error::Error;
use std::time::Duration;

use demo_server::{Kind, Server};
use engineio::{Client, ConnectOptions, Disconnect, Event, Reason, TransportKind};

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(url) = std::env::args().nth(1) {
        let client = connected(&url)?;
        println!("waiting for the end of the connection");
        client.wait();
        return Ok(());
    }
    type End = fn(&Client, &Server) -> engineio::Result<()>;
    let ends: [(&str, End); 5] = [
        ("the client disconnects", |client, _| client.disconnect()),
        ("the client disconnects and gives a reason", |client, _| {
            client.disconnect_with(Disconnect::new().reason("the user logged out"))
        }),
        ("the server disconnects", |_, server| {
            server.kick();
            Ok(())
        }),
        ("the TCP connection breaks", |_, server| {
            server.cut();
            Ok(())
        }),
        ("nothing arrives any more, not even the pings that are due", |_, server| {
            server.freeze();
            Ok(())
        }),
    ];
    for (what, end) in ends {
        println!("{what}:");
        let (interval, timeout) = (Duration::from_millis(500), Duration::from_secs(2));
        let server = Server::start_with(Kind::Echo, interval, timeout)?;
        let client = connected(server.url())?;
        // A server may drop a session that has only just begun, so one message goes there and back first.
        let events = client.events(8);
        client.send("hello")?;
        events.iter().find(|event| matches!(event, Event::Message(_)));
        end(&client, &server)?;
        client.wait();
    }
    Ok(())
}

fn connected(url: &str) -> Result<Client, Box<dyn Error>> {
    let client = Client::new();
    client.on_disconnect(|client, reason| {
        let meaning = match &reason {
            Reason::ClientDisconnect => "we called `disconnect`",
            Reason::ServerDisconnect => "the server disconnected the client",
            Reason::TransportError => "a connection broke, or a request failed",
            Reason::PingTimeout => "not a single byte arrived for pingInterval + pingTimeout",
            Reason::Other(_) => "a reason of our own, passed to `disconnect_with`",
            _ => "a reason that this program does not know yet",
        };
        println!("    {reason} ({meaning})");
        if let Some(error) = client.last_error() {
            println!("    in detail: {error}");
        }
    });
    // By websocket at once: a server that ends a session in the middle of its upgrade may not say so.
    client.connect_with(url, ConnectOptions::new().transports([TransportKind::WebSocket]))?;
    Ok(client)
}
