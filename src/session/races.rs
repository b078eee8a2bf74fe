//! Random operations from several threads at once, with delays at every lock. Whatever their order, a session
//! ends once and accounts for every message. `ENGINEIO_SEED` repeats the operations of a failure, but not the
//! schedule of the threads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::{BeforeHandler, Ending, Listener, Session, SessionOptions, WhenFull};
use crate::error::Error;
use crate::event::Reason;
use crate::logger::Logger;
use crate::protocol::{Handshake, Packet};
use crate::sync::{delay, lock};
use crate::testing::fake::{PATIENCE, Server, pair};
use crate::testing::hang::{Chance, Watchdog, give_up, seed, times};
use crate::transport::TransportError;

fn rounds() -> u64 {
    times(5_000, 100_000)
}

const OPERATIONS: usize = 12;

/// A call that the session's listener has received.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Connected,
    Message(usize),
    Ended(Reason, usize),
    Finished,
}

/// The state that the threads of a round share.
struct Round {
    session: Arc<Session>,
    server: Server,
    told: Arc<Mutex<Vec<Told>>>,
    warnings: Warnings,
    /// The number of the server's next message.
    from_server: Mutex<usize>,
    /// The number of messages that `send` has accepted.
    accepted: AtomicUsize,
}

/// The handlers of a round, which perform random operations like the other threads.
struct Handlers {
    round: Weak<Round>,
    told: Arc<Mutex<Vec<Told>>>,
    chance: Chance,
    sent: usize,
}

impl Handlers {
    fn tell(&mut self, told: Told, before: BeforeHandler<'_>) {
        lock(&self.told).push(told);
        // The operations are rare, and the last call makes none, because the round may be over then.
        if self.chance.below(8) == 0 {
            before();
            if let Some(round) = self.round.upgrade() {
                round.operate(&mut self.chance, "handler", &mut self.sent);
            }
        }
    }
}

impl Listener for Handlers {
    fn connected(&mut self, before: BeforeHandler<'_>) -> bool {
        self.tell(Told::Connected, before);
        self.chance.below(16) != 0
    }

    fn messages(&mut self, packets: &mut dyn Iterator<Item = Packet>, before: BeforeHandler<'_>) {
        for packet in packets {
            let Packet::Text(number) = packet else { panic!("{packet:?}") };
            self.tell(Told::Message(number.parse().unwrap()), before);
        }
    }

    fn ended(&mut self, ending: Ending) {
        self.tell(Told::Ended(ending.reason, ending.unsent), &mut || {});
    }

    fn finished(&mut self) {
        lock(&self.told).push(Told::Finished);
    }
}

impl Round {
    fn start(chance: &mut Chance) -> Arc<Self> {
        let (transport, server) = pair();
        let warnings = Warnings::default();
        let pick = |chance: &mut Chance, from: [usize; 2]| from[chance.below(2) as usize];
        let interval = pick(chance, [5, 25_000]);
        let json = format!(r#"{{"sid":"s","pingInterval":{interval},"pingTimeout":{interval}}}"#);
        let options = SessionOptions {
            owner: 0,
            outbox_limit: pick(chance, [300, 1 << 20]),
            inbox_limit: pick(chance, [300, 1 << 20]),
            close_timeout: Duration::from_millis(pick(chance, [1, 20]) as u64),
            counters: Arc::default(),
            logger: warnings.logger(),
            observer: None,
        };
        if chance.below(4) == 0 {
            server.be_rude();
        }
        if chance.below(2) == 0 {
            server.halve();
        }
        let handshake = Handshake::parse(&json).unwrap();
        let session = Session::new(Box::new(transport), handshake, Default::default(), options);
        let told = Arc::default();
        Arc::new(Round {
            session,
            server,
            told,
            warnings,
            from_server: Mutex::new(0),
            accepted: AtomicUsize::new(0),
        })
    }

    fn handlers(self: &Arc<Self>, seed: u64) -> Box<Handlers> {
        let (round, told) = (Arc::downgrade(self), self.told.clone());
        Box::new(Handlers { round, told, chance: Chance::new(seed), sent: 0 })
    }

    /// Performs a random operation.
    fn operate(&self, chance: &mut Chance, name: &str, sent: &mut usize) {
        let session = &self.session;
        match chance.below(50) {
            0..9 => self.send(1, WhenFull::Wait, name, sent),
            9..12 => self.send(2 + chance.below(3) as usize, WhenFull::Wait, name, sent),
            12..16 => self.send(1, WhenFull::Fail, name, sent),
            16..18 => self.send(2 + chance.below(3) as usize, WhenFull::Fail, name, sent),
            18..21 => drop(session.flush(Duration::from_micros(chance.below(500)))),
            21..32 => self.server_sends(1 + chance.below(6) as usize),
            32..35 => self.server.send([Packet::Ping("x".into())]),
            35..38 => self.server.stall(true),
            38..41 => self.server.stall(false),
            41 => session.close(Reason::ClientDisconnect),
            42 => session.abort(Reason::Other("abort".into())),
            43 => {
                session.close(Reason::ClientDisconnect);
                session.end_as_recorded();
            }
            44 => self.server.send([Packet::Close]),
            45 => self.server.fail(TransportError::Failed(Error::connection("broken"))),
            46 => self.server.fail(TransportError::Silent),
            47 => self.server.break_writes(),
            48 if name != "handler" => self.close_and_wait(),
            _ => thread::sleep(Duration::from_micros(chance.below(300))),
        }
    }

    /// Closes as `disconnect` does: the caller writes the close if it can, and ends one that takes too long.
    fn close_and_wait(&self) {
        self.session.close_by_waiter(Reason::ClientDisconnect);
        self.session.wait_finished(self.session.close_deadline());
        self.session.end_if_overdue();
    }

    /// Sends a group. Each text has the sender's name and number, and the number of texts that follow in its
    /// group.
    fn send(&self, size: usize, when_full: WhenFull, name: &str, sent: &mut usize) {
        let text = |place| Packet::Text(format!("{name} {} {}", *sent + place, size - place));
        let group = (1..=size).map(text).collect();
        *sent += size;
        match self.session.send_all(group, when_full) {
            Ok(()) => drop(self.accepted.fetch_add(size, Ordering::SeqCst)),
            Err(Error::SocketIsClosed) => {}
            Err(Error::QueueFull) if when_full == WhenFull::Fail => {}
            Err(e) => panic!("{e}"),
        }
    }

    fn server_sends(&self, count: usize) {
        let mut next = lock(&self.from_server);
        self.server.send((*next..*next + count).map(|number| Packet::Text(number.to_string())));
        *next += count;
    }

    /// Checks the conditions that hold at the end of every round.
    fn check(&self) {
        let told = lock(&self.told).clone();
        let ends = told.iter().filter(|told| matches!(told, Told::Ended(..))).count();
        assert_eq!((told.first(), ends), (Some(&Told::Connected), 1), "{told:?}");
        // The count that the listener was told does not change any more.
        let Ending { reason, unsent, .. } = self.session.ending();
        assert_eq!(told[told.len() - 2..], [Told::Ended(reason, unsent), Told::Finished], "{told:?}");
        let warned: Vec<_> =
            lock(&self.warnings.0).iter().filter(|line| line.contains("not sent")).cloned().collect();
        let expected =
            (unsent > 0).then(|| format!("{unsent} message(s) were not sent before the connection ended"));
        assert_eq!(warned, expected.into_iter().collect::<Vec<_>>());
        let messages: Vec<_> = (0..told.len() - 3).map(Told::Message).collect();
        assert_eq!(told[1..told.len() - 2], messages, "lost, doubled or out of order");

        let written: Vec<_> = self.server.sent().into_iter().filter(Packet::is_message).collect();
        let accepted = self.accepted.load(Ordering::SeqCst);
        assert_eq!(accepted, written.len() + self.session.unsent(), "{} written", written.len());
        let (mut last, mut due) = (HashMap::new(), None);
        for packet in &written {
            let Packet::Text(text) = packet else { panic!("{packet:?}") };
            let [name, number, following] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
            let number: usize = number.parse().unwrap();
            assert!(last.insert(name, number).is_none_or(|last| last < number), "{text} out of order");
            assert!(due.is_none_or(|due| due == (name, number)), "{text} in the group of {due:?}");
            due = (following != "0").then_some((name, number + 1));
        }
    }
}

/// The warnings of a session.
#[derive(Default, Clone)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn logger(&self) -> Logger {
        let mut logger = Logger::default();
        logger.set_own(Arc::new(self.clone()));
        logger
    }
}

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        lock(&self.0).push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn run(seed: u64) {
    let mut chance = Chance::new(seed);
    delay::start(seed);
    let round = Round::start(&mut chance);
    let handlers = round.handlers(chance.next());
    thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let (round, mut chance) = (&round, Chance::new(chance.next()));
            scope.spawn(move || {
                let mut sent = 0;
                (0..OPERATIONS).for_each(|_| round.operate(&mut chance, name, &mut sent));
            });
        }
        // The other threads have begun, so the session may be closed before it has started.
        round.session.start(handlers).unwrap();
        scope.spawn(|| {
            thread::sleep(Duration::from_micros(chance.below(2_000)));
            match chance.below(2) {
                0 => round.session.close(Reason::ClientDisconnect),
                _ => round.close_and_wait(),
            }
        });
    });
    if !round.session.wait_finished(Some(Instant::now() + PATIENCE)) {
        give_up("threads are left");
    }
    delay::stop();
    while Arc::strong_count(&round.session) > 1 || lock(&round.told).last() != Some(&Told::Finished) {
        thread::yield_now();
    }
    round.check();
}

#[test]
fn a_session_ends_once_and_accounts_for_every_message() {
    let first = seed();
    let watchdog = Watchdog::new(2 * PATIENCE);
    for seed in (0..rounds()).map(|round| first.wrapping_add(round)) {
        watchdog.feed(format!("ENGINEIO_SEED={seed}"));
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            delay::stop();
            eprintln!("ENGINEIO_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
