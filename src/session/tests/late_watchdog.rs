//! Tests of the watchdog's late start: before the first handler, or for a deadline that no other thread waits
//! for.

use super::*;

const NO_HANDLERS: Setup = Setup { has_handlers: false, ..QUIET };

/// A close that the server ignores has this time.
const SOON: Duration = Duration::from_millis(100);

#[test]
fn without_handlers_there_is_no_watchdog() {
    let f = start(&NO_HANDLERS, |_, _| {});
    f.server.send([text(0), Packet::Ping("x".into())]);
    assert_eq!(f.server.receive(), Packet::Pong("x".into()));
    f.expect(Happened::Connected);
    f.expect(Happened::Message(text(0)));
    assert!(!f.session.watchdog.is_running());
    f.session.close_by_waiter(Reason::ClientDisconnect);
    f.expect_end(Reason::ClientDisconnect);
}

#[test]
fn it_runs_before_the_first_handler_and_not_after_the_end() {
    let (sender, seen) = unbounded();
    let f = start(&QUIET, move |session, _| sender.send(session.watchdog.is_running()).unwrap());
    f.server.send([text(0), Packet::Close]);
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(true));
    f.expect(Happened::Connected);
    f.expect(Happened::Message(text(0)));
    f.expect_end(Reason::ServerDisconnect);
    f.session.watchdog.start(&f.session);
    assert!(!f.session.watchdog.is_running());
}

/// The messages that came before the end are delivered after it, when nobody has to receive any more.
#[test]
fn the_first_handler_after_the_end_needs_no_watchdog() {
    let (sender, seen) = unbounded();
    let f = start(&NO_HANDLERS, move |session, _| {
        session.end(Reason::ServerDisconnect, None);
        session.watchdog.start(session);
        sender.send(session.watchdog.is_running()).unwrap();
    });
    f.server.send([text(0)]);
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(false));
}

#[test]
fn silence_ends_a_connection_without_handlers() {
    let f = start(&Setup { interval: 50, timeout: 50, ..NO_HANDLERS }, |_, _| {});
    f.expect(Happened::Connected);
    assert!(!f.session.watchdog.is_running());
    f.expect_end(Reason::PingTimeout);
}

#[test]
fn a_close_that_the_server_ignores_ends_in_time_without_handlers() {
    let closes: [fn(&Fixture); 3] = [
        |f| f.session.close(Reason::ClientDisconnect),
        |f| f.session.close_elsewhere(Reason::ClientDisconnect),
        |f| {
            f.session.close_by_waiter(Reason::ClientDisconnect);
            assert!(!f.session.wait_finished(f.session.close_deadline()), "the server ignores it");
            assert!(!f.session.watchdog.is_running());
            f.session.end_if_overdue();
        },
    ];
    for close in closes {
        let f = start(&Setup { close_timeout: SOON, ..NO_HANDLERS }, |_, _| {});
        f.server.be_rude();
        close(&f);
        f.expect(Happened::Connected);
        f.expect_end(Reason::ClientDisconnect);
        assert_eq!(f.server.sent(), [Packet::Close]);
    }
}

#[test]
fn a_waiter_that_cannot_write_the_close_gives_up_in_time() {
    for queued in 0..2 {
        let f = start(&Setup { close_timeout: SOON, ..NO_HANDLERS }, |_, _| {});
        f.server.stall(true);
        (0..queued).for_each(|number| f.session.send(text(number), WhenFull::Wait).unwrap());
        f.session.close_by_waiter(Reason::ClientDisconnect);
        f.session.wait_finished(f.session.close_deadline());
        f.session.end_if_overdue();
        f.expect(Happened::Connected);
        f.expect_end(Reason::ClientDisconnect);
        assert_eq!(f.session.unsent(), queued);
    }
}

#[test]
fn an_abort_interrupts_a_waiter_that_writes_the_close() {
    let f = start(&NO_HANDLERS, |_, _| {});
    f.server.stall(true);
    let session = f.session.clone();
    let waiter = thread::spawn(move || session.close_by_waiter(Reason::ClientDisconnect));
    while f.session.close_deadline().is_none() {
        thread::yield_now();
    }
    f.session.abort(Reason::Other("abort".into()));
    waiter.join().unwrap();
    f.expect(Happened::Connected);
    f.expect_end(Reason::ClientDisconnect);
}

#[test]
fn a_broken_connection_without_handlers_waits_for_last_words_in_time() {
    let f = start(&Setup { close_timeout: SOON, ..NO_HANDLERS }, |_, _| {});
    f.server.break_writes();
    f.server.send([Packet::Ping(String::new())]);
    f.expect(Happened::Connected);
    f.expect_end(Reason::TransportError);
    assert_eq!(f.session.ending().error.unwrap().to_string(), "nothing can be written");
}

/// The order to receive comes before the watchdog has started: a sender waits for room, and the server reads
/// only when all of its own messages are received. The first handler waits for that.
#[test]
fn an_order_from_before_the_start_is_carried_out() {
    let (server, knows) = unbounded::<Server>();
    let mut known = None;
    let f = start(&Setup { outbox: 100, ..QUIET }, move |_, packet| {
        let server = known.get_or_insert_with(|| knows.recv().unwrap());
        let deadline = Instant::now() + PATIENCE / 3;
        while *packet == text(0) && server.unread() > 0 {
            assert!(Instant::now() < deadline, "nobody receives");
            thread::yield_now();
        }
    });
    server.send(f.server.clone()).unwrap();
    f.server.stall(true);
    while f.session.send(text("fill"), WhenFull::Fail).is_ok() {}
    let session = f.session.clone();
    let blocked = thread::spawn(move || session.send(text("blocked"), WhenFull::Wait));
    while !f.session.outbox.is_waited_for() {
        thread::yield_now();
    }
    f.server.send((0..3).map(text));
    f.expect(Happened::Connected);
    f.expect(Happened::Message(text(0)));
    f.server.stall(false);
    blocked.join().unwrap().unwrap();
    f.session.close(Reason::ClientDisconnect);
}
