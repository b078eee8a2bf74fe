//! The client's attempts to connect: those of the user, and those of the reconnection policy.
//!
//! An epoch is the time between two decisions of the user's, to connect or to disconnect. A reconnection by
//! the policy ends with the epoch in which it began.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::channels::Turn;
use super::connection::{Connection, Record};
use super::core::{Core, Course};
use super::life::Refusal;
use super::listener::ClientListener;
use crate::connect::{Attempt, Connected, Plan, Way};
use crate::error::{Error, Result};
use crate::event::Reason;
use crate::guarded::{drop_guarded, guarded};
use crate::logger::log;
use crate::options::ConnectOptions;
use crate::reconnection::{NextAttempt, Reconnection, ReconnectionEvent};
use crate::session::{Session, SessionOptions, is_thread_of};
use crate::sync::{lock, now};

/// The longest wait of a `connect` for the disconnect handler of the former connection. That handler may
/// itself wait for the thread that connects, or have a long task that a new connection need not wait for.
const HANDLER_GRACE: Duration = Duration::from_secs(1);

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotDisconnected => Error::AlreadyConnected,
            Refusal::Superseded => Error::connection(
                "the attempt was cancelled, because the client has connected or disconnected meanwhile",
            ),
            Refusal::Abandoned => Error::connection("every handle of the client was dropped"),
        }
    }
}

/// Counts a thread that connects again by the policy, until this value is dropped.
struct Reconnecting<'a>(&'a Core);

impl<'a> Reconnecting<'a> {
    fn begin(core: &'a Core) -> Self {
        lock(&core.course).reconnecting += 1;
        Reconnecting(core)
    }
}

impl Drop for Reconnecting<'_> {
    fn drop(&mut self) {
        lock(&self.0.course).reconnecting -= 1;
    }
}

impl Core {
    pub(super) fn connect(self: &Arc<Self>, url: &str, options: &ConnectOptions) -> Result<()> {
        let plan = Plan::new(url, options, &self.options, &self.memory)?;
        self.watch_for_sigint();
        let connected = self.connect_by(Arc::new(plan));
        if connected.is_err() {
            self.stay_if_ending();
        }
        connected
    }

    /// Connects by `way`, and repeats failed attempts if the policy also covers the first connection.
    pub(super) fn connect_by(self: &Arc<Self>, way: Arc<dyn Way>) -> Result<()> {
        let retries = self.options.reconnection.as_ref().is_some_and(Reconnection::retries_first_connect);
        let attempt = Arc::new(Attempt::default());
        let (epoch, former) = {
            let mut course = lock(&self.course);
            let epoch = if retries { Some(course.life.begin_epoch()?) } else { None };
            course.life.begin(attempt.clone(), epoch)?;
            course.way = Some(way.clone());
            course.connects += 1;
            let former = course.last.clone();
            self.changed.notify_all(course);
            (epoch, former)
        };
        self.wait_for_end_of(former);
        let connected = self.connect_in(&attempt, &*way, epoch);
        let mut course = lock(&self.course);
        course.connects -= 1;
        self.changed.notify_all(course);
        connected
    }

    /// Waits for the disconnect handler of the former connection, so that the handlers of two connections run
    /// one after the other. A handler that connects again waits for nothing.
    fn wait_for_end_of(&self, former: Option<Arc<Record>>) {
        let Some(former) = former else { return };
        if !is_thread_of(self.id()) {
            former.wait_handled(now().checked_add(HANDLER_GRACE.min(self.options.request_timeout)));
        }
        drop_guarded(former);
    }

    fn connect_in(self: &Arc<Self>, attempt: &Arc<Attempt>, way: &dyn Way, epoch: Option<u64>) -> Result<()> {
        match (self.run_attempt(attempt, way, epoch), epoch) {
            (Err(first), Some(epoch)) => {
                self.report_first_failure(epoch, &first);
                match self.connect_again(epoch, None) {
                    Some(Err(_)) if !self.is_in(epoch) => Err(self.cancelled(epoch)),
                    Some(connected) => connected.map_err(|last| last.unwrap_or(first)),
                    None => Err(first),
                }
            }
            (connected, _) => connected,
        }
    }

    /// The error of a `connect` whose repetitions the user has ended.
    fn cancelled(&self, epoch: u64) -> Error {
        if self.is_called_off(epoch) { Attempt::cancelled_error() } else { Refusal::Superseded.into() }
    }

    /// Reports why `connect` has failed, before the policy repeats it.
    fn report_first_failure(&self, epoch: u64, error: &Error) {
        if let Some(policy) = self.options.reconnection.as_ref().filter(|_| self.is_in(epoch)) {
            let step = ReconnectionEvent::Failed { attempt: 0, error: Arc::new(error.clone()) };
            policy.tell(&step);
            self.report_reconnection(&step, None);
        }
    }

    /// Connects again by the policy after a connection was lost, unless the user has connected since. If the
    /// user has disconnected since, the policy only reports that it is cancelled. The turn is that of the
    /// lost connection in the event channels.
    pub(super) fn reconnect(self: &Arc<Self>, epoch: u64, turn: Option<&Turn>) {
        if self.is_in(epoch) || self.is_called_off(epoch) {
            // The result has been reported to the policy's observer, in the log and in the event channels.
            if let Some(Ok(())) = self.connect_again(epoch, turn) {
                self.counters.reconnections.fetch_add(1, Relaxed);
            }
        }
    }

    fn is_called_off(&self, epoch: u64) -> bool {
        lock(&self.course).life.is_called_off(epoch)
    }

    /// Makes the attempts of the policy until one succeeds or the epoch is over. Returns `None` if there is
    /// no policy.
    fn connect_again(self: &Arc<Self>, epoch: u64, turn: Option<&Turn>) -> Option<Result<(), Option<Error>>> {
        let policy = self.options.reconnection.as_ref()?;
        let _reconnecting = Reconnecting::begin(self);
        Some(policy.run(
            || self.is_in(epoch),
            |pause| self.sleep_in(epoch, pause),
            |next| self.attempt_again(epoch, next),
            |event| self.report_reconnection(event, turn),
        ))
    }

    /// True if the user has neither connected nor disconnected since that epoch began.
    fn is_in(&self, epoch: u64) -> bool {
        lock(&self.course).life.epoch() == epoch
    }

    pub(super) fn is_reconnecting(&self) -> bool {
        lock(&self.course).reconnecting > 0
    }

    /// Sleeps for `pause`. Returns false as soon as the epoch is over. If the user's own attempt is under way
    /// at the end of the pause, this waits for it: its success ends the epoch, and after its failure the
    /// policy goes on.
    fn sleep_in(&self, epoch: u64, pause: Duration) -> bool {
        let in_epoch = |course: &Course| course.life.epoch() == epoch;
        let course = self.changed.wait_while(lock(&self.course), now().checked_add(pause), in_epoch);
        let connecting = |course: &Course| in_epoch(course) && course.life.is_connecting();
        in_epoch(&self.changed.wait_while(course, None, connecting))
    }

    /// Makes an attempt of the policy: by the way of the last `connect`, unless the user has given another
    /// one for this attempt.
    fn attempt_again(self: &Arc<Self>, epoch: u64, next: NextAttempt) -> Result<()> {
        let given: Option<Arc<dyn Way>> = match next {
            NextAttempt::Connect { url, options } => {
                Some(Arc::new(Plan::new(&url, &options, &self.options, &self.memory)?))
            }
            NextAttempt::Repeat | NextAttempt::Stop => None,
        };
        let attempt = Arc::new(Attempt::default());
        let way = {
            let mut course = lock(&self.course);
            // A policy begins after a `connect`, which has set the way.
            let way = given.or_else(|| course.way.clone()).ok_or(Error::NotConnected)?;
            course.life.begin(attempt.clone(), Some(epoch))?;
            way
        };
        self.run_attempt(&attempt, &*way, Some(epoch))
    }

    /// Connects once, for an attempt that has begun.
    fn run_attempt(
        self: &Arc<Self>,
        attempt: &Arc<Attempt>,
        way: &dyn Way,
        epoch: Option<u64>,
    ) -> Result<()> {
        // A panic is caught because the middleware of the user's HTTP agent runs here.
        let connected = guarded(|| way.connect(attempt))
            .unwrap_or_else(|panic| Err(Error::connection(format!("connecting {panic}"))));
        let started = connected.and_then(|connected| self.start(attempt, connected, epoch));
        if started.is_err() {
            let mut course = lock(&self.course);
            course.life.give_up(attempt);
            self.changed.notify_all(course);
        }
        started
    }

    /// Starts the session, and waits until its connect handler has run.
    fn start(
        self: &Arc<Self>,
        attempt: &Arc<Attempt>,
        connected: Connected,
        epoch: Option<u64>,
    ) -> Result<()> {
        let session = self.session_of(connected);
        let record = Arc::new(Record::default());
        // The user's own attempt returns the error of the connect handler, those of the policy do not.
        let is_returned = epoch.is_none();
        let epoch = self.adopt(attempt, &session, &record, epoch)?;
        let core = self.clone();
        let reconnect = Box::new(move |turn: Option<&Turn>| core.reconnect(epoch, turn));
        let mut listener =
            ClientListener::new(self.clone(), self.uncounted(), record.clone(), reconnect, is_returned);
        listener.open_without_handler();
        log!(self.options.logger, Info, "connected by {}", session.transport_kind());
        // The session id is enough to take the session over, so it is only logged at debug.
        log!(self.options.logger, Debug, "the session is {}", session.handshake().sid());
        let reader = session.start(Box::new(listener)).inspect_err(|_| {
            // Other threads may have sent something since the session is the client's.
            self.end(&record, None, session.unsent());
        })?;
        self.keep_for_join(reader);
        match record.wait_opened() {
            Some(Ok(())) => Ok(()),
            Some(Err(failure)) => {
                record.wait_handled(now().checked_add(self.options.request_timeout));
                Err(Error::ConnectHandler { message: failure.to_string() })
            }
            None => Err(Error::connection("the reader thread has ended")),
        }
    }

    fn session_of(&self, connected: Connected) -> Arc<Session> {
        let options = SessionOptions {
            owner: self.id(),
            outbox_limit: self.options.outbox_limit,
            inbox_limit: self.options.inbox_limit,
            // The remaining fifth of `disconnect`'s time is for the session's threads to end.
            close_timeout: self.options.request_timeout * 4 / 5,
            counters: self.counters.clone(),
            logger: self.options.logger.clone(),
            observer: self.observer.clone(),
        };
        let Connected { transport, handshake, early } = connected;
        Session::new(transport, handshake, early, options)
    }

    /// Makes the session the client's current one. Returns its epoch, or an error if the attempt was
    /// cancelled.
    fn adopt(
        &self,
        attempt: &Arc<Attempt>,
        session: &Arc<Session>,
        record: &Arc<Record>,
        epoch: Option<u64>,
    ) -> Result<u64> {
        let connection = Arc::new(Connection { session: session.clone(), record: record.clone() });
        let mut course = lock(&self.course);
        let adopted = course.life.adopt(attempt, connection, epoch);
        let mut former = None;
        if adopted.is_some() {
            former = course.last.replace(record.clone());
            course.unfinished.push(record.clone());
        }
        self.changed.notify_all(course);
        // Behind the lock, as the error in a record may hold a value of the user's.
        drop_guarded(former);
        adopted.ok_or_else(|| {
            session.abort(Reason::ClientDisconnect);
            Attempt::cancelled_error()
        })
    }
}
