//! Messages that are given up at the end of a connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crate::{Does, Stuck, Then, connect_and_fill, destroyed, each, fill, message, owned, turn};
use common::process::{threads, ticks, waiting};
use common::scripted::{OPEN, Scripted};
use common::{self, PATIENCE, connected, only};
use crossbeam_channel::{Receiver, bounded};
use engineio::{Client, Disconnect, Error, Reason, TransportKind};

use TransportKind::{Polling, WebSocket};

/// Sends three messages with this action of their destructors. Only the first one may panic, because a second
/// panic during the first one would abort the process.
fn send_three(client: &Client, does: Does) -> Vec<Receiver<()>> {
    let rest = if does == Does::Panic { Does::Nothing } else { does };
    let send = |does| {
        let (message, told) = message(client, 10, does);
        client.send(message).unwrap();
        told
    };
    [does, rest, rest].map(send).into()
}

#[derive(Debug, Clone, Copy)]
enum End {
    Abort,
    Disconnect,
    Loss,
}

/// Ends a connection while messages with this action wait. The destructors run, the threads end, and the
/// client can connect again.
fn given_up(transport: TransportKind, end: End, does: Does) {
    let then = if matches!(end, End::Loss) { Then::Breaks } else { Then::GoesOn };
    let server = Stuck::start(transport, then);
    let (client, watch) = connect_and_fill(&server, transport);
    let destructors = send_three(&client, does);
    // A destructor's panic may reach the caller that ends the connection.
    let _ = catch_unwind(AssertUnwindSafe(|| match end {
        End::Abort => drop(client.disconnect_with(Disconnect::new().abort(true))),
        End::Disconnect => drop(client.disconnect()),
        End::Loss => drop(server.release),
    }));
    watch.disconnected();
    destructors.iter().for_each(destroyed);
    client.wait();
    assert!(client.stats().unsent >= 3, "{:?}", client.stats());
    let friendly = Stuck::start(transport, Then::GoesOn);
    drop(friendly.release);
    client.connect_with(friendly.server.url(), only(transport)).unwrap();
    watch.connected();
    client.send("after").unwrap();
    client.disconnect().unwrap();
    assert_eq!(friendly.texts.recv_timeout(PATIENCE).unwrap(), "after");
}

const ENDS: [End; 3] = [End::Abort, End::Disconnect, End::Loss];

#[test]
fn a_message_that_is_given_up_may_ask_for_the_counters() {
    each(&ENDS, |transport, end| given_up(transport, end, Does::Stats));
}

#[test]
fn a_message_that_is_given_up_may_send() {
    each(&ENDS, |transport, end| given_up(transport, end, Does::Send));
}

#[test]
fn a_message_that_is_given_up_may_disconnect() {
    each(&ENDS, |transport, end| given_up(transport, end, Does::Disconnect));
}

#[test]
fn a_message_that_is_given_up_may_wait() {
    each(&ENDS, |transport, end| given_up(transport, end, Does::Wait));
}

#[test]
fn a_message_that_is_given_up_may_panic() {
    each(&ENDS, |transport, end| given_up(transport, end, Does::Panic));
}

/// The connection of a dropped client closes in the background, where no caller sees the panic.
#[test]
fn a_message_of_a_dropped_client_may_panic() {
    each(&[()], |transport, ()| {
        let server = Stuck::start(transport, Then::GoesOn);
        let (client, watch) = connect_and_fill(&server, transport);
        // The destructors own a handle of another client, so this client has no handle left.
        let (message, told) = message(&Client::new(), 10, Does::Panic);
        client.send(message).unwrap();
        drop(client);
        watch.disconnected();
        destroyed(&told);
    });
}

/// The thread that aborts is stuck in the destructor, and all other threads go on.
#[test]
fn a_destructor_that_blocks_holds_no_tear_down_up() {
    each(&[()], |transport, ()| {
        let server = Stuck::start(transport, Then::GoesOn);
        let (client, watch) = connect_and_fill(&server, transport);
        let ((enter, entered), (release, released)) = (bounded(1), bounded::<()>(0));
        let blocks = owned(10, move || {
            enter.send(()).unwrap();
            let _ = released.recv();
        });
        client.send(blocks).unwrap();
        let aborting = client.clone();
        let first = thread::spawn(move || aborting.disconnect_with(Disconnect::new().abort(true)));
        entered.recv_timeout(PATIENCE).unwrap();
        let second = client.disconnect_with(Disconnect::new().abort(true));
        assert!(matches!(second, Err(Error::Unsent { .. })), "{second:?}");
        watch.disconnected();
        client.wait();
        drop(release);
        let unsent = |result| match result {
            Err(Error::Unsent { messages, .. }) => messages,
            other => panic!("{other:?}"),
        };
        assert_eq!(unsent(first.join().unwrap()), unsent(second));
    });
}

/// The server refuses the POST of the first message. The writer thread is then stuck in the destructor of the
/// second one.
#[test]
fn a_destructor_that_blocks_holds_no_end_up() {
    let _turn = turn();
    let (refuse, refused) = bounded::<()>(0);
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_post() => {
            let _ = refused.recv_timeout(PATIENCE);
            exchange.respond("400 Bad Request", "{}")
        }
        request if request.is_poll() => exchange.hold(),
        _ => exchange.payload(OPEN),
    });
    let (client, watch) = connected(server.url(), only(Polling));
    client.send("first").unwrap();
    server.wait_for("POST", |request| request.is_post());
    let ((enter, entered), (release, released)) = (bounded(1), bounded::<()>(0));
    let blocks = owned(10, move || {
        enter.send(()).unwrap();
        let _ = released.recv();
    });
    client.send(blocks).unwrap();
    let flushing = client.clone();
    let flush = waiting("flush", move || flushing.flush(PATIENCE));
    drop(refuse);
    entered.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(flush.join().unwrap(), Err(Error::SocketIsClosed)));
    assert_eq!(watch.disconnected(), Reason::TransportError);
    assert!(matches!(
        client.disconnect_with(Disconnect::new().abort(true)),
        Err(Error::Unsent { messages: 2, .. })
    ));
    drop(release);
    client.wait();
}

/// A handler runs, so the watchdog receives. One thread is stuck in the destructor, and a second one aborts
/// as well.
#[test]
fn no_thread_spins_while_a_destructor_blocks() {
    let _turn = turn();
    let ((release, released), (stop, stopped)) = (bounded::<()>(0), bounded::<()>(0));
    let server = Scripted::websocket(move |exchange| {
        rustix::net::sockopt::set_socket_recv_buffer_size(exchange.stream()?, 256 * 1024)?;
        exchange.ws_text("4go")?;
        // The server reads nothing, and each of its NOOPs wakes the receiving thread.
        while stopped.recv_timeout(Duration::from_millis(10)).is_err_and(|e| e.is_timeout()) {
            exchange.ws_text("6")?;
        }
        Ok(())
    });
    let client = Client::builder().outbox_limit(64 << 20).build().unwrap();
    let handler = common::Stuck::new(&client);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    handler.entered();
    fill(&client);
    let (enter, entered) = bounded(1);
    let blocks = owned(10, move || {
        enter.send(()).unwrap();
        let _ = released.recv();
    });
    client.send(blocks).unwrap();
    let abort = |client: &Client| {
        let client = client.clone();
        waiting("abort", move || drop(client.disconnect_with(Disconnect::new().abort(true))))
    };
    let first = abort(&client);
    entered.recv_timeout(PATIENCE).unwrap();
    let second = abort(&client);
    let all = threads();
    let taken = || all.iter().map(|(_, id)| ticks(id)).sum::<u64>();
    let before = taken();
    thread::sleep(Duration::from_millis(500));
    let spun = taken().saturating_sub(before);
    drop((release, stop));
    handler.release();
    first.join().unwrap();
    second.join().unwrap();
    client.wait();
    assert!(spun < 20, "{spun} ticks of 50");
}
