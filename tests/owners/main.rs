//! Messages whose bytes belong to a value of the user's, and errors that hold one. The value's destructor
//! runs when the message is written or given up, or the error is dropped. It may call the client, block or
//! panic.

#![cfg(target_os = "linux")]

mod errors;
mod given_up;
mod written;

use std::fmt::Debug;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::process::threads;
use common::scripted::{Exchange, OPEN, Scripted};
use common::{PATIENCE, Watch, eventually, only, within};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use engineio::{Client, TransportKind};

use TransportKind::{Polling, WebSocket};

/// A value that owns a message's bytes, with the action of its destructor.
struct Owner<F: FnOnce()> {
    bytes: Vec<u8>,
    /// The action, which is present until the destructor runs.
    last: Option<F>,
}

impl<F: FnOnce()> AsRef<[u8]> for Owner<F> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<F: FnOnce()> Drop for Owner<F> {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            last();
        }
    }
}

/// Makes a message of `size` bytes whose destructor calls `last`.
pub(crate) fn owned(size: usize, last: impl FnOnce() + Send + 'static) -> Bytes {
    Bytes::from_owner(Owner { bytes: vec![b'x'; size], last: Some(last) })
}

/// The action of a destructor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Does {
    Nothing,
    Stats,
    Send,
    Disconnect,
    Wait,
    Panic,
}

impl Does {
    fn run(self, client: &Client) {
        match self {
            Does::Nothing => {}
            Does::Stats => drop(client.stats()),
            Does::Send => drop(client.send("from the destructor")),
            Does::Disconnect => drop(client.disconnect()),
            Does::Wait => client.wait(),
            Does::Panic => panic!("in a destructor"),
        }
    }
}

/// Makes a message with this action of its destructor. The channel is disconnected once the destructor has
/// run.
pub(crate) fn message(client: &Client, size: usize, does: Does) -> (Bytes, Receiver<()>) {
    let (tell, told) = unbounded();
    let client = client.clone();
    let last = move || {
        // The sender is dropped even if the action panics.
        let _tell = tell;
        does.run(&client);
    };
    (owned(size, last), told)
}

pub(crate) fn destroyed(told: &Receiver<()>) {
    assert!(told.recv_timeout(PATIENCE).is_err_and(|e| e.is_disconnected()), "the destructor has not run");
}

/// A server that opens a session and reads nothing until the test releases it. It then reads on, or breaks
/// the connection.
pub(crate) struct Stuck {
    /// The sender whose drop releases the server. It is dropped before the server.
    pub(crate) release: Sender<()>,
    pub(crate) server: Scripted,
    /// The texts that the server has received.
    pub(crate) texts: Receiver<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Then {
    GoesOn,
    Breaks,
}

impl Stuck {
    pub(crate) fn start(transport: TransportKind, then: Then) -> Self {
        let ((release, released), (tell, texts)) = (bounded::<()>(0), unbounded());
        let server = match transport {
            WebSocket => Scripted::websocket(move |exchange| by_websocket(exchange, then, &released, &tell)),
            _ => Scripted::start(move |exchange| by_polling(exchange, then, &released, &tell)),
        };
        Stuck { release, server, texts }
    }
}

fn by_websocket(
    exchange: &mut Exchange,
    then: Then,
    released: &Receiver<()>,
    tell: &Sender<String>,
) -> io::Result<()> {
    // A fixed size turns off the kernel's adaptation, so a few megabytes fill the connection.
    rustix::net::sockopt::set_socket_recv_buffer_size(exchange.stream()?, 256 * 1024)?;
    let _ = released.recv();
    if then == Then::Breaks {
        return exchange.reset();
    }
    loop {
        let (opcode, payload) = exchange.ws_read()?;
        if opcode == 8 {
            return exchange.ws_frame(0x88, b"");
        }
        let _ = tell.send(String::from_utf8_lossy(&payload).trim_start_matches('4').to_owned());
    }
}

fn by_polling(
    exchange: &mut Exchange,
    then: Then,
    released: &Receiver<()>,
    tell: &Sender<String>,
) -> io::Result<()> {
    match &exchange.request {
        // An answer to the POST would let the client write the next messages before its poll ends.
        request if then == Then::Breaks && (request.is_post() || request.is_poll()) => {
            let _ = released.recv();
            exchange.reset()
        }
        request if request.is_post() => {
            let _ = released.recv();
            for packet in request.text().split('\u{1e}') {
                let _ = tell.send(packet.trim_start_matches('4').to_owned());
            }
            exchange.payload("ok")
        }
        request if request.is_poll() => exchange.hold(),
        _ => exchange.payload(OPEN),
    }
}

pub(crate) const TIMEOUT: Duration = Duration::from_millis(500);

/// Connects, and fills the connection to the server.
pub(crate) fn connect_and_fill(server: &Stuck, transport: TransportKind) -> (Client, Watch) {
    let client = Client::builder().outbox_limit(64 << 20).request_timeout(TIMEOUT).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.server.url(), only(transport)).unwrap();
    watch.connected();
    fill(&client);
    (client, watch)
}

/// Sends until a message has to wait.
pub(crate) fn fill(client: &Client) {
    let first = Bytes::from(vec![b'1'; 500_000]);
    while client.flush(Duration::from_millis(100)).is_ok() {
        client.send(first.clone()).unwrap();
    }
}

/// Lets only one test at a time check the threads of the process.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test for each transport and each of the other cases. Each runs on a thread of its own, so that a
/// deadlock does not stop the other tests. Fails if a thread of a connection is left.
pub(crate) fn each<T: Copy + Debug + Send + 'static>(
    others: &[T],
    test: impl Fn(TransportKind, T) + Copy + Send + 'static,
) {
    let _turn = turn();
    // Threads that are left from a failed test do not count.
    let before = threads();
    for transport in [WebSocket, Polling] {
        for &other in others {
            within(PATIENCE, &format!("{transport}, {other:?}"), move || test(transport, other));
        }
    }
    eventually("no threads are left over", || threads().iter().all(|thread| before.contains(thread)));
}
