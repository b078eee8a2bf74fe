//! Models of the client: reconnection, and ends from several threads.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use super::{Log, Told, below, handshake, text};
use crate::client::{Client, State};
use crate::connect::{Attempt, Connected, Way};
use crate::error::{Error, Result};
use crate::options::Disconnect;
use crate::protocol::Packet;
use crate::reconnection::Reconnection;
use crate::sync::{AtomicUsize, Mutex, Ordering, lock};
use crate::testing::fake::{Server, pair};

/// Connects to a new fake server each time, after a given number of failures.
#[derive(Default)]
struct FakeWay {
    failures: AtomicUsize,
    /// Set if each attempt lasts until it is cancelled, and then connects.
    lasts: bool,
    begun: Log,
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
    fn connect(&self, attempt: &Attempt) -> Result<Connected> {
        self.begun.tell(Told::Connecting);
        while self.lasts && !attempt.is_cancelled() {
            thread::yield_now();
        }
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

/// A thread connects again as soon as it can, while the server ends the first connection. The handlers of the
/// two connections run one after the other.
pub(super) fn handlers_of_two_connections() {
    let (client, way, log) = (Client::for_model(None), FakeWay::failing(0), Log::default());
    let (connects, disconnects) = (log.clone(), log.clone());
    client.on_connect(move |_| connects.tell(Told::Connected));
    client.on_disconnect(move |_, _| disconnects.tell(Told::Finished));
    client.connect_by(way.clone()).expect("the first connection");
    let (server, user) = (way.server(), client.clone());
    let connects_again = thread::spawn(move || {
        while user.connect_by(way.clone()).is_err() {
            thread::yield_now();
        }
    });
    server.send([Packet::Close]);
    connects_again.join().expect("no thread panics");
    client.disconnect().expect("nothing was sent");
    client.wait();
    assert_eq!(log.all(), [Told::Connected, Told::Finished, Told::Connected, Told::Finished]);
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

/// Several threads end a connection while another one sends, and the server reads only at some point. Each
/// `disconnect` returns the number of all messages that were accepted and are not written, unless an earlier
/// one has returned it.
pub(super) fn counts_of_disconnects() {
    let (client, way) = (Client::for_model(None), FakeWay::failing(0));
    client.connect_by(way.clone()).expect("a connection");
    let server = way.server();
    server.stall(true);
    let user = client.clone();
    let sender = thread::spawn(move || (0..3).filter(|_| user.send("x").is_ok()).count());
    let disconnects = [true, below(2) == 0].map(|abort| {
        let user = client.clone();
        thread::spawn(move || match user.disconnect_with(Disconnect::new().abort(abort)) {
            Ok(()) => 0,
            Err(Error::Unsent { messages }) => messages,
            Err(e) => panic!("{e}"),
        })
    });
    server.stall(false);
    let accepted = sender.join().expect("no thread panics");
    let counts = disconnects.map(|thread| thread.join().expect("no thread panics"));
    let written = server.sent().iter().filter(|packet| packet.is_message()).count();
    // A call after the one that has returned the number succeeds.
    let unsent = accepted - written;
    assert_eq!(counts.iter().max(), Some(&unsent), "{accepted} accepted, {written} written");
    assert!(counts.iter().all(|count| [0, unsent].contains(count)), "{counts:?}");
    client.wait();
    assert_eq!(client.stats().unsent, unsent as u64);
}

/// A disconnect during a user's `connect` cancels the attempt, or closes the connection that it has made.
pub(super) fn disconnect_during_connect() {
    let client = if below(2) == 0 { Client::for_model(None) } else { reconnecting() };
    let way = Arc::new(FakeWay { lasts: below(2) == 0, ..FakeWay::default() });
    let counts = count_events(&client);
    let (user, its_way) = (client.clone(), way.clone());
    let connect = thread::spawn(move || user.connect_by(its_way).is_ok());
    way.begun.wait_for(Told::Connecting, 1);
    client.disconnect().expect("nothing was sent");
    assert!(client.state() == State::Disconnected && !client.is_reconnecting());
    assert_same(&counts);
    let connected = connect.join().expect("no thread panics");
    client.wait();
    assert_eq!(counts[0].load(Ordering::SeqCst), usize::from(connected));
    assert!(!(way.lasts && connected), "a cancelled attempt makes no connection");
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

/// The number of messages that the users of `users_do_everything` send at most.
const MOST: u64 = 6;

/// Users connect, disconnect, send and flush from several threads, with any policy. The server closes, and
/// the disconnect handler connects again.
pub(super) fn users_do_everything() {
    let client = match below(3) {
        0 => Client::for_model(None),
        1 => reconnecting(),
        _ => {
            let policy = Reconnection::new().delay(Duration::ZERO).max_delay(Duration::ZERO);
            Client::for_model(Some(policy.max_attempts(2).first_connect(true)))
        }
    };
    let way = FakeWay::failing(below(3) as usize);
    let counts = count_events(&client);
    let may_connect = Arc::new(Mutex::new(true));
    let (disconnects, again, may) = (counts[1].clone(), way.clone(), may_connect.clone());
    let mut left = below(2);
    client.on_disconnect(move |client, _| {
        if left > 0 {
            left -= 1;
            let may = lock(&may);
            if *may {
                let _ = client.connect_by(again.clone());
            }
        }
        disconnects.fetch_add(1, Ordering::SeqCst);
    });
    let user = || {
        let (client, way) = (client.clone(), way.clone());
        thread::spawn(move || (0..2).for_each(|_| operate(&client, &way)))
    };
    let users = [(); 3].map(|()| user());
    users.into_iter().for_each(|user| user.join().expect("no thread panics"));
    *lock(&may_connect) = false;
    let _ = client.disconnect();
    client.wait();
    assert!(client.state() == State::Disconnected && !client.is_reconnecting());
    assert_same(&counts);
    let stats = client.stats();
    assert!(stats.unsent + stats.sent.messages <= MOST, "{stats:?}");
}

fn operate(client: &Client, way: &Arc<FakeWay>) {
    match below(8) {
        0..3 => drop(client.connect_by(way.clone())),
        3 => drop(client.disconnect()),
        4 => drop(client.disconnect_with(Disconnect::new().abort(true))),
        5 => drop(client.send("x")),
        6 => drop(client.flush(Duration::from_secs(1))),
        _ => {
            let server = lock(&way.servers).last().cloned();
            server.into_iter().for_each(|server| server.send([text(0), Packet::Close]));
        }
    }
}
