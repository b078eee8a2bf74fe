//! Models of the session: sends, receives, flushes and ends on several threads.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use super::{Log, Told, below, handshake, text};
use crate::error::Error;
use crate::event::Reason;
use crate::logger::Logger;
use crate::protocol::Packet;
use crate::session::{BeforeHandler, Ending, Listener, Session, SessionOptions, WhenFull};
use crate::sync::{AtomicUsize, Mutex, Ordering, lock};
use crate::testing::fake::{Server, pair};
use crate::transport::TransportError;

type OnMessage = Box<dyn FnMut(&Arc<Session>) + Send>;

struct Recorder {
    session: Arc<Session>,
    log: Log,
    on_message: OnMessage,
}

impl Listener for Recorder {
    fn connected(&mut self, _: BeforeHandler<'_>) -> bool {
        self.log.tell(Told::Connected);
        true
    }

    fn messages(&mut self, packets: &mut dyn Iterator<Item = Packet>, before: BeforeHandler<'_>) {
        for packet in packets {
            before();
            (self.on_message)(&self.session);
            self.log.tell(Told::Message(packet));
        }
    }

    fn ended(&mut self, ending: Ending) {
        self.log.tell(Told::Ended(ending.reason, ending.unsent));
    }

    fn finished(&mut self) {
        self.log.tell(Told::Finished);
    }
}

/// A running session, and the count of messages that it has accepted.
#[derive(Clone)]
struct Model {
    session: Arc<Session>,
    server: Server,
    log: Log,
    accepted: Arc<AtomicUsize>,
}

/// Starts a session. The limits of outbox and inbox are in bytes.
fn start(outbox_limit: usize, inbox_limit: usize, prepare: impl FnOnce(&Server)) -> Model {
    start_with(outbox_limit, inbox_limit, prepare, Arc::default(), |_| {})
}

fn start_with(
    outbox_limit: usize,
    inbox_limit: usize,
    prepare: impl FnOnce(&Server),
    accepted: Arc<AtomicUsize>,
    on_message: impl FnMut(&Arc<Session>) + Send + 'static,
) -> Model {
    let (transport, server) = pair();
    prepare(&server);
    let options = SessionOptions {
        owner: 0,
        outbox_limit,
        inbox_limit,
        close_timeout: Duration::from_secs(5),
        counters: Arc::default(),
        logger: Logger::default(),
        observer: None,
    };
    let session = Session::new(Box::new(transport), handshake(), Default::default(), options);
    let log = Log::default();
    let listener = Recorder { session: session.clone(), log: log.clone(), on_message: Box::new(on_message) };
    session.start(Box::new(listener)).expect("threads start");
    Model { session, server, log, accepted }
}

impl Model {
    fn send(&self, number: usize, when_full: WhenFull) {
        self.send_packet(text(number), when_full);
    }

    /// Sends a packet. Returns true if it was accepted.
    fn send_packet(&self, packet: Packet, when_full: WhenFull) -> bool {
        let accepted = match self.session.send(packet, when_full) {
            Ok(()) => true,
            Err(Error::SocketIsClosed | Error::QueueFull) => false,
            Err(e) => panic!("{e}"),
        };
        self.accepted.fetch_add(usize::from(accepted), Ordering::SeqCst);
        accepted
    }

    /// Sends a group of two texts with this number. Returns true if it was accepted.
    fn send_group(&self, number: usize, when_full: WhenFull) -> bool {
        let accepted = match self.session.send_all(vec![text(number); 2], when_full) {
            Ok(()) => true,
            Err(Error::SocketIsClosed | Error::QueueFull) => false,
            Err(e) => panic!("{e}"),
        };
        self.accepted.fetch_add(2 * usize::from(accepted), Ordering::SeqCst);
        accepted
    }

    fn spawn(&self, run: impl FnOnce(Model) + Send + 'static) -> thread::JoinHandle<()> {
        let model = self.clone();
        thread::spawn(move || run(model))
    }

    /// Waits for the end, and checks the conditions that hold in every order of events.
    fn finish(self, threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
        threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        self.log.wait_for(Told::Finished, 1);
        let told = self.log.all();
        let ends = told.iter().filter(|told| matches!(told, Told::Ended(..))).count();
        assert_eq!((told.first(), ends), (Some(&Told::Connected), 1), "{told:?}");
        let unsent = self.session.unsent();
        let Told::Ended(_, counted) = &told[told.len() - 2] else { panic!("{told:?}") };
        assert_eq!(*counted, unsent, "the count that was told is final");
        let received: Vec<_> = (0..told.len() - 3).map(|number| Told::Message(text(number))).collect();
        assert_eq!(told[1..told.len() - 2], received, "lost, doubled or out of order");
        let written = self.server.sent().iter().filter(|packet| packet.is_message()).count();
        assert_eq!(self.accepted.load(Ordering::SeqCst), written + unsent, "{written} written");
    }
}

/// A thread closes while others send: all accepted messages are written, then the close.
pub(super) fn close() {
    let model = start(1 << 20, 1 << 20, |_| {});
    let senders: Vec<_> = (0..2)
        .map(|_| model.spawn(|model| (0..2).for_each(|number| model.send(number, WhenFull::Wait))))
        .collect();
    let closer = model.spawn(|model| model.session.close(Reason::ClientDisconnect));
    let session = model.session.clone();
    model.finish(senders.into_iter().chain([closer]));
    assert_eq!(session.unsent(), 0, "a close writes everything");
}

/// Two threads abort while another sends and the server sends too.
pub(super) fn abort() {
    let model = start(100, 100, |_| {});
    let threads = vec![
        model.spawn(|model| (0..3).for_each(|number| model.send(number, WhenFull::Wait))),
        model.spawn(|model| model.server.send((0..2).map(text))),
        model.spawn(|model| model.session.abort(Reason::ClientDisconnect)),
        model.spawn(|model| model.session.abort(Reason::Other("another".into()))),
    ];
    model.finish(threads);
}

/// Both sides only write: the server reads again when all of its messages are received, and every handler
/// sends an answer into a full outbox.
pub(super) fn both_only_write() {
    let accepted = Arc::<AtomicUsize>::default();
    let count = accepted.clone();
    let answer = move |session: &Arc<Session>| {
        if session.send(text(7), WhenFull::Wait).is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    };
    let model = start_with(60, 1 << 20, |server| server.stall(true), accepted, answer);
    model.server.send((0..4).map(text));
    let reads = model.spawn(|model| {
        model.server.wait_until_read();
        model.server.stall(false);
    });
    model.log.wait_for(Told::Message(text(3)), 1);
    model.session.close(Reason::ClientDisconnect);
    model.finish([reads]);
}

/// The transport writes only a part of each direct write, and the rest later.
pub(super) fn halved_writes() {
    let model = start(1 << 20, 1 << 20, Server::halve);
    let threads = vec![
        model.spawn(|model| (0..2).for_each(|number| model.send(number, WhenFull::Wait))),
        model.spawn(|model| model.send(2, WhenFull::Fail)),
        model.spawn(|model| model.server.send([Packet::Ping("x".into()), text(0)])),
    ];
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
    model.session.close(Reason::ClientDisconnect);
    let session = model.session.clone();
    model.finish([]);
    assert_eq!(session.unsent(), 0);
}

/// A successful flush has written the messages that its thread sent before, whatever other threads send.
pub(super) fn flush() {
    let model = start(100, 1 << 20, |_| {});
    let flusher = model.spawn(|model| {
        let accepted = model.send_packet(text(100), WhenFull::Wait);
        if model.session.flush(Duration::from_secs(1)).is_ok() && accepted {
            assert!(model.server.has(&text(100)), "flushed and not written");
        }
    });
    let sender = model.spawn(|model| (0..3).for_each(|number| model.send(number, WhenFull::Wait)));
    let end = model.spawn(|model| match below(2) {
        0 => model.session.close(Reason::ClientDisconnect),
        _ => model.session.abort(Reason::ClientDisconnect),
    });
    model.finish([flusher, sender, end]);
}

/// Writes fail at some point, and the server's last words follow.
pub(super) fn broken_writes() {
    let model = start(100, 100, |_| {});
    let threads = vec![
        model.spawn(|model| (0..3).for_each(|number| model.send(number, WhenFull::Wait))),
        model.spawn(|model| {
            model.server.send((0..2).map(text));
            model.server.break_writes();
            model.server.send([text(2), Packet::Close]);
        }),
        model.spawn(|model| drop(model.session.flush(Duration::from_secs(1)))),
    ];
    let (log, server) = (model.log.clone(), model.server.clone());
    model.finish(threads);
    let told = log.all();
    assert!(told.contains(&Told::Message(text(2))), "last words are delivered: {told:?}");
    let delivered = told.iter().filter(|told| matches!(told, Told::Message(_))).count();
    assert_eq!(delivered, server.taken(), "what was received is delivered");
}

/// The stand-in receives while a handler waits, and the session ends by a failed write without last words.
/// What the stand-in has received is delivered.
pub(super) fn stand_in_hands() {
    let accepted = Arc::<AtomicUsize>::default();
    let (count, mut first) = (accepted.clone(), true);
    let answer = move |session: &Arc<Session>| {
        if std::mem::take(&mut first) {
            let sent = session.send(text(7), WhenFull::Wait);
            count.fetch_add(usize::from(sent.is_ok()), Ordering::SeqCst);
            let _ = session.flush(Duration::from_secs(1));
        }
    };
    let model = start_with(1 << 20, 1 << 20, |server| server.stall(true), accepted, answer);
    model.server.send([text(0)]);
    let threads = vec![
        model.spawn(|model| model.server.send([text(1)])),
        model.spawn(|model| {
            model.server.stall(false);
            model.server.break_writes_for_good();
            model.send(8, WhenFull::Wait);
        }),
    ];
    let (server, log) = (model.server.clone(), model.log.clone());
    model.finish(threads);
    let told = log.all();
    let delivered = told.iter().filter(|told| matches!(told, Told::Message(_))).count();
    assert_eq!(delivered, server.taken(), "what was received is delivered: {told:?}");
}

/// A close waits for a server that reads only when all of its own messages are received, and a handler waits
/// for the close. Somebody receives all the same.
pub(super) fn close_needs_a_reader() {
    let known = Arc::new(Mutex::new(None::<Server>));
    let server = known.clone();
    let answer = move |_: &Arc<Session>| {
        let server = lock(&known).clone().expect("the model has started");
        server.wait_until_closed();
    };
    let prepare = |stalled: &Server| {
        stalled.stall(true);
        *lock(&server) = Some(stalled.clone());
    };
    let model = start_with(1 << 20, 1 << 20, prepare, Arc::default(), answer);
    model.send(5, WhenFull::Wait);
    let threads = vec![
        model.spawn(|model| {
            model.server.send((0..2).map(text));
            model.server.wait_until_read();
            model.server.stall(false);
        }),
        model.spawn(|model| model.session.close(Reason::ClientDisconnect)),
    ];
    model.finish(threads);
}

/// The first handler begins, for which the watchdog starts, while a sender waits for room, and the server
/// reads only when all of its own messages are received. The handler waits for that, or for the end.
pub(super) fn late_watchdog() {
    let known = Arc::new(Mutex::new(None::<Server>));
    let server = known.clone();
    let answer = move |_: &Arc<Session>| {
        let server = lock(&known).clone().expect("the model has started");
        server.wait_until_read();
    };
    let prepare = |stalled: &Server| {
        stalled.stall(true);
        *lock(&server) = Some(stalled.clone());
    };
    let model = start_with(60, 1 << 20, prepare, Arc::default(), answer);
    let mut threads = vec![
        model.spawn(|model| (0..3).for_each(|number| model.send(number, WhenFull::Wait))),
        model.spawn(|model| {
            model.server.send((0..2).map(text));
            model.server.wait_until_read();
            model.server.stall(false);
        }),
    ];
    if below(2) == 0 {
        threads.push(model.spawn(|model| model.session.abort(Reason::ClientDisconnect)));
    } else {
        threads.drain(..).for_each(|thread| thread.join().expect("no thread panics"));
        model.session.close_by_waiter(Reason::ClientDisconnect);
    }
    model.finish(threads);
}

/// A thread that waits for the end writes the close itself, with no watchdog at work, while another thread
/// sends, the server ends the connection, or a third one aborts.
pub(super) fn close_by_waiter() {
    let model = start(1 << 20, 1 << 20, |server| server.stall(true));
    let other = model.spawn(|model| match below(4) {
        0 => model.session.abort(Reason::ClientDisconnect),
        1 => model.server.fail(TransportError::Failed(Error::connection("broken"))),
        2 => model.session.close(Reason::ClientDisconnect),
        _ => model.send(0, WhenFull::Wait),
    });
    let reads = model.spawn(|model| model.server.stall(false));
    model.session.close_by_waiter(Reason::ClientDisconnect);
    model.finish([other, reads]);
}

/// A message that is larger than the outbox gets its turn although other threads go on sending, and ahead of
/// the messages of senders that come after it.
pub(super) fn room_in_line() {
    let model = start(100, 1 << 20, |server| server.stall(true));
    model.send(0, WhenFull::Wait);
    let big = Packet::Text("x".repeat(200));
    let sent = big.clone();
    let first = model.spawn(|model| assert!(model.send_packet(sent, WhenFull::Wait)));
    while !model.session.is_waited_for() {
        thread::yield_now();
    }
    let others =
        [(); 2].map(|()| model.spawn(|model| (1..3).for_each(|number| model.send(number, WhenFull::Wait))));
    model.server.stall(false);
    [first].into_iter().chain(others).for_each(|thread| thread.join().expect("no thread panics"));
    model.session.flush(Duration::from_secs(1)).expect("it is open");
    let written = model.server.written();
    assert_eq!(written[..2], [text(0), big], "the first in line is the first to be written");
    model.session.close(Reason::ClientDisconnect);
    model.finish([]);
}

/// Threads send groups and single messages by all ways into the outbox, and no message comes between those of
/// a group.
pub(super) fn groups_stay_together() {
    let limit = if below(2) == 0 { 100 } else { 1 << 20 };
    let model = start(limit, 1 << 20, |server| {
        if below(2) == 0 {
            server.halve();
        }
    });
    let threads = vec![
        model.spawn(|model| assert!(model.send_group(10, WhenFull::Wait))),
        model.spawn(|model| assert!(model.send_group(20, WhenFull::Wait))),
        model.spawn(|model| (0..2).for_each(|number| model.send(number, WhenFull::Wait))),
        model.spawn(|model| model.server.send([Packet::Ping("x".into()), text(0)])),
    ];
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
    model.session.flush(Duration::from_secs(1)).expect("it is open");
    let written = model.server.written();
    let messages: Vec<_> = written.into_iter().filter(Packet::is_message).collect();
    for group in [10, 20] {
        let first = messages.iter().position(|packet| *packet == text(group)).expect("it is written");
        assert_eq!(messages[first + 1], text(group), "{messages:?}");
    }
    model.session.close(Reason::ClientDisconnect);
    model.finish([]);
}

/// A refused group is not written, not even in part, and an accepted one is counted as a whole, although the
/// outbox is nearly full and the session ends at some point.
pub(super) fn all_or_nothing() {
    let model = start(150, 1 << 20, |_| {});
    let refused = Arc::new(Mutex::new(Vec::new()));
    let mut threads: Vec<_> = [(10, WhenFull::Fail), (20, WhenFull::Wait), (30, WhenFull::Fail)]
        .map(|(number, when_full)| {
            let refused = refused.clone();
            model.spawn(move |model| {
                if !model.send_group(number, when_full) {
                    lock(&refused).push(number);
                }
            })
        })
        .into();
    threads.push(model.spawn(|model| match below(3) {
        0 => model.session.abort(Reason::ClientDisconnect),
        1 => model.server.break_writes(),
        _ => model.session.close(Reason::ClientDisconnect),
    }));
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
    model.session.abort(Reason::ClientDisconnect);
    for number in lock(&refused).iter() {
        assert!(!model.server.has(&text(*number)), "refused and written");
    }
    model.finish([]);
}

/// Two threads perform random operations, and a third one closes.
pub(super) fn free_for_all() {
    let accepted = Arc::<AtomicUsize>::default();
    let count = accepted.clone();
    let answer = move |session: &Arc<Session>| {
        if below(2) == 0 && session.send(text(9), WhenFull::Fail).is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    };
    let limits = [100, 1 << 20];
    let limit = |_| limits[below(2) as usize];
    let model = start_with(limit(()), limit(()), |_| {}, accepted, answer);
    let server_sends = Arc::new(Mutex::new(0_usize));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let server_sends = server_sends.clone();
            model.spawn(move |model| (0..3).for_each(|_| operate(&model, &server_sends)))
        })
        .collect();
    let closer = model.spawn(|model| model.session.close(Reason::ClientDisconnect));
    model.finish(threads.into_iter().chain([closer]));
}

fn operate(model: &Model, server_sends: &Mutex<usize>) {
    let session = &model.session;
    match below(13) {
        0..3 => model.send(1, WhenFull::Wait),
        3 => model.send(2, WhenFull::Fail),
        4 => drop(session.flush(Duration::from_secs(1))),
        5..8 => {
            let mut next = lock(server_sends);
            model.server.send([text(*next)]);
            *next += 1;
        }
        8 => model.server.send([Packet::Ping("x".into())]),
        9 => session.abort(Reason::Other("abort".into())),
        10 => model.server.send([Packet::Close]),
        11 => drop(model.send_group(3, WhenFull::Wait)),
        _ => model.server.fail(TransportError::Failed(Error::connection("broken"))),
    }
}
