//! A server that neither reads nor closes: nothing but this side's own close ends the waits of the client's
//! threads. On Windows a `shutdown` does not end them.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use bytes::Bytes;
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, Watch, only, within};
use crossbeam_channel::bounded;
use engineio::{Client, Disconnect, Error, Message, Reason, TransportKind};

/// A message that tells by the end of its channel when the client has let go of it.
struct Owned(Vec<u8>, #[allow(dead_code, reason = "it counts while it lives")] Sender<()>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Fills the connection until the writer waits, and ends it. All waits have to end long before the ping
/// timeout, which is 45 seconds.
fn ends(abort: bool) {
    let (release, released) = bounded::<()>(0);
    let server = Scripted::start(move |exchange| {
        exchange.open_websocket(OPEN)?;
        // A fixed size turns off the system's adaptation, so a few megabytes fill the connection.
        rustix::net::sockopt::set_socket_recv_buffer_size(exchange.stream()?, 256 * 1024)?;
        let _ = released.recv();
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let client = Client::builder().request_timeout(Duration::from_secs(1)).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(TransportKind::WebSocket)).unwrap();
    watch.connected();
    let (owner, let_go) = mpsc::channel();
    let message = || Message::from(Bytes::from_owner(Owned(vec![7; 500_000], owner.clone())));
    while client.flush(Duration::from_millis(300)).is_ok() {
        client.send(message()).unwrap();
    }
    drop(owner);
    let ending = client.clone();
    let ended =
        within(PATIENCE, "disconnect", move || ending.disconnect_with(Disconnect::new().abort(abort)));
    assert!(matches!(ended, Err(Error::Unsent { messages, .. }) if messages > 0), "{ended:?}");
    assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
    assert!(client.wait_timeout(PATIENCE), "the reader waits");
    assert_eq!(let_go.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "the writer waits");
    drop(release);
}

#[test]
fn a_disconnect_ends_the_waits() {
    ends(false);
}

#[test]
fn an_abort_ends_the_waits() {
    ends(true);
}
