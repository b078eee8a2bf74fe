//! Models of the client: reconnection, and ends from several threads.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use super::{Log, Told, below, handshake, text};
use crate::client::Client;
use crate::connect::{Attempt, Connected, Way};
use crate::error::{Error, Result};
use crate::protocol::Packet;
use crate::reconnection::Reconnection;
use crate::sync::{AtomicUsize, Mutex, Ordering, lock};
use crate::testing::fake::{Server, pair};

/// Connects to a new fake server each time, after a given number of failures.
#[derive(Default)]
struct FakeWay {
    failures: AtomicUsize,
    servers: Mutex<Vec<Server>>,
}

impl FakeWay {
    fn failing(failures: usize) -> Arc<Self> {
        Arc::new(FakeWay { failures: AtomicUsize::new(failures), ..FakeWay::default() })
    }

    /// The server of the last connection.
    fn server(&self) -> Server {
        lock(&self.servers).last().cloned().expect("there was a connection")
    }
}

impl Way for FakeWay {
    fn connect(&self, _: &Attempt) -> Result<Connected> {
        let fail = |left: usize| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fail).is_ok() {
            return Err(Error::connection("no server"));
        }
        let (transport, server) = pair();
        lock(&self.servers).push(server);
        Ok(Connected { transport: Box::new(transport), handshake: handshake(), early: Default::default() })
    }
}

/// Counts the calls of the connect and the disconnect handler.
fn count_events(client: &Client) -> [Arc<AtomicUsize>; 2] {
    let counts = [Arc::<AtomicUsize>::default(), Arc::default()];
    let [connects, disconnects] = counts.clone();
    client.on_connect(move |_| _ = connects.fetch_add(1, Ordering::SeqCst));
    client.on_disconnect(move |_, _| _ = disconnects.fetch_add(1, Ordering::SeqCst));
    counts
}

fn assert_same(counts: &[Arc<AtomicUsize>; 2]) {
    let [connects, disconnects] = [0, 1].map(|i| counts[i].load(Ordering::SeqCst));
    assert_eq!(connects, disconnects, "each connection ends once");
}

fn reconnecting() -> Client {
    let policy = Reconnection::new().delay(Duration::ZERO).max_delay(Duration::ZERO);
    Client::for_model(Some(policy))
}

/// The disconnect handler of the first connection connects again. Counts and waits do not confuse the two
/// connections.
pub(super) fn handler_connects() {
    let (client, way) = (Client::for_model(None), FakeWay::failing(0));
    let (again, log) = (way.clone(), Log::default());
    let connects = log.clone();
    client.on_connect(move |_| connects.tell(Told::Connected));
    let (disconnects, mut calls) = (log.clone(), 0);
    client.on_disconnect(move |client, _| {
        calls += 1;
        if calls == 1 {
            client.connect_by(again.clone()).expect("the second connection");
            // The user may have disconnected already.
            let _ = client.send("in the second connection");
        }
        disconnects.tell(Told::Finished);
    });
    client.connect_by(way.clone()).expect("the first connection");
    way.server().stall(true);
    way.server().send([text(0), Packet::Close]);
    let waiter = client.clone();
    let waits = thread::spawn(move || waiter.wait());
    log.wait_for(Told::Connected, 2);
    client.disconnect().expect("the second connection writes everything");
    waits.join().expect("no thread panics");
    client.wait();
    assert_eq!(log.all().iter().filter(|told| **told == Told::Finished).count(), 2, "both have ended");
}

/// Two threads and the server end a connection at the same time. `disconnect` returns when the handler has
/// run.
pub(super) fn disconnect_from_many_sides() {
    let (client, way) = (Client::for_model(None), FakeWay::failing(0));
    let counts = count_events(&client);
    client.connect_by(way.clone()).expect("a connection");
    client.send("accepted").expect("it is open");
    let threads = [(); 2].map(|()| {
        let (client, counts) = (client.clone(), counts.clone());
        thread::spawn(move || {
            client.disconnect().expect("everything is written");
            assert_same(&counts);
        })
    });
    let server = way.server();
    let closes = thread::spawn(move || server.send([Packet::Close]));
    threads.into_iter().chain([closes]).for_each(|thread| thread.join().expect("no thread panics"));
    client.wait();
    assert_same(&counts);
}

/// The server ends the connection, the policy connects again, and the user disconnects at some point.
pub(super) fn disconnect_while_reconnecting() {
    let (client, way) = (reconnecting(), FakeWay::failing(0));
    let counts = count_events(&client);
    client.connect_by(way.clone()).expect("a connection");
    way.failures.store(below(3) as usize, Ordering::SeqCst);
    way.server().send([Packet::Close]);
    let user = client.clone();
    let disconnects = thread::spawn(move || drop(user.disconnect()));
    disconnects.join().expect("no thread panics");
    client.wait();
    assert!(!client.is_connected() && !client.is_reconnecting());
    assert_same(&counts);
}

/// The last handle is dropped at some point of a reconnection. All threads end, and the client is freed.
pub(super) fn drop_while_reconnecting() {
    let (client, way) = (reconnecting(), FakeWay::failing(0));
    let log = Log::default();
    let held = TellsItsEnd(log.clone());
    client.on_message(move |_, _| _ = &held);
    client.connect_by(way.clone()).expect("a connection");
    way.failures.store(below(3) as usize, Ordering::SeqCst);
    way.server().send([Packet::Close]);
    drop(client);
    log.wait_for(Told::Finished, 1);
}

/// A value that a handler of the client owns. Its drop shows that the client was freed.
struct TellsItsEnd(Log);

impl Drop for TellsItsEnd {
    fn drop(&mut self) {
        self.0.tell(Told::Finished);
    }
}
