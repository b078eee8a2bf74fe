//! The state that all handles of a client share.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::channels::Subscriptions;
use super::connection::{Connection, Record};
use super::life::{Life, Stage};
use super::slot::Handlers;
use super::{Client, State};
use crate::connect::{Attempt, Memory, Way};
use crate::error::{Error, Result};
use crate::guarded::guarded;
use crate::logger::log;
use crate::message::Message;
use crate::options::Options;
use crate::protocol::Packet;
use crate::session::{Session, Thread, WhenFull, is_thread_of};
use crate::stats::{Counters, Stats};
use crate::sync::{Mutex, MutexGuard, Signal, lock};

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
        Arc::new(Core {
            options,
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

    pub(super) fn send(&self, message: Message, when_full: WhenFull) -> Result<()> {
        let packet = match message {
            Message::Text(text) => Packet::Text(text),
            Message::Binary(bytes) => Packet::Binary(bytes),
            Message::Json(value) => Packet::Text(self.options.json.dumps(&value)?),
        };
        self.session().ok_or(Error::SocketIsClosed)?.send(packet, when_full)
    }
}
