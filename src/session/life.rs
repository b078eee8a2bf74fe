//! The end of a session. Only the functions in this file close the outbox, the inbox, the transport and the
//! watchdog.
//!
//! | phase | entered by | sends | receives | delivers |
//! |---|---|---|---|---|
//! | open | the start | messages | yes | yes |
//! | closing | the client | the queued packets, then the close, until a deadline | until the deadline | no |
//! | broken | the thread that cannot write | nothing | until a deadline, for the server's last words | yes |
//! | over | any thread that has a reason | nothing | no | the received messages, unless the client closed |
//! | finished | the reader, as its last step | nothing | no | no |
//!
//! A step does nothing if the session is already in a later phase.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::writer::{self, Closer};
use super::{Ending, Session};
use crate::clock::Moment;
use crate::error::Error;
use crate::event::Reason;
use crate::guarded::{drop_guarded, guarded};
use crate::sync::{Mutex, MutexGuard, Signal, lock, now};
use crate::transport::TransportError;

/// The time for the server's last words when nothing can be written any more. They are already on their way,
/// or come in the answer to a poll.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    Broken,
    Over,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The client closes the connection gracefully.
    Close,
    /// Nothing can be written any more.
    Break,
    /// The connection ends at once, for a reason of any kind.
    End,
    /// All threads but the reader have ended, and the disconnect handler has run.
    Finish,
}

impl Phase {
    /// The phase that follows, as in the table above, or `None` if the step comes too late to change
    /// anything.
    fn after(self, step: Step) -> Option<Phase> {
        match (self, step) {
            (Phase::Open, Step::Close) => Some(Phase::Closing),
            (Phase::Open, Step::Break) => Some(Phase::Broken),
            // The client's close cannot be written any more.
            (Phase::Broken, Step::Close) | (Phase::Closing, Step::Break) => Some(Phase::Over),
            (Phase::Open | Phase::Closing | Phase::Broken, Step::End) => Some(Phase::Over),
            (Phase::Over, Step::Finish) => Some(Phase::Finished),
            _ => None,
        }
    }
}

/// The phase of a session, and the reason for its end.
pub(super) struct Life {
    state: Mutex<LifeState>,
    /// Notified when the session has been torn down, and when it is finished.
    changed: Signal,
}

struct LifeState {
    phase: Phase,
    /// The reason for the end, with its error. The first one stays.
    cause: Option<(Reason, Option<Arc<Error>>)>,
    /// The error that made the connection unwritable.
    broken_by: Option<Arc<Error>>,
    /// Set when `end` has closed everything and has told every thread.
    torn_down: bool,
}

impl Life {
    pub(super) fn new() -> Self {
        let state = LifeState { phase: Phase::Open, cause: None, broken_by: None, torn_down: false };
        Life { state: Mutex::new(state), changed: Signal::default() }
    }
}

impl LifeState {
    fn take(&mut self, step: Step) -> Option<Phase> {
        let next = self.phase.after(step)?;
        self.phase = next;
        Some(next)
    }

    /// Records why the session ends; the first reason stays. The error of a failed write says more than the
    /// read errors that follow from it, but less than a close code or a protocol error of the server.
    /// Returns an error that is not kept: it may hold a value of the user's, and is dropped behind the lock.
    fn claim(&mut self, reason: Reason, error: Option<Error>) -> Option<Arc<Error>> {
        let error = error.map(Arc::new);
        if self.cause.is_some() {
            return error;
        }
        // The connection broke before the client ended it.
        let reason =
            if self.broken_by.is_some() && reason.is_own() { Reason::TransportError } else { reason };
        let said = matches!(error.as_deref(), Some(Error::WebSocketClosed { .. } | Error::Protocol { .. }));
        // A websocket whose server has ended it says that it is closed, and its reader knows why.
        let closed = matches!(self.broken_by.as_deref(), Some(Error::SocketIsClosed)) && error.is_some();
        let first = self.broken_by.clone().filter(|_| reason == Reason::TransportError && !said && !closed);
        let (kept, not_kept) = if first.is_some() { (first, error) } else { (error, None) };
        self.cause = Some((reason, kept));
        not_kept
    }
}

impl Session {
    /// Closes gracefully: no more messages are accepted, the queued ones are written, and then the server is
    /// told. Returns at once, unless the connection is idle and this thread can write the close itself
    /// without waiting. The watchdog ends a close that takes longer than `close_timeout`. If it is receiving
    /// in the reader's place at that time, it ends the session after its current receive, which the server's
    /// ping timeout bounds.
    pub(crate) fn close(self: &Arc<Self>, reason: Reason) {
        self.close_by(reason, Closer::Leaving);
    }

    /// Closes like [`close`](Self::close), for a thread that then waits for the end of the session. On an
    /// idle connection it writes the close itself, even if this takes time, until [`close_deadline`]. Then it
    /// waits, and calls [`end_if_overdue`] at that time.
    ///
    /// [`close_deadline`]: Self::close_deadline
    /// [`end_if_overdue`]: Self::end_if_overdue
    pub(crate) fn close_by_waiter(self: &Arc<Self>, reason: Reason) {
        self.close_by(reason, Closer::Waiting);
    }

    /// Closes like [`close`](Self::close), but leaves the write to the writer thread. For a thread that may
    /// be ending: tungstenite and native-tls use thread-locals, which may be destroyed already.
    pub(crate) fn close_elsewhere(self: &Arc<Self>, reason: Reason) {
        self.close_by(reason, Closer::Ending);
    }

    fn close_by(self: &Arc<Self>, reason: Reason, closer: Closer) {
        if self.begin_close(reason) {
            if closer != Closer::Waiting {
                self.watchdog.start(self);
            }
            // If the write fails, it ends the session by itself.
            let _ = writer::write_close(self, closer);
        }
        self.inbox.mute();
    }

    /// The time at which a session that is closing or broken must be over; `None` in any other phase.
    pub(crate) fn close_deadline(&self) -> Option<Instant> {
        self.inbox.deadline()
    }

    /// Ends the session if its close takes too long.
    pub(crate) fn end_if_overdue(&self) {
        if self.close_deadline().is_some_and(|by| now() >= by) {
            self.end_overdue();
        }
    }

    /// True if the close is to be written now.
    fn begin_close(&self, reason: Reason) -> bool {
        let mut state = lock(&self.life.state);
        match state.take(Step::Close) {
            Some(Phase::Closing) => {
                state.claim(reason, None);
                drop(state);
                // First of all, as the stand-in that is ordered here waits for a handler that begins
                // meanwhile.
                self.inbox.mute();
                self.limit_receiving(self.options.close_timeout);
                true
            }
            // The connection broke before the client closed it, and keeps the reason that it has.
            Some(_) => {
                self.tear_down(state, reason, None);
                false
            }
            None => false,
        }
    }

    /// Receives for that long at the most, and then ends the session.
    fn limit_receiving(&self, time: Duration) {
        let by = now() + time;
        self.inbox.receive_until(by);
        self.watchdog.end_by(by);
    }

    /// Ends the session at once. Queued packets are not written.
    pub(crate) fn abort(&self, reason: Reason) {
        if lock(&self.life.state).phase == Phase::Closing {
            self.count_unconfirmed();
        }
        self.end(reason, None);
        // If the server has ended the session first, its messages are dropped here, as by `close`.
        self.inbox.mute();
    }

    /// Records that nothing can be written any more. If the server may have sent last words, they are still
    /// received, and may become the reason for the end.
    fn break_off(self: &Arc<Self>, error: Error, last_words: bool) {
        let mut state = lock(&self.life.state);
        match state.take(Step::Break) {
            Some(Phase::Broken) => state.broken_by = Some(Arc::new(error)),
            // The close cannot be written any more.
            Some(_) => return self.tear_down(state, Reason::TransportError, Some(error)),
            None => {
                // Behind the lock, as the error may hold a value of the user's.
                drop(state);
                return drop_guarded(error);
            }
        }
        drop(state);
        if !last_words {
            return self.end_as_recorded();
        }
        let unwritten = self.outbox.close();
        self.outbox.freeze();
        self.limit_receiving(LAST_WORDS.min(self.options.close_timeout));
        self.watchdog.start(self);
        unwritten.into_iter().for_each(drop_guarded);
    }

    /// Ends the session because of an error from the transport.
    pub(super) fn fail(self: &Arc<Self>, error: TransportError) {
        match error {
            // A transport that is closed was closed by a thread that ends the session, or by the transport
            // itself after it wrote the close.
            TransportError::Closed => self.end_as_recorded(),
            TransportError::Silent => self.end(Reason::PingTimeout, Some(self.liveness.timeout_error())),
            TransportError::ClosedByServer(error) => {
                let error = self.liveness.version_3_error(Moment::now()).unwrap_or(error);
                self.end(Reason::ServerDisconnect, Some(error));
            }
            TransportError::Failed(error) => self.end(Reason::TransportError, Some(error)),
            TransportError::Unwritable { error, last_words } => self.break_off(error, last_words),
        }
    }

    /// Ends a session that is closing or broken, for the reason that was recorded then.
    pub(super) fn end_as_recorded(&self) {
        self.end(Reason::TransportError, None);
    }

    /// Ends a session that is closing or broken for too long.
    pub(super) fn end_overdue(&self) {
        self.count_unconfirmed();
        self.end_as_recorded();
    }

    /// Counts written messages as unsent that the server's system has not confirmed: if the server still
    /// sends, the end resets the connection, and they are lost.
    fn count_unconfirmed(&self) {
        let unconfirmed = guarded(|| self.transport.unconfirmed()).unwrap_or_default();
        self.outbox.set_unconfirmed(unconfirmed);
    }

    /// Ends the session. Returns when everything is closed, whichever thread has closed it.
    pub(super) fn end(&self, reason: Reason, error: Option<Error>) {
        let mut state = lock(&self.life.state);
        if state.take(Step::End).is_some() {
            self.tear_down(state, reason, error);
        } else {
            // This wait is short: the thread that tears down waits for nothing.
            drop(self.life.changed.wait_while(state, None, |state| !state.torn_down));
        }
    }

    /// Closes everything, for the thread that has entered `Phase::Over`.
    fn tear_down(&self, mut state: MutexGuard<'_, LifeState>, reason: Reason, error: Option<Error>) {
        let not_kept = state.claim(reason, error);
        let deliver = !state.cause.as_ref().is_some_and(|(reason, _)| reason.is_own());
        drop(state);
        let unwritten = self.outbox.close();
        // A panic must not keep the others from their end.
        let _ = guarded(|| self.transport.close());
        // The count is frozen after the transport is closed, because nothing can be written from then on.
        self.outbox.freeze();
        self.inbox.close(deliver);
        self.watchdog.stop();
        let mut state = lock(&self.life.state);
        state.torn_down = true;
        self.life.changed.notify_all(state);
        // The user's values are dropped last, because their destructors may do anything.
        unwritten.into_iter().for_each(drop_guarded);
        drop_guarded(not_kept);
    }

    /// The number of messages that were accepted but not written. It is final when the session is over.
    pub(crate) fn unsent(&self) -> usize {
        self.outbox.unsent()
    }

    /// True while messages can be sent.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.life.state).phase == Phase::Open
    }

    /// True if the session is broken or over.
    #[cfg(test)]
    pub(super) fn is_over(&self) -> bool {
        matches!(lock(&self.life.state).phase, Phase::Broken | Phase::Over | Phase::Finished)
    }

    /// Why and how the session ended. Call it only when the session is over.
    pub(super) fn ending(&self) -> Ending {
        let cause = lock(&self.life.state).cause.clone();
        let (reason, error) = cause.unwrap_or((Reason::TransportError, None));
        Ending { reason, error, unsent: self.unsent() }
    }

    /// Enters the last phase.
    pub(super) fn finish(&self) {
        let mut state = lock(&self.life.state);
        state.take(Step::Finish);
        self.life.changed.notify_all(state);
    }

    /// Waits until the session is finished. Returns false at the deadline.
    #[cfg(test)]
    pub(super) fn wait_finished(&self, deadline: Option<Instant>) -> bool {
        let unfinished = |state: &LifeState| state.phase != Phase::Finished;
        self.life.changed.wait_while(lock(&self.life.state), deadline, unfinished).phase == Phase::Finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_steps() {
        use Phase::*;
        let table = [
            // From        close           break           end          finish
            (Open, [Some(Closing), Some(Broken), Some(Over), None]),
            (Closing, [None, Some(Over), Some(Over), None]),
            (Broken, [Some(Over), None, Some(Over), None]),
            (Over, [None, None, None, Some(Finished)]),
            (Finished, [None; 4]),
        ];
        for (phase, expected) in table {
            let steps = [Step::Close, Step::Break, Step::End, Step::Finish];
            assert_eq!(steps.map(|step| phase.after(step)), expected, "{phase:?}");
        }
    }

    /// The error that the session reports if a write has failed first, and a read fails with `reading` after
    /// it.
    fn told(writing: Error, reading: Error) -> String {
        let broken_by = Some(Arc::new(writing));
        let mut state = LifeState { phase: Phase::Broken, cause: None, broken_by, torn_down: false };
        state.claim(Reason::TransportError, Some(reading));
        state.claim(Reason::PingTimeout, None);
        let (reason, error) = state.cause.unwrap();
        assert_eq!(reason, Reason::TransportError, "the first reason stays");
        error.unwrap().to_string()
    }

    #[test]
    fn the_error_that_tells_most_is_told() {
        let writing = || Error::connection("writing");
        assert_eq!(told(writing(), Error::connection("reading")), "writing");
        assert!(told(writing(), Error::protocol("said")).contains("said"));
        assert_eq!(told(Error::SocketIsClosed, Error::connection("reading")), "reading");
    }
}
