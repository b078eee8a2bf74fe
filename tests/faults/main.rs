//! Every fault at every point: the line between client and server breaks in each possible way, each time
//! after some more bytes. In all cases the client reports the end once, in time, and can connect again.

#![cfg(target_os = "linux")]

mod line;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::process::{alone, descriptors, threads};
use common::real::{Options, Server};
use common::{PATIENCE, Seen, WAYS, Watch, by, eventually, within};
use crossbeam_channel::RecvTimeoutError;
use engineio::{Client, Error, Reason, State, TransportKind};
use line::{Fault, Line};

/// The ping interval and the ping timeout of the server behind a line that falls silent. It may be silent for
/// the sum of both.
const PING: Duration = Duration::from_millis(500);

/// The request timeout on a line that falls silent.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The number of cases at the same time. They wait most of the time.
const PARALLEL: usize = 16;

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
    // Only a line that falls silent is waited for. Any other end has to be noticed at once, so that the times
    // of the other server play no part.
    let patient = Server::with(Options { tls, ..Options::default() });
    let hasty = Server::with(Options { ping_interval: PING, ping_timeout: PING, tls, ..Options::default() });
    let servers = [patient.url(), hasty.url()];
    let mut cases = Vec::new();
    for (index, after) in points.enumerate() {
        for way in WAYS {
            for fault in FAULTS {
                cases.push(Case { way, fault, after, disconnects: index % 2 == 1 });
            }
        }
    }
    // The first connection builds the TLS connector, which is kept.
    connects_again(&client(Fault::End), patient.url(), cases[0]);
    let before = descriptors();
    let next = AtomicUsize::new(0);
    let connected = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    connected.fetch_add(usize::from(run(*case, servers)), Ordering::Relaxed);
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

/// True if the client has to wait for the end after this fault: garbage may be the start of a long answer.
fn is_silent(fault: Fault) -> bool {
    matches!(fault, Fault::Silence | Fault::Garbage)
}

fn client(fault: Fault) -> Client {
    let timeout = if is_silent(fault) { REQUEST_TIMEOUT } else { PATIENCE * 2 };
    Client::builder().ssl_verify(false).request_timeout(timeout).build().unwrap()
}

/// Runs a case. Returns true if the client was connected when the line broke.
fn run(case: Case, [patient, hasty]: [&str; 2]) -> bool {
    let line = Line::to(if is_silent(case.fault) { hasty } else { patient }, case.fault, case.after);
    let url = line.url();
    let client = client(case.fault);
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
    connects_again(&client, patient, case);
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
        // The limit leaves room for a busy machine, and is shorter than the times of the patient server.
        let gone = within(PATIENCE, &format!("disconnect: {case:?}"), move || client.disconnect());
        assert!(matches!(gone, Ok(()) | Err(Error::Unsent { .. })), "{case:?}: {gone:?}");
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
        (Reason::PingTimeout, fault) if is_silent(fault) => {}
        (reason, _) => panic!("{case:?}: {reason}"),
    }
    client.wait();
    watch.nothing_more();
}

fn connects_again(client: &Client, server: &str, case: Case) {
    // The request timeout may be short and the machine busy, so there are several attempts.
    assert!((0..10).any(|_| converses(client, server, case)), "cannot connect again: {case:?}");
}

/// Connects, gets a message echoed, and disconnects. Returns false if the connection fails before that.
fn converses(client: &Client, server: &str, case: Case) -> bool {
    let watch = Watch::new(client);
    if client.connect_with(server, by(case.way)).is_err() {
        return false;
    }
    watch.connected();
    // The connection may have ended.
    let _ = client.send("hello");
    let echoed = match watch.next() {
        Seen::Message(message) => message.as_text() == Some("hello"),
        _ => return false,
    };
    let gone = client.disconnect();
    assert!(matches!(gone, Ok(()) | Err(Error::Unsent { .. })), "{case:?}: {gone:?}");
    assert!(matches!(watch.next(), Seen::Disconnect(_)), "{case:?}");
    echoed
}
