//! Tests of calls that wait for a write: their result, and that messages are received meanwhile, because the
//! server may not read before its own messages are received.

use std::sync::Mutex;

use super::*;
use crate::clock::Moment;
use crate::sync::lock;

/// Gives other threads time to get as far as they can. A test stays correct, but tests less, if the time is
/// too short.
fn settle() {
    thread::sleep(Duration::from_millis(50));
}

/// Answers a ping, so that the watchdog does not check the reader for a long time unless it is told to.
fn let_rest(f: &Fixture) {
    f.server.send([Packet::Ping(String::new())]);
    f.server.receive();
}

/// Makes the server read again when all of its messages are received.
fn read_when_all_is_received(server: &Server) {
    eventually("all is received", || server.unread() == 0);
    server.stall(false);
}

/// Waits for a condition. Fails before the watchdog would check the reader by itself, half-way to the ping
/// timeout.
fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE / 3;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::yield_now();
    }
}

#[test]
fn a_flush_and_an_abort_tell_of_a_batch_that_is_lost() {
    for abort in [false, true] {
        for _ in 0..50 {
            let f = start(&QUIET, |_, _| {});
            f.server.stall(true);
            f.session.send(text("lost"), WhenFull::Wait).unwrap();
            eventually("the writer has it", || f.session.outbox.batch_since().is_some());
            let session = f.session.clone();
            let flush = thread::spawn(move || session.flush(PATIENCE));
            if abort {
                f.session.abort(Reason::ClientDisconnect);
                assert_eq!(f.session.unsent(), 1);
            } else {
                f.server.fail(failed());
            }
            assert!(matches!(flush.join().unwrap(), Err(Error::SocketIsClosed)));
        }
    }
}

#[test]
fn a_flush_in_a_handler_lets_the_server_write_on() {
    let f = start(&QUIET, |session, packet| {
        if *packet == text(0) {
            session.send(text("answer"), WhenFull::Wait).unwrap();
            session.flush(PATIENCE).unwrap();
        }
    });
    f.expect(Happened::Connected);
    let_rest(&f);
    f.server.stall(true);
    f.server.send([text(0)]);
    settle();
    f.server.send((1..50).map(text));
    read_when_all_is_received(&f.server);
    (0..50).for_each(|i| f.expect(Happened::Message(text(i))));
    f.session.close(Reason::ClientDisconnect);
}

/// The sender waits for room first, and then the handler waits for the sender.
#[test]
fn a_handler_that_waits_for_a_blocked_sender_lets_the_server_write_on() {
    let held = Arc::new(Mutex::new(()));
    let wanted = held.clone();
    let f = start(&Setup { outbox: 500, ..QUIET }, move |_, _| drop(lock(&wanted)));
    f.expect(Happened::Connected);
    let_rest(&f);
    f.server.stall(true);
    let session = f.session.clone();
    let sender = thread::spawn(move || {
        let _held = lock(&held);
        (0..100).for_each(|i| session.send(text(i), WhenFull::Wait).unwrap());
    });
    settle();
    f.server.send([text(0)]);
    settle();
    f.server.send((1..50).map(text));
    read_when_all_is_received(&f.server);
    sender.join().unwrap();
    f.session.close(Reason::ClientDisconnect);
}

#[test]
fn a_close_during_a_handler_lets_the_server_write_on() {
    let (release, released) = unbounded::<()>();
    let f = start(&Setup { inbox: 500, ..QUIET }, move |_, _| {
        let _ = released.recv_timeout(PATIENCE);
    });
    f.expect(Happened::Connected);
    let_rest(&f);
    f.server.stall(true);
    f.server.send([text(0)]);
    settle();
    f.server.send((1..50).map(text));
    (0..10).for_each(|i| f.session.send(text(i), WhenFull::Wait).unwrap());
    f.session.close(Reason::ClientDisconnect);
    read_when_all_is_received(&f.server);
    drop(release);
    f.expect(Happened::Message(text(0)));
    f.expect_end(Reason::ClientDisconnect);
    assert_eq!(f.session.unsent(), 0);
}

/// The watchdog receives in the reader's place, and the handler does not return before the session is over.
#[test]
fn a_close_in_a_handler_has_an_end_though_the_server_goes_on() {
    let setup = Setup { interval: 50, timeout: 1_000, close_timeout: Duration::from_millis(200), ..QUIET };
    let (release, released) = unbounded();
    let f = start(&setup, move |session, _| {
        released.recv_timeout(PATIENCE).unwrap();
        session.close(Reason::ClientDisconnect);
        eventually("it is over", || session.is_over());
    });
    f.server.be_rude();
    f.server.send([text("go"), Packet::Ping(String::new())]);
    f.expect(Happened::Connected);
    f.server.receive();
    // The watchdog receives this ping.
    f.server.send([Packet::Ping(String::new())]);
    f.server.receive();
    release.send(()).unwrap();
    let (server, session) = (f.server.clone(), f.session.clone());
    let pings = thread::spawn(move || {
        while !session.is_over() {
            server.send([Packet::Ping(String::new())]);
            thread::sleep(Duration::from_millis(10));
        }
    });
    f.expect(Happened::Message(text("go")));
    f.expect_end(Reason::ClientDisconnect);
    pings.join().unwrap();
}

/// The inbox is full twice. The second time takes most of the time in which a server may be silent, and then
/// the server is silent for most of that time.
#[test]
fn time_in_which_the_inbox_is_full_is_no_silence() {
    let message = text(0).memory();
    let setup = Setup { interval: 500, timeout: 500, inbox: 10 * message, ..QUIET };
    let (release, released) = unbounded::<()>();
    let f = start(&setup, move |_, _| {
        let _ = released.recv_timeout(PATIENCE);
    });
    f.expect(Happened::Connected);
    // One message is with its handler, ten fill the inbox, and one has no room.
    f.server.send((0..10).map(text));
    eventually("the first is with its handler", || f.session.inbox.bytes() <= 9 * message);
    f.server.send((10..12).map(|_| text(0)));
    eventually("the inbox is full", || f.server.unread() == 1);
    release.send(()).unwrap();
    f.expect(Happened::Message(text(0)));
    eventually("the inbox is full again", || f.server.unread() == 0);
    thread::sleep(Duration::from_millis(800));
    drop(release);
    thread::sleep(Duration::from_millis(700));
    f.server.send([text("late")]);
    let told = || f.happened.recv_timeout(PATIENCE).unwrap();
    while !matches!(told(), Happened::Message(packet) if packet == text("late")) {}
    f.session.close(Reason::ClientDisconnect);
}

/// The handler returns while the stand-in waits for room. The next handler then takes longer than the server
/// may be silent, and meanwhile the inbox is full again. The rounds differ in the moment of the return.
#[test]
fn a_sender_sees_no_silence_while_the_inbox_is_full() {
    let setup = Setup { interval: 100, timeout: 100, inbox: 300, ..QUIET };
    let round = &|round: u64| {
        let ((enter, entered), (release, released)) = (unbounded(), unbounded::<()>());
        let f = start(&setup, move |_, _| {
            let _ = enter.send(());
            let _ = released.recv_timeout(PATIENCE);
        });
        f.server.send((0..100).map(text));
        entered.recv_timeout(PATIENCE).unwrap();
        eventually("the inbox is full", || f.session.inbox.bytes() >= setup.inbox);
        thread::sleep(Duration::from_micros(10 * round));
        release.send(()).unwrap();
        entered.recv_timeout(PATIENCE).unwrap();
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            assert!(!f.session.liveness.is_silent(Moment::now()), "round {round}");
            thread::sleep(Duration::from_millis(1));
        }
        f.session.send(text("x"), WhenFull::Wait).unwrap();
        f.session.abort(Reason::ClientDisconnect);
    };
    thread::scope(|scope| {
        (0..4).for_each(|nth| _ = scope.spawn(move || (0..8).for_each(|i| round(4 * i + nth))));
    });
}

/// The writer is stuck in its write, which then fails. The server goes on sending.
#[test]
fn a_flush_does_not_wait_for_the_last_words() {
    let f = start(&QUIET, |_, _| {});
    f.expect(Happened::Connected);
    f.server.stall(true);
    f.session.send(text("lost"), WhenFull::Wait).unwrap();
    eventually("the writer has it", || f.session.outbox.batch_since().is_some());
    f.server.break_writes();
    f.server.stall(false);
    assert!(matches!(f.session.flush(PATIENCE), Err(Error::SocketIsClosed)));
    assert_eq!(f.session.unsent(), 1);
    f.server.send([text("last words"), Packet::Close]);
    f.expect(Happened::Message(text("last words")));
    f.expect_end(Reason::ServerDisconnect);
}
