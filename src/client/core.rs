//! What the handles of a client share: its state between connections, and the way from one to the next.

mod disconnect;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::world::ClientWorld;
use super::{Client, State};
use crate::builder::{ConnectOptions, Options};
use crate::connect::{Attempt, Connected, Plan};
use crate::error::{Error, Result};
use crate::event::{Handlers, Reason};
use crate::events::{Hold, Released, Subscriptions};
use crate::guarded::guarded;
use crate::json::Json;
use crate::logger::log;
use crate::message::Message;
use crate::protocol::Packet;
use crate::reconnection::Reconnection;
use crate::session::{Session, SessionOptions, WhenFull, is_reader_of};
use crate::stats::{Counters, Stats};
use crate::sync::{Signal, lock};

/// Counts the user's handles.
pub(super) struct Handle(Arc<Core>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

pub(super) struct Core {
    pub(super) options: Options,
    pub(super) handlers: Handlers,
    pub(super) subscriptions: Subscriptions,
    pub(super) counters: Arc<Counters>,
    /// Taken after `handle` where both are, and before an attempt's. Not held while the session's locks are taken, nor
    /// while anything waits but on `changed`.
    life: Mutex<Life>,
    /// `life.state`, `life.readers` or `life.epoch` changed.
    changed: Signal,
    /// The user's handles, if there are any.
    handle: Mutex<Weak<Handle>>,
}

/// Where the client is between connections.
struct Life {
    state: State,
    /// Present while `Connected` or `Disconnecting`.
    session: Option<Arc<Session>>,
    /// Present while `Connecting`.
    attempt: Option<Arc<Attempt>>,
    /// Connections whose reader has not finished: more than one when a disconnect handler has connected again.
    readers: usize,
    /// The last handle was dropped.
    abandoned: bool,
    /// Counts what the user decides: to connect, once that succeeds, to disconnect, to drop the last handle. What the
    /// client does by itself, reconnecting, ends when that changes.
    epoch: u64,
    /// Threads that are about to connect again by the policy.
    reconnecting: usize,
    /// That of the connections since the last disconnect.
    hold: Hold,
    last_error: Option<Arc<Error>>,
    /// Messages that the last connection accepted and did not write.
    unsent: usize,
}

impl Life {
    fn check_disconnected(&self) -> Result<()> {
        if self.state == State::Disconnected { Ok(()) } else { Err(Error::AlreadyConnected) }
    }
}

impl Core {
    pub(super) fn new(options: Options) -> Arc<Self> {
        Arc::new(Core {
            options,
            handlers: Handlers::new(),
            subscriptions: Subscriptions::default(),
            counters: Arc::default(),
            life: Mutex::new(Life {
                state: State::Disconnected,
                session: None,
                attempt: None,
                readers: 0,
                abandoned: false,
                epoch: 0,
                reconnecting: 0,
                hold: Hold::default(),
                last_error: None,
                unsent: 0,
            }),
            changed: Signal::default(),
            handle: Mutex::default(),
        })
    }

    /// A handle that keeps the client alive.
    pub(super) fn handle(self: &Arc<Self>) -> Client {
        let mut current = lock(&self.handle);
        let handle = current.upgrade().unwrap_or_else(|| {
            let handle = Arc::new(Handle(self.clone()));
            *current = Arc::downgrade(&handle);
            lock(&self.life).abandoned = false;
            handle
        });
        Client { core: self.clone(), handle: Some(handle) }
    }

    /// The handle that handlers are given.
    fn uncounted(self: &Arc<Self>) -> Client {
        Client { core: self.clone(), handle: None }
    }

    /// Names this client among all that are alive.
    fn id(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self) as usize
    }

    pub(super) fn state(&self) -> State {
        let (state, session) = {
            let life = lock(&self.life);
            (life.state, life.session.clone())
        };
        match session {
            // What came before the end is still with the handlers.
            Some(session) if session.is_over() => State::Disconnecting,
            _ => state,
        }
    }

    pub(super) fn last_error(&self) -> Option<Arc<Error>> {
        lock(&self.life).last_error.clone()
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats {
            sent: self.counters.sent.read(),
            received: self.counters.received.read(),
            unsent: self.counters.unsent.load(Ordering::Relaxed),
            reconnections: self.counters.reconnections.load(Ordering::Relaxed),
            ..Stats::default()
        };
        if let Some(session) = self.session() {
            session.fill(&mut stats);
        }
        stats
    }

    pub(super) fn json(&self) -> &Json {
        &self.options.json
    }

    pub(super) fn session(&self) -> Option<Arc<Session>> {
        lock(&self.life).session.clone()
    }

    pub(super) fn connect(self: &Arc<Self>, url: &str, options: &ConnectOptions) -> Result<()> {
        let plan = Arc::new(Plan::new(url, options, &self.options)?);
        self.watch_for_sigint();
        let connected = self.connect_by(&plan);
        if connected.is_err() {
            self.stay_if_ending();
        }
        connected
    }

    fn connect_by(self: &Arc<Self>, plan: &Arc<Plan>) -> Result<()> {
        let retries = self.options.reconnection.as_ref().is_some_and(Reconnection::retries_first_connect);
        if !retries {
            return self.attempt(plan, None);
        }
        let epoch = self.begin_epoch()?;
        let first = match self.attempt(plan, Some(epoch)) {
            Err(e) => e,
            connected => return connected,
        };
        match self.connect_again(plan, epoch) {
            Some(connected) => connected.map_err(|last| last.unwrap_or(first)),
            None => Err(first),
        }
    }

    #[cfg(all(feature = "sigint", unix))]
    fn watch_for_sigint(self: &Arc<Self>) {
        if self.options.handle_sigint {
            if let Err(e) = super::sigint::watch(self) {
                log!(self.options.logger, Warn, "Ctrl-C will not disconnect: {e}");
            }
        }
    }

    /// For whoever has waited: Ctrl-C ends the process by the signal, and not by what would follow here.
    #[cfg(all(feature = "sigint", unix))]
    fn stay_if_ending(self: &Arc<Self>) {
        if !is_reader_of(self.id()) {
            super::sigint::stay();
        }
    }

    #[cfg(not(all(feature = "sigint", unix)))]
    fn watch_for_sigint(&self) {}

    #[cfg(not(all(feature = "sigint", unix)))]
    fn stay_if_ending(&self) {}

    #[cfg(all(feature = "sigint", unix))]
    pub(super) fn request_timeout(&self) -> Duration {
        self.options.request_timeout
    }

    /// Connects again by the policy, if there is one, until the user decides otherwise.
    pub(super) fn connect_again(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        epoch: u64,
    ) -> Option<Result<(), Option<Error>>> {
        let policy = self.options.reconnection.as_ref()?;
        lock(&self.life).reconnecting += 1;
        let connected = policy.run(
            || self.is_in(epoch),
            |pause| self.sleep_in(epoch, pause),
            || self.attempt(plan, Some(epoch)),
            |event| log!(self.options.logger, Info, "{event}"),
        );
        lock(&self.life).reconnecting -= 1;
        Some(connected)
    }

    /// Whether the user has decided nothing since.
    pub(super) fn is_in(&self, epoch: u64) -> bool {
        lock(&self.life).epoch == epoch
    }

    pub(super) fn is_reconnecting(&self) -> bool {
        lock(&self.life).reconnecting > 0
    }

    /// False as soon as the epoch is over. An attempt that the user makes meanwhile is waited for: it may be the end of
    /// the epoch, or fail.
    fn sleep_in(&self, epoch: u64, pause: Duration) -> bool {
        let deadline = Instant::now().checked_add(pause);
        let mut life = lock(&self.life);
        loop {
            let connecting = life.state == State::Connecting;
            let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if life.epoch != epoch || (over && !connecting) {
                return life.epoch == epoch;
            }
            life = self.changed.wait_until(life, deadline.filter(|_| !connecting));
        }
    }

    /// What the client did by itself so far ends.
    fn begin_epoch(&self) -> Result<u64> {
        let mut life = lock(&self.life);
        life.check_disconnected()?;
        life.epoch += 1;
        let epoch = life.epoch;
        self.changed.notify_all(life);
        Ok(epoch)
    }

    /// Starts an attempt: the user's, or one that belongs to an epoch.
    fn begin(&self, epoch: Option<u64>) -> Result<Arc<Attempt>> {
        let mut life = lock(&self.life);
        if life.abandoned {
            return Err(Error::connection("every handle of the client was dropped"));
        }
        if epoch.is_some_and(|epoch| epoch != life.epoch) {
            return Err(Attempt::cancelled_error());
        }
        life.check_disconnected()?;
        life.state = State::Connecting;
        let attempt = Arc::new(Attempt::default());
        life.attempt = Some(attempt.clone());
        self.changed.notify_all(life);
        Ok(attempt)
    }

    fn attempt(self: &Arc<Self>, plan: &Arc<Plan>, epoch: Option<u64>) -> Result<()> {
        let attempt = &self.begin(epoch)?;
        // An agent's middleware runs here.
        let connected = guarded(|| plan.connect(attempt))
            .unwrap_or_else(|panic| Err(Error::connection(format!("connecting {panic}"))));
        let started =
            connected.and_then(|connected| self.start(attempt, self.session_of(connected), plan, epoch));
        if started.is_err() {
            let mut life = lock(&self.life);
            // Once the session was there the state is its to set, and another attempt may have begun since.
            if life.attempt.as_ref().is_some_and(|current| Arc::ptr_eq(current, attempt)) {
                life.attempt = None;
                life.state = State::Disconnected;
            }
            self.changed.notify_all(life);
        }
        started
    }

    fn session_of(&self, connected: Connected) -> Arc<Session> {
        let options = SessionOptions {
            outbox_limit: self.options.outbox_limit,
            inbox_limit: self.options.inbox_limit,
            // The rest is for the threads to end before `disconnect` is over.
            close_timeout: self.options.request_timeout * 4 / 5,
            counters: self.counters.clone(),
            logger: self.options.logger.clone(),
        };
        let Connected { transport, handshake, early } = connected;
        Session::new(transport, handshake, early, options)
    }

    /// Starts the session as the client's, and waits until its connect handler has run.
    fn start(
        self: &Arc<Self>,
        attempt: &Attempt,
        session: Arc<Session>,
        plan: &Arc<Plan>,
        epoch: Option<u64>,
    ) -> Result<()> {
        let (released, epoch) = self.adopt(attempt, &session, epoch)?;
        let (outcome, connected) = bounded(1);
        let world = ClientWorld {
            core: self.clone(),
            client: self.uncounted(),
            plan: plan.clone(),
            epoch,
            outcome: Some(outcome),
            released,
            refused: false,
            ending: None,
            turn: None,
        };
        if let Err(e) = session.start(Box::new(world), self.id()) {
            self.ended(None);
            return Err(e);
        }
        let kind = session.transport_kind();
        log!(self.options.logger, Info, "connected by {kind}");
        // Who has the id can take the session over.
        log!(self.options.logger, Debug, "the session is {}", session.handshake().sid());
        // As long as the connect handler takes.
        match connected.recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => {
                session.wait_finished(Instant::now().checked_add(self.options.request_timeout));
                Err(Error::ConnectHandler { message })
            }
            Err(_) => Err(Error::connection("the reader thread has ended")),
        }
    }

    /// Makes the session the client's, unless the attempt was cancelled: what ends the wait for room in its event
    /// channels, and its epoch.
    fn adopt(
        &self,
        attempt: &Attempt,
        session: &Arc<Session>,
        epoch: Option<u64>,
    ) -> Result<(Released, u64)> {
        let mut life = lock(&self.life);
        if attempt.is_cancelled() {
            drop(life);
            session.abort(Reason::ClientDisconnect);
            return Err(Attempt::cancelled_error());
        }
        life.state = State::Connected;
        life.session = Some(session.clone());
        life.attempt = None;
        life.last_error = None;
        life.unsent = 0;
        life.readers += 1;
        // The user's own connection begins one.
        life.epoch += u64::from(epoch.is_none());
        let adopted = (life.hold.released(), life.epoch);
        self.changed.notify_all(life);
        Ok(adopted)
    }

    pub(super) fn ended(&self, error: Option<Arc<Error>>) {
        let mut life = lock(&self.life);
        life.state = State::Disconnected;
        let session = life.session.take();
        life.last_error = error;
        drop(life);
        drop(session);
        // No notification: who waits, waits for `reader_finished` as well. The disconnect handler comes first, before
        // another thread gets as far as the connect handler of the next connection.
    }

    /// The session that has ended had that many messages which it did not write.
    pub(super) fn left(&self, unsent: usize) {
        self.counters.unsent.fetch_add(unsent as u64, Ordering::Relaxed);
        lock(&self.life).unsent += unsent;
    }

    pub(super) fn reader_finished(&self) {
        let mut life = lock(&self.life);
        life.readers -= 1;
        self.changed.notify_all(life);
    }

    pub(super) fn wait(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        if is_reader_of(self.id()) {
            log!(self.options.logger, Error, "wait was called in a handler: it would wait for itself");
            return false;
        }
        let mut life = lock(&self.life);
        while life.state != State::Disconnected || life.readers > 0 {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            life = self.changed.wait_until(life, deadline);
        }
        drop(life);
        self.stay_if_ending();
        true
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
