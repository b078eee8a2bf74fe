//! Messages that are given up at the end of a connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::common::{PATIENCE, only};
use crate::{Does, Stuck, Then, connect_and_fill, destroyed, each, message, owned};
use crossbeam_channel::{Receiver, bounded};
use engineio::{Client, Disconnect, Error, TransportKind};

/// Sends three messages whose destructors do that. A second panic would end the process while the first is unwound:
/// behind a destructor that panics are ordinary ones.
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

/// Ends a connection while messages wait whose destructors do that: the destructors run, the threads end, and the
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
fn a_message_that_is_given_up_may_panic() {
    each(&ENDS, |transport, end| given_up(transport, end, Does::Panic));
}

/// The connection closes in the background then, and no caller sees the panic.
#[test]
fn a_message_of_a_dropped_client_may_panic() {
    each(&[()], |transport, ()| {
        let server = Stuck::start(transport, Then::GoesOn);
        let (client, watch) = connect_and_fill(&server, transport);
        // The destructors hold another client's handle, and so none of this one's.
        let (message, told) = message(&Client::new(), 10, Does::Panic);
        client.send(message).unwrap();
        drop(client);
        watch.disconnected();
        destroyed(&told);
    });
}

/// One thread is in the destructor, and all the others get on.
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
