//! The state that all handles of a client share.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::channels::{Subscriptions, Turn};
use super::connection::{Connection, Record};
use super::life::{Life, Stage};
use super::slot::{Handlers, HookCaller};
use super::{Client, State};
use crate::connect::{Attempt, Memory, Way};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::guarded::guarded;
use crate::logger::log;
use crate::message::Message;
use crate::observation::PacketObserver;
use crate::options::Options;
use crate::protocol::Packet;
use crate::reconnection::{Reconnection, ReconnectionEvent};
use crate::session::{Session, Thread, WhenFull, is_thread_of};
use crate::stats::{Counters, Stats};
use crate::sync::{Mutex, MutexGuard, Signal, lock};

/// The longest wait for room in an event channel while a call of `connect` goes on. A receiver that is at
/// work takes an event in that time.
const ROOM_DURING_CONNECT: Duration = Duration::from_millis(100);

/// The user's handles together. Its drop is that of the last handle, and closes the connection.
pub(super) struct Handle(Arc<Core>);

impl Drop for Handle {
    fn drop(&mut self) {
        // A panic in a destructor could abort the process, as this thread may be ending.
        let _ = guarded(|| self.0.abandon());
    }
}

pub(super) struct Core {
    pub(super) options: Options,
    pub(super) handlers: Handlers,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) counters: Arc<Counters>,
    pub(super) memory: Memory,
    /// The caller of the user's function for packets, if there is one.
    pub(super) observer: Option<Arc<dyn PacketObserver>>,
    /// The lock order: `handle`, then this. No lock of a record or a session is taken while this one is held.
    pub(super) course: Mutex<Course>,
    /// Notified when the epoch changes, an attempt or a call of `connect` ends, or a connection is finished.
    pub(super) changed: Signal,
    /// The user's handles; dangling if there are none.
    handle: Mutex<Weak<Handle>>,
}

/// The state of a client, from one connection to the next.
pub(super) struct Course {
    pub(super) life: Life<Attempt, Connection>,
    /// The record of the current or the last connection.
    pub(super) last: Option<Arc<Record>>,
    /// The connections whose reader thread is still at work. There can be more than one, because a disconnect
    /// handler may connect again.
    pub(super) unfinished: Vec<Arc<Record>>,
    /// The URL and options of the last `connect` that tried to connect. The policy repeats it.
    pub(super) way: Option<Arc<dyn Way>>,
    /// The reader threads that `wait` joins.
    readers: Vec<Thread>,
    /// The number of threads that join a reader.
    joining: usize,
    /// The number of calls of `connect` that have not returned.
    pub(super) connects: usize,
    /// The number of threads that are about to connect again by the policy.
    pub(super) reconnecting: usize,
}

impl Course {
    /// True while there is a connection or an attempt to make one.
    fn is_at_work(&self) -> bool {
        !self.unfinished.is_empty() || self.connects > 0 || self.life.is_connecting()
    }
}

impl Core {
    pub(super) fn new(options: Options) -> Arc<Self> {
        let observer = options.on_packet.clone().map(|hook| {
            let caller: Arc<dyn PacketObserver> = Arc::new(HookCaller::new(hook, options.logger.clone()));
            caller
        });
        Arc::new(Core {
            options,
            observer,
            handlers: Handlers::new(),
            subscriptions: Arc::default(),
            counters: Arc::default(),
            memory: Memory::default(),
            course: Mutex::new(Course {
                life: Life::new(),
                last: None,
                unfinished: Vec::new(),
                readers: Vec::new(),
                joining: 0,
                way: None,
                connects: 0,
                reconnecting: 0,
            }),
            changed: Signal::default(),
            handle: Mutex::default(),
        })
    }

    /// Makes a handle that keeps the client alive.
    pub(super) fn handle(self: &Arc<Self>) -> Client {
        let mut current = lock(&self.handle);
        let handle = current.upgrade().unwrap_or_else(|| {
            let handle = Arc::new(Handle(self.clone()));
            *current = Arc::downgrade(&handle);
            lock(&self.course).life.set_abandoned(false);
            handle
        });
        Client { core: self.clone(), handle: Some(handle) }
    }

    /// Makes a client that does not count as a handle, to be passed to handlers.
    pub(super) fn uncounted(self: &Arc<Self>) -> Client {
        Client { core: self.clone(), handle: None }
    }

    /// Records that the last handle is gone, and returns the locked state. Returns `None` if a handler has
    /// made a new handle meanwhile.
    pub(super) fn lose_handles(&self) -> Option<MutexGuard<'_, Course>> {
        let current = lock(&self.handle);
        if current.strong_count() > 0 {
            return None;
        }
        let mut course = lock(&self.course);
        course.life.set_abandoned(true);
        Some(course)
    }

    /// A number that identifies this client among all that exist.
    pub(super) fn id(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    pub(super) fn state(&self) -> State {
        let session = match lock(&self.course).life.stage() {
            Stage::Disconnected => return State::Disconnected,
            Stage::Connecting { .. } => return State::Connecting,
            Stage::Disconnecting(_) => return State::Disconnecting,
            Stage::Connected(connection) => connection.session.clone(),
        };
        // The handlers may still have messages that came before the end.
        if session.is_open() { State::Connected } else { State::Disconnecting }
    }

    pub(super) fn last_error(&self) -> Option<Arc<Error>> {
        self.last().and_then(|record| record.error())
    }

    fn last(&self) -> Option<Arc<Record>> {
        lock(&self.course).last.clone()
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats {
            sent: self.counters.sent.read(),
            received: self.counters.received.read(),
            pings: self.counters.pings.load(Relaxed),
            unsent: self.counters.unsent.load(Relaxed),
            reconnections: self.counters.reconnections.load(Relaxed),
            ..Stats::default()
        };
        if let Some(session) = self.session() {
            session.fill(&mut stats);
        }
        stats
    }

    pub(super) fn session(&self) -> Option<Arc<Session>> {
        lock(&self.course).life.connection().map(|connection| connection.session.clone())
    }

    /// Ends a connection: moves the client to `Disconnected`, if the connection is still the current one.
    pub(super) fn end(&self, record: &Arc<Record>, error: Option<Arc<Error>>, unsent: usize) {
        self.counters.unsent.fetch_add(unsent as u64, Relaxed);
        record.end(error, unsent);
        // Nobody waits for this step alone. The last share of the session may be dropped here, behind the
        // lock.
        let lost = lock(&self.course).life.lose(|connection| Arc::ptr_eq(&connection.record, record));
        drop(lost);
    }

    /// Records that the reader thread of a connection has done all its work.
    pub(super) fn finish(&self, record: &Arc<Record>) {
        let mut course = lock(&self.course);
        course.unfinished.retain(|other| !Arc::ptr_eq(other, record));
        self.changed.notify_all(course);
        record.finish();
    }

    /// Waits until there is neither a connection nor an attempt to connect. Returns false at the deadline.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        if is_thread_of(self.id()) {
            log!(self.options.logger, Error, "wait was called in a handler: it would wait for itself");
            return false;
        }
        let mut course = self.changed.wait_while(lock(&self.course), deadline, Course::is_at_work);
        if course.is_at_work() {
            return false;
        }
        // These threads have done all their work, so that the joins are short.
        let readers = std::mem::take(&mut course.readers);
        course.joining += 1;
        drop(course);
        readers.into_iter().for_each(|reader| _ = reader.join());
        let mut course = lock(&self.course);
        course.joining -= 1;
        self.changed.notify_all_held(&course);
        drop(self.changed.wait_while(course, None, |course| course.joining > 0));
        self.stay_if_ending();
        true
    }

    /// Keeps a reader thread for `wait`. A thread that has ended meanwhile is not kept: nobody may wait for
    /// it.
    pub(super) fn keep_for_join(&self, reader: Thread) {
        let mut course = lock(&self.course);
        #[cfg(not(shuttle))]
        course.readers.retain(|reader| !reader.is_finished());
        course.readers.push(reader);
    }

    /// Reports a step of the policy in the log and in the event channels: in the turn of the lost connection.
    /// A policy that repeats a first `connect` has no turn. It hardly waits for room, because the thread that
    /// reads the channel may be the one that connects.
    pub(super) fn report_reconnection(&self, event: &ReconnectionEvent, turn: Option<&Turn>) {
        let logger = &self.options.logger;
        match event {
            // `connect` may repeat its attempt forever, so this line may be the only sign of a mistake.
            ReconnectionEvent::Failed { attempt: 0, .. } if !self.has_policy_observer() => {
                logger.warn_user(format_args!("{event}; the policy connects again"));
            }
            _ => log!(logger, Info, "{event}"),
        }
        if !self.subscriptions.any() {
            return;
        }
        let grace = if event.is_last() { self.options.request_timeout } else { Duration::ZERO };
        let event = Event::Reconnection(event.clone());
        let missed = match turn {
            // `before` does nothing: the connection is over, so no watchdog has to receive during a wait.
            Some(turn) => turn.publish(&event, grace, &mut || {}),
            None => self.subscriptions.announce(&event, ROOM_DURING_CONNECT),
        };
        self.report_missed(missed, &event);
    }

    fn has_policy_observer(&self) -> bool {
        self.options.reconnection.as_ref().is_some_and(Reconnection::has_observer)
    }

    pub(super) fn report_missed(&self, missed: usize, event: &Event) {
        if missed > 0 {
            log!(self.options.logger, Warn, "{missed} full event channel(s) missed {}", event.name());
        }
    }

    pub(super) fn send(&self, message: Message, when_full: WhenFull) -> Result<()> {
        let packet = self.packet(message)?;
        self.session().ok_or(Error::SocketIsClosed)?.send(packet, when_full)
    }

    /// Sends messages with no other message between them, or none of them.
    pub(super) fn send_all(
        &self,
        messages: impl Iterator<Item = Message>,
        when_full: WhenFull,
    ) -> Result<()> {
        // The iterator and the JSON codec are the user's code, so they run before anything is accepted.
        let packets = messages.map(|message| self.packet(message)).collect::<Result<Vec<_>>>()?;
        if packets.is_empty() {
            return Ok(());
        }
        self.session().ok_or(Error::SocketIsClosed)?.send_all(packets, when_full)
    }

    #[inline]
    fn packet(&self, message: Message) -> Result<Packet> {
        Ok(match message {
            Message::Text(text) => Packet::Text(text),
            Message::Binary(bytes) => Packet::Binary(bytes),
            Message::Json(value) => Packet::Text(self.options.json.dumps(&value)?),
        })
    }
}
