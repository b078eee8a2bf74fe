//! TLS, on both transports and across the upgrade: the certificates that the client trusts, the one that it
//! presents, and the errors.
//!
//! The error texts depend on OpenSSL, which native-tls uses on all systems except Windows and Apple's.
#![cfg(not(any(target_os = "windows", target_vendor = "apple")))]

mod agent;
mod certificates;
mod ends;
mod formats;
mod load;
mod refusals;
mod server;
mod trust;
mod wire;

use std::error::Error as _;

use common::{PATIENCE, WAYS, by, carrier, in_full};
use crossbeam_channel::unbounded;
use engineio::{Client, ClientBuilder, Error, Message};

fn builder() -> ClientBuilder {
    Client::builder().request_timeout(PATIENCE)
}

/// Connects in every way, and gets a message echoed each time.
fn assert_works(client: &Client, url: &str) {
    let (echoes, received) = unbounded();
    client.on_message(move |_, message| echoes.send(message));
    for way in WAYS {
        client.connect_with(url, by(way)).unwrap_or_else(|e| panic!("{way:?}: {}", in_full(&e)));
        assert_eq!(client.transport().unwrap(), carrier(way));
        client.send("hello").unwrap();
        assert_eq!(received.recv_timeout(PATIENCE).unwrap(), Message::from("hello"), "{way:?}");
        client.disconnect().unwrap();
    }
}

/// Checks that every way of connecting fails, with an error that has this text and a cause.
fn assert_refused(client: &Client, url: &str, expected: &str) {
    for way in WAYS {
        let error = client.connect_with(url, by(way)).unwrap_err();
        assert!(error.to_string().contains(expected), "{way:?}: {}", in_full(&error));
        assert!(matches!(error, Error::Connection { status: None, .. }), "{error:?}");
        assert!(error.source().is_some(), "{error:?}");
    }
}
