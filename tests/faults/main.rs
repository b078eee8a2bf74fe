//! Every fault at every point: the line between client and server breaks in each possible way, each time
//! after some more bytes. In all cases the client reports the end once, in time, and can connect again.

#![cfg(target_os = "linux")]

mod line;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::process::{alone, descriptors, threads};
use common::real::{Options, Server};
use common::{PATIENCE, Seen, WAYS, Watch, by, eventually, within};
use crossbeam_channel::RecvTimeoutError;
use engineio::{Client, Error, Reason, State, TransportKind};
use line::{Fault, Line};

/// The ping interval and the ping timeout. The server may be silent for the sum of both.
const PING: Duration = Duration::from_millis(150);
const REQUEST_TIMEOUT: Duration = Duration::from_millis(300);

const FAULTS: [Fault; 4] = [Fault::Silence, Fault::Reset, Fault::End, Fault::Garbage];

/// A case: the point and the way in which the line breaks.
#[derive(Clone, Copy, Debug)]
struct Case {
    way: &'static [TransportKind],
    fault: Fault,
    /// The number of bytes from the server to the client before the fault.
    after: usize,
    /// True if the client disconnects by itself once it is connected, and does not wait for the fault.
    disconnects: bool,
}

#[test]
fn a_plain_line_that_breaks() {
    // The range covers the handshake, the upgrade, and a good part of the messages.
    sweep(false, (0..1600).step_by(41));
}

#[test]
fn a_tls_line_that_breaks() {
    sweep(true, (0..6000).step_by(167));
}

fn sweep(tls: bool, points: impl Iterator<Item = usize> + Clone) {
    let _alone = alone();
    let server = Server::with(Options { ping_interval: PING, ping_timeout: PING, tls, ..Options::default() });
    let mut cases = Vec::new();
    for (index, after) in points.enumerate() {
        for way in WAYS {
            for fault in FAULTS {
                cases.push(Case { way, fault, after, disconnects: index % 2 == 1 });
            }
        }
    }
    // The first connection builds the TLS connector, which is kept.
    connects_again(&client(), server.url(), cases[0]);
    let before = descriptors();
    let next = AtomicUsize::new(0);
    let connected = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    connected.fetch_add(usize::from(run(*case, server.url())), Ordering::Relaxed);
                }
            });
        }
    });
    // The line broke both before and after the handshake.
    let connected = connected.into_inner();
    assert!(
        connected > cases.len() / 10 && connected < cases.len() * 9 / 10,
        "{connected} of {}",
        cases.len()
    );
    eventually("the client's threads have ended", || threads().is_empty());
    eventually("file descriptors as before", || descriptors() <= before);
}

fn client() -> Client {
    Client::builder().ssl_verify(false).request_timeout(REQUEST_TIMEOUT).build().unwrap()
}

/// Runs a case. Returns true if the client was connected when the line broke.
fn run(case: Case, server: &str) -> bool {
    let line = Line::to(server, case.fault, case.after);
    let url = line.url();
    let client = client();
    let watch = Watch::new(&client);
    let connect = {
        let client = client.clone();
        move || client.connect_with(url, by(case.way))
    };
    let connected = within(PATIENCE, &format!("connect: {case:?}"), connect);
    match &connected {
        Ok(()) => ends_once(&client, &watch, case),
        Err(e) => {
            assert!(
                matches!(e, Error::Connection { .. } | Error::Timeout { .. } | Error::Protocol { .. }),
                "{case:?}: {e:?}"
            );
            watch.nothing_more();
        }
    }
    assert_eq!(client.state(), State::Disconnected, "{case:?}");
    client.wait();
    drop(line);
    connects_again(&client, server, case);
    connected.is_ok()
}

/// Checks that the handlers get the end once, with its reason.
fn ends_once(client: &Client, watch: &Watch, case: Case) {
    watch.connected();
    // The messages are more than any of the cases lets pass.
    let asked = client.send("cmd:burst 400 the-line-breaks-in-the-midst-of-this-");
    assert!(matches!(asked, Ok(()) | Err(Error::SocketIsClosed)), "{case:?}: {asked:?}");
    if case.disconnects {
        let client = client.clone();
        let started = Instant::now();
        let gone = within(PATIENCE, &format!("disconnect: {case:?}"), move || client.disconnect());
        assert!(matches!(gone, Ok(()) | Err(Error::Unsent { .. })), "{case:?}: {gone:?}");
        // The limit leaves room for a busy machine.
        assert!(started.elapsed() < REQUEST_TIMEOUT * 10, "{case:?}: {:?}", started.elapsed());
    }
    let reason = loop {
        match watch.0.recv_timeout(PATIENCE) {
            Ok(Seen::Message(message)) => {
                assert!(message.as_text().unwrap().starts_with("the-line"), "{case:?}: {message:?}");
            }
            Ok(Seen::Disconnect(reason)) => break reason,
            Ok(Seen::Connect) => panic!("connected twice: {case:?}"),
            Err(RecvTimeoutError::Timeout) => panic!("no end: {case:?}"),
            Err(e) => panic!("{case:?}: {e}"),
        }
    };
    match (reason, case.fault) {
        (Reason::ClientDisconnect, _) if case.disconnects => {}
        (Reason::TransportError, _) => assert!(client.last_error().is_some(), "{case:?}"),
        (Reason::PingTimeout, Fault::Silence | Fault::Garbage) => {}
        (reason, _) => panic!("{case:?}: {reason}"),
    }
    client.wait();
    watch.nothing_more();
}

fn connects_again(client: &Client, server: &str, case: Case) {
    let watch = Watch::new(client);
    // The request timeout is short and the machine may be busy, so there are several attempts.
    let again = (0..10).find_map(|_| client.connect_with(server, by(case.way)).ok());
    again.unwrap_or_else(|| panic!("cannot connect again: {case:?}"));
    watch.connected();
    client.send("hello").unwrap();
    assert_eq!(watch.message().as_text(), Some("hello"), "{case:?}");
    let gone = client.disconnect();
    assert!(matches!(gone, Ok(()) | Err(Error::Unsent { .. })), "{case:?}: {gone:?}");
    assert!(matches!(watch.next(), Seen::Disconnect(_)));
}
