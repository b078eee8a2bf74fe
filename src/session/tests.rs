//! Tests of a session and its threads over a fake transport, for which the test plays the server.

mod inbox;
mod late_watchdog;
mod outbox;
mod waits;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{BeforeHandler, Ending, Listener, Session, SessionOptions, WhenFull};
use crate::error::Error;
use crate::event::Reason;
use crate::logger::Logger;
use crate::protocol::{Handshake, Packet};
use crate::testing::fake::{PATIENCE, Server, pair};
use crate::transport::TransportError;

#[derive(Debug, PartialEq)]
enum Happened {
    Connected,
    Message(Packet),
    Ended(Reason),
    Finished,
}

type OnMessage = Box<dyn FnMut(&Arc<Session>, &Packet) + Send>;

/// A listener that reports each call, and runs the test's own message handler.
struct Reporter {
    session: Arc<Session>,
    happened: Sender<Happened>,
    on_message: OnMessage,
    accept: bool,
    has_handlers: bool,
}

impl Reporter {
    fn prepare(&self, before: BeforeHandler<'_>) {
        if self.has_handlers {
            before();
        }
    }
}

impl Listener for Reporter {
    fn connected(&mut self, before: BeforeHandler<'_>) -> bool {
        self.prepare(before);
        self.happened.send(Happened::Connected).unwrap();
        self.accept
    }

    fn messages(&mut self, packets: &mut dyn Iterator<Item = Packet>, before: BeforeHandler<'_>) {
        for packet in packets {
            self.prepare(before);
            (self.on_message)(&self.session, &packet);
            self.happened.send(Happened::Message(packet)).unwrap();
        }
    }

    fn ended(&mut self, ending: Ending) {
        self.happened.send(Happened::Ended(ending.reason)).unwrap();
    }

    fn finished(&mut self) {
        self.happened.send(Happened::Finished).unwrap();
    }
}

struct Fixture {
    session: Arc<Session>,
    server: Server,
    happened: Receiver<Happened>,
}

/// The settings of a session: ping interval and timeout in milliseconds, limits of outbox and inbox in bytes.
struct Setup {
    interval: u64,
    timeout: u64,
    outbox: usize,
    inbox: usize,
    close_timeout: Duration,
    accept: bool,
    /// Set if the listener runs handlers.
    has_handlers: bool,
}

const QUIET: Setup = Setup {
    interval: 25_000,
    timeout: 20_000,
    outbox: 1 << 20,
    inbox: 1 << 20,
    close_timeout: PATIENCE,
    accept: true,
    has_handlers: true,
};

fn start(setup: &Setup, on_message: impl FnMut(&Arc<Session>, &Packet) + Send + 'static) -> Fixture {
    start_with(setup, VecDeque::new(), on_message)
}

/// Starts a session with packets that came with the handshake.
fn start_with(
    setup: &Setup,
    early: VecDeque<Packet>,
    on_message: impl FnMut(&Arc<Session>, &Packet) + Send + 'static,
) -> Fixture {
    let (transport, server) = pair();
    let json = format!(r#"{{"sid":"s","pingInterval":{},"pingTimeout":{}}}"#, setup.interval, setup.timeout);
    let options = SessionOptions {
        owner: 0,
        outbox_limit: setup.outbox,
        inbox_limit: setup.inbox,
        close_timeout: setup.close_timeout,
        counters: Arc::default(),
        logger: Logger::default(),
        observer: None,
    };
    let handshake = Handshake::parse(&json).unwrap();
    let session = Session::new(Box::new(transport), handshake, early, options);
    let (sender, happened) = unbounded();
    let listener = Reporter {
        session: session.clone(),
        happened: sender,
        on_message: Box::new(on_message),
        accept: setup.accept,
        has_handlers: setup.has_handlers,
    };
    session.start(Box::new(listener)).unwrap();
    Fixture { session, server, happened }
}

impl Fixture {
    fn expect(&self, expected: Happened) {
        assert_eq!(self.happened.recv_timeout(PATIENCE), Ok(expected));
    }

    fn expect_end(&self, reason: Reason) {
        self.expect(Happened::Ended(reason));
        self.expect(Happened::Finished);
        assert!(self.happened.try_recv().is_err(), "something followed the end");
    }
}

fn text(text: impl ToString) -> Packet {
    Packet::Text(text.to_string())
}

fn failed() -> TransportError {
    TransportError::Failed(Error::connection("broken"))
}

#[test]
fn everything_happens_in_order_and_once() {
    let f = start(&QUIET, |_, _| {});
    f.server.send((0..100).map(text));
    f.server.send([Packet::Close, text("after the close")]);
    f.expect(Happened::Connected);
    for i in 0..100 {
        f.expect(Happened::Message(text(i)));
    }
    f.expect_end(Reason::ServerDisconnect);
    assert!(matches!(f.session.send(text("late"), WhenFull::Wait), Err(Error::SocketIsClosed)));
}

#[test]
fn only_the_answer_to_a_single_message_is_written_by_its_handler() {
    for messages in [1, 2, 500] {
        let early = (0..messages).map(text).collect();
        let answer = |session: &Arc<Session>, packet: &Packet| {
            session.send(packet.clone(), WhenFull::Wait).unwrap();
        };
        let f = start_with(&QUIET, early, answer);
        for i in 0..messages {
            assert_eq!(f.server.receive(), text(i));
        }
        assert_eq!(f.server.direct(), usize::from(messages == 1), "{messages} messages");
        f.session.close(Reason::ClientDisconnect);
    }
}

#[test]
fn a_ping_is_answered_with_its_data() {
    let f = start(&QUIET, |_, _| {});
    f.server.send([Packet::Ping("abc".into())]);
    assert_eq!(f.server.receive(), Packet::Pong("abc".into()));
    f.session.close(Reason::ClientDisconnect);
}

#[test]
fn pings_are_answered_while_a_handler_runs() {
    let setup = Setup { interval: 40, timeout: 2_000, ..QUIET };
    let (release, released) = unbounded::<()>();
    let f = start(&setup, move |_, packet| {
        if *packet == text("slow") {
            released.recv_timeout(PATIENCE).unwrap();
        }
    });
    f.server.send([text("slow")]);
    f.expect(Happened::Connected);
    for i in 0..5 {
        f.server.send([text(i), Packet::Ping(i.to_string())]);
        assert_eq!(f.server.receive(), Packet::Pong(i.to_string()));
    }
    release.send(()).unwrap();
    f.expect(Happened::Message(text("slow")));
    for i in 0..5 {
        f.expect(Happened::Message(text(i)));
    }
    f.session.close(Reason::ClientDisconnect);
    f.expect_end(Reason::ClientDisconnect);
}

#[test]
fn silence_ends_the_connection_though_a_handler_runs() {
    let setup = Setup { interval: 50, timeout: 50, ..QUIET };
    let (_release, released) = unbounded::<()>();
    let ended = Arc::new(AtomicBool::new(false));
    let seen = ended.clone();
    let f = start(&setup, move |session, _| {
        // The handler runs until the session has ended.
        while session.send(text("x"), WhenFull::Wait).is_ok() {
            let _ = released.recv_timeout(Duration::from_millis(5));
        }
        seen.store(true, Ordering::SeqCst);
    });
    f.server.send([text("go")]);
    f.expect(Happened::Connected);
    f.expect(Happened::Message(text("go")));
    f.expect_end(Reason::PingTimeout);
    assert!(ended.load(Ordering::SeqCst));
}

#[test]
fn silence_ends_an_idle_connection_on_time() {
    let setup = Setup { interval: 100, timeout: 100, ..QUIET };
    let start_time = Instant::now();
    let f = start(&setup, |_, _| {});
    f.expect(Happened::Connected);
    f.expect_end(Reason::PingTimeout);
    assert!(start_time.elapsed() >= Duration::from_millis(200));
}

#[test]
fn the_first_reason_wins() {
    let f = start(&QUIET, |_, _| {});
    f.expect(Happened::Connected);
    f.session.abort(Reason::Other("mine".into()));
    f.server.fail(failed());
    f.session.close(Reason::ClientDisconnect);
    f.expect_end(Reason::Other("mine".into()));
}

#[test]
fn a_failure_keeps_its_error() {
    let f = start(&QUIET, |_, _| {});
    f.server.fail(failed());
    f.expect(Happened::Connected);
    f.expect_end(Reason::TransportError);
    assert_eq!(f.session.ending().error.unwrap().to_string(), "broken");
}

#[test]
fn a_refused_connection_is_closed() {
    let f = start(&Setup { accept: false, ..QUIET }, |_, _| {});
    f.expect(Happened::Connected);
    assert_eq!(f.server.receive(), Packet::Close);
    f.expect_end(Reason::ClientDisconnect);
}

#[test]
fn a_close_writes_what_was_sent_before_it() {
    let f = start(&QUIET, |_, _| {});
    for i in 0..1000 {
        f.session.send(text(i), WhenFull::Wait).unwrap();
    }
    f.session.close(Reason::ClientDisconnect);
    f.expect(Happened::Connected);
    f.expect_end(Reason::ClientDisconnect);
    let mut expected: Vec<Packet> = (0..1000).map(text).collect();
    expected.push(Packet::Close);
    assert_eq!(f.server.sent(), expected);
    assert_eq!(f.session.unsent(), 0);
}

#[test]
fn nothing_follows_a_close() {
    let f = start(&QUIET, |_, _| {});
    f.server.be_rude();
    f.expect(Happened::Connected);
    f.session.close(Reason::ClientDisconnect);
    f.server.send([Packet::Ping("late".into())]);
    f.server.fail(failed());
    f.expect_end(Reason::ClientDisconnect);
    assert_eq!(f.server.sent(), [Packet::Close]);
}

#[test]
fn a_close_that_the_server_ignores_ends_in_time() {
    let f = start(&Setup { close_timeout: Duration::from_millis(100), ..QUIET }, |_, _| {});
    f.server.be_rude();
    f.expect(Happened::Connected);
    f.session.close(Reason::ClientDisconnect);
    f.expect_end(Reason::ClientDisconnect);
}

#[test]
fn a_close_that_cannot_be_written_ends_in_time_and_counts_what_is_lost() {
    let f = start(&Setup { close_timeout: Duration::from_millis(100), ..QUIET }, |_, _| {});
    f.server.stall(true);
    f.expect(Happened::Connected);
    for i in 0..10 {
        f.session.send(text(i), WhenFull::Wait).unwrap();
    }
    f.session.close(Reason::ClientDisconnect);
    f.expect_end(Reason::ClientDisconnect);
    assert_eq!(f.session.unsent(), 10);
}

#[test]
fn an_abort_counts_what_is_lost() {
    let f = start(&QUIET, |_, _| {});
    f.server.stall(true);
    f.session.send(text("lost"), WhenFull::Wait).unwrap();
    f.session.abort(Reason::ClientDisconnect);
    assert_eq!(f.session.unsent(), 1);
    f.expect(Happened::Connected);
    f.expect_end(Reason::ClientDisconnect);
}

#[test]
fn a_full_outbox_blocks_or_refuses_and_lets_in_again() {
    let f = start(&Setup { outbox: 1000, ..QUIET }, |_, _| {});
    f.server.stall(true);
    let mut accepted = 0;
    while f.session.send(text(accepted), WhenFull::Fail).is_ok() {
        accepted += 1;
    }
    assert!(matches!(f.session.send(text("no"), WhenFull::Fail), Err(Error::QueueFull)));
    let session = f.session.clone();
    let blocked = thread::spawn(move || session.send(text("blocked"), WhenFull::Wait));
    f.server.stall(false);
    blocked.join().unwrap().unwrap();
    f.session.flush(PATIENCE).unwrap();
    let mut expected: Vec<Packet> = (0..accepted).map(text).collect();
    expected.push(text("blocked"));
    assert_eq!(f.server.sent(), expected);
    f.session.close(Reason::ClientDisconnect);
}

#[test]
fn a_blocked_send_ends_with_the_connection() {
    let f = start(&Setup { outbox: 100, ..QUIET }, |_, _| {});
    f.server.stall(true);
    while f.session.send(text("fill"), WhenFull::Fail).is_ok() {}
    let session = f.session.clone();
    let blocked = thread::spawn(move || session.send(text("blocked"), WhenFull::Wait));
    f.server.fail(failed());
    assert!(matches!(blocked.join().unwrap(), Err(Error::SocketIsClosed)));
}

#[test]
fn a_handler_that_blocks_in_send_lets_the_server_write_on() {
    // Both sides only write: the server reads again only when all of its own messages are received.
    let f = start(&Setup { outbox: 500, ..QUIET }, |session, _| {
        session.send(text("answer"), WhenFull::Wait).unwrap();
    });
    f.server.stall(true);
    f.server.send((0..200).map(text));
    let deadline = Instant::now() + PATIENCE;
    while f.server.unread() > 0 {
        assert!(Instant::now() < deadline, "nobody receives");
        thread::yield_now();
    }
    f.server.stall(false);
    f.expect(Happened::Connected);
    for i in 0..200 {
        f.expect(Happened::Message(text(i)));
    }
    f.session.close(Reason::ClientDisconnect);
}

#[test]
fn a_full_inbox_stops_reading_until_the_handler_is_done() {
    let setup = Setup { interval: 20, timeout: 1_000, inbox: 2_000, ..QUIET };
    let (release, released) = unbounded::<()>();
    let f = start(&setup, move |_, packet| {
        if *packet == text(0) {
            released.recv_timeout(PATIENCE).unwrap();
        }
    });
    f.server.send((0..1000).map(text));
    f.expect(Happened::Connected);
    let deadline = Instant::now() + PATIENCE;
    while f.session.inbox.bytes() < setup.inbox {
        assert!(Instant::now() < deadline, "reading goes on");
        thread::yield_now();
    }
    assert!(f.server.unread() > 900, "the inbox took {}", 1000 - f.server.unread());
    release.send(()).unwrap();
    for i in 0..1000 {
        f.expect(Happened::Message(text(i)));
    }
    f.session.close(Reason::ClientDisconnect);
    f.expect_end(Reason::ClientDisconnect);
}

#[test]
fn closing_from_many_threads_ends_it_once() {
    for _ in 0..50 {
        let f = start(&QUIET, |session, _| session.close(Reason::ClientDisconnect));
        f.server.send([text("go")]);
        let closers: Vec<_> = (0..4)
            .map(|i| {
                let (session, server) = (f.session.clone(), f.server.clone());
                thread::spawn(move || match i {
                    0 => session.close(Reason::ClientDisconnect),
                    1 => session.abort(Reason::ClientDisconnect),
                    2 => server.send([Packet::Close]),
                    _ => server.fail(failed()),
                })
            })
            .collect();
        closers.into_iter().for_each(|closer| closer.join().unwrap());
        let ends = |h: &Happened| matches!(h, Happened::Ended(_));
        let mut happened = Vec::new();
        while happened.last() != Some(&Happened::Finished) {
            happened.push(f.happened.recv_timeout(PATIENCE).unwrap());
        }
        assert_eq!(happened.iter().filter(|h| ends(h)).count(), 1, "{happened:?}");
    }
}
