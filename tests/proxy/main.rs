//! Proxies: an HTTP proxy forwards plain requests, and everything else goes through a tunnel by HTTP
//! CONNECT or SOCKS 5. The tests check the requests to the proxy, its refusals, and the environment
//! variables.

#[path = "../tls/certificates.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod certificates;

mod environment;
mod refusals;
mod server;
#[cfg(target_os = "linux")]
mod squid;
mod ways;

use engineio::{Client, ClientBuilder, Error, Message, TransportKind};

use common::{PATIENCE, Watch};
pub(crate) use common::{WAYS, by, carrier, only};

pub(crate) use TransportKind::{Polling, WebSocket};

pub(crate) fn builder() -> ClientBuilder {
    Client::builder().request_timeout(PATIENCE)
}

/// Connects by these transports, gets a message echoed, and disconnects.
pub(crate) fn try_visit(client: &Client, url: &str, way: &[TransportKind]) -> Result<(), Error> {
    let watch = Watch::new(client);
    client.connect_with(url, by(way))?;
    watch.connected();
    assert_eq!(client.transport().unwrap(), carrier(way));
    client.send("hello").unwrap();
    assert_eq!(watch.message(), Message::from("hello"));
    client.disconnect()
}

pub(crate) fn visit(client: &Client, url: &str, way: &[TransportKind]) {
    try_visit(client, url, way).unwrap();
}
