//! TLS, on both transports and across the upgrade: whom the client trusts, what it shows, and what it says when that
//! does not do.
//!
//! The texts of errors are told from OpenSSL's, which native-tls uses everywhere but on Windows and on Apple's systems.
#![cfg(not(any(target_os = "windows", target_vendor = "apple")))]

mod agent;
mod certificates;
mod load;
mod refusals;
mod server;
mod trust;
mod wire;

use std::error::Error as _;
use std::time::Duration;

use crossbeam_channel::unbounded;
use engineio::{Client, ClientBuilder, ConnectOptions, Error, Message, TransportKind};

use TransportKind::{Polling, WebSocket};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a connection may start with, and what it is carried by in the end.
const WAYS: [(&[TransportKind], TransportKind); 3] =
    [(&[Polling], Polling), (&[WebSocket], WebSocket), (&[Polling, WebSocket], WebSocket)];

fn builder() -> ClientBuilder {
    Client::builder().request_timeout(PATIENCE)
}

fn by(transports: &[TransportKind]) -> ConnectOptions {
    ConnectOptions::new().transports(transports.iter().copied())
}

/// Connects in every way, and has a message echoed each time.
fn assert_works(client: &Client, url: &str) {
    let (echoes, received) = unbounded();
    client.on_message(move |_, message| echoes.send(message));
    for (transports, carrier) in WAYS {
        client.connect_with(url, by(transports)).unwrap_or_else(|e| panic!("{transports:?}: {}", told(&e)));
        assert_eq!(client.transport().unwrap(), carrier);
        client.send("hello").unwrap();
        assert_eq!(received.recv_timeout(PATIENCE).unwrap(), Message::from("hello"), "{transports:?}");
        client.disconnect().unwrap();
    }
}

/// Fails to connect in every way, with an error that says so and has a cause.
fn assert_refused(client: &Client, url: &str, expected: &str) {
    for (transports, _) in WAYS {
        let error = client.connect_with(url, by(transports)).unwrap_err();
        assert!(error.to_string().contains(expected), "{transports:?}: {}", told(&error));
        assert!(matches!(error, Error::Connection { status: None, .. }), "{error:?}");
        assert!(error.source().is_some(), "{error:?}");
    }
}

/// An error and its causes.
fn told(error: &Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
