//! How a session ends. This is the only file that closes the outbox, the inbox, the transport and the watchdog.
//!
//! | phase | who takes the step | sends | receives | delivers |
//! |---|---|---|---|---|
//! | open | start | messages | yes | yes |
//! | closing | the client | what is queued, then the close, until a deadline | until the deadline | no |
//! | broken | whoever cannot write | nothing | until a deadline, for the server's last words | yes |
//! | over | whoever has a reason or meets the deadline | nothing | no | what has come, unless the client closed |
//! | finished | the reader, last | nothing | no | no |
//!
//! A step that a later phase has overtaken changes nothing.

use std::sync::Arc;
use std::time::Duration;

use super::{Ending, Session, writer};
use crate::error::Error;
use crate::event::Reason;
use crate::guarded::drop_guarded;
use crate::sync::{Mutex, Signal, lock, now};
use crate::transport::TransportError;

/// The time for the server's last words when nothing can be written any more. They are on their way already, or in the
/// answer to a poll.
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
    /// The client ends the connection in order.
    Close,
    /// Nothing can be written any more.
    Break,
    /// There is a reason to end the connection at once.
    End,
    /// All threads but the reader have ended, and the disconnect handler has run.
    Finish,
}

impl Phase {
    /// The table of this file: the phase that follows, or `None` if the step comes too late to change anything.
    fn after(self, step: Step) -> Option<Phase> {
        match (self, step) {
            (Phase::Open, Step::Close) => Some(Phase::Closing),
            (Phase::Open, Step::Break) => Some(Phase::Broken),
            // The server cannot be told that the client closes.
            (Phase::Broken, Step::Close) | (Phase::Closing, Step::Break) => Some(Phase::Over),
            (Phase::Open | Phase::Closing | Phase::Broken, Step::End) => Some(Phase::Over),
            (Phase::Over, Step::Finish) => Some(Phase::Finished),
            _ => None,
        }
    }
}

/// The phase of a session, and why it ended.
pub(super) struct Life {
    state: Mutex<LifeState>,
    /// Notified when the session is torn down, and when it is finished.
    changed: Signal,
}

struct LifeState {
    phase: Phase,
    /// The first reason to end the connection.
    cause: Option<(Reason, Option<Arc<Error>>)>,
    /// The error that made the connection unwritable.
    broken_by: Option<Arc<Error>>,
    /// Everything is closed, and every thread has been told.
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

    /// Keeps the first reason. The error of a failed write tells more than the failures that followed from it, but not
    /// more than what the server has said.
    fn claim(&mut self, reason: Reason, error: Option<Error>) {
        if self.cause.is_none() {
            let said = matches!(error, Some(Error::WebSocketClosed { .. } | Error::Protocol { .. }));
            let first = self.broken_by.clone().filter(|_| reason == Reason::TransportError && !said);
            self.cause = Some((reason, first.or(error.map(Arc::new))));
        }
    }
}

impl Session {
    /// Closes in order: no more messages are accepted, the queued ones are written, then the server is told. Returns
    /// at once, unless the connection is idle and `close` writes itself. The watchdog or the reader ends what takes
    /// longer than the close timeout; a stand-in reader does when it has next received something, which a silent
    /// server's ping timeout bounds.
    pub(crate) fn close(self: &Arc<Self>, reason: Reason) {
        self.close_by(reason, true);
    }

    /// As [`close`](Self::close), for a thread that may be ending: the writer thread writes the close, as tungstenite
    /// and native-tls use thread-locals, which may be gone.
    pub(crate) fn close_elsewhere(self: &Arc<Self>, reason: Reason) {
        self.close_by(reason, false);
    }

    fn close_by(self: &Arc<Self>, reason: Reason, directly: bool) {
        if self.begin_close(reason) {
            // A failed write ends the session by itself.
            let _ = writer::write(self, self.outbox.finish(directly));
        }
        self.inbox.mute();
    }

    fn begin_close(&self, reason: Reason) -> bool {
        let next = {
            let mut state = lock(&self.life.state);
            let next = state.phase.after(Step::Close);
            if next == Some(Phase::Closing) {
                state.claim(reason.clone(), None);
                state.phase = Phase::Closing;
            }
            next
        };
        match next {
            Some(Phase::Closing) => {
                let by = now() + self.options.close_timeout;
                self.inbox.receive_until(by);
                self.watchdog.end_by(by);
                true
            }
            // The connection broke before the client closed it, and keeps that reason.
            Some(_) => {
                self.end_late();
                false
            }
            None => false,
        }
    }

    /// Ends the session at once, without writing what is queued.
    pub(crate) fn abort(&self, reason: Reason) {
        self.end(reason, None);
        // The server may have ended it first: what it has sent is dropped, as by `close`.
        self.inbox.mute();
    }

    /// Nothing can be written any more. The server's last words, if there may be any, are still received, and may be
    /// the reason.
    pub(super) fn break_off(&self, error: Error, last_words: bool) {
        let next = {
            let mut state = lock(&self.life.state);
            let next = state.phase.after(Step::Break);
            if next == Some(Phase::Broken) {
                state.broken_by = Some(Arc::new(error));
                state.phase = Phase::Broken;
            }
            next
        };
        if next == Some(Phase::Broken) && last_words {
            self.outbox.close().into_iter().for_each(drop_guarded);
            self.outbox.freeze();
            let by = now() + LAST_WORDS.min(self.options.close_timeout);
            self.inbox.receive_until(by);
            self.watchdog.end_by(by);
        } else {
            self.end_late();
        }
    }

    /// Ends the session for what the transport met.
    pub(super) fn fail(&self, error: TransportError) {
        match error {
            // The transport is closed by whoever ends the session, and by itself behind the close.
            TransportError::Closed => self.end_late(),
            TransportError::Silent => self.end(Reason::PingTimeout, Some(self.liveness.timeout_error())),
            TransportError::ClosedByServer(error) => self.end(Reason::ServerDisconnect, Some(error)),
            TransportError::Failed(error) => self.end(Reason::TransportError, Some(error)),
            TransportError::Unwritable { error, last_words } => self.break_off(error, last_words),
        }
    }

    /// Ends a session that is closing or broken for the reason that it has.
    pub(super) fn end_late(&self) {
        self.end(Reason::TransportError, None);
    }

    /// The one place where a session ends. Returns when everything is closed, whichever thread does it.
    pub(super) fn end(&self, reason: Reason, error: Option<Error>) {
        let deliver = {
            let mut state = lock(&self.life.state);
            if state.take(Step::End).is_none() {
                // Nothing is waited for in a tear-down.
                drop(self.life.changed.wait_while(state, None, |state| !state.torn_down));
                return;
            }
            state.claim(reason, error);
            !state.cause.as_ref().is_some_and(|(reason, _)| reason.is_own())
        };
        let unwritten = self.outbox.close();
        self.transport.close();
        // Behind the transport's end, when no more can have been written.
        self.outbox.freeze();
        self.inbox.close(deliver);
        self.watchdog.stop();
        let mut state = lock(&self.life.state);
        state.torn_down = true;
        self.life.changed.notify_all(state);
        // The drop of a user's value may do anything, and so comes last.
        unwritten.into_iter().for_each(drop_guarded);
    }

    /// The number of messages that were accepted and not written. It is final when the session is over.
    pub(crate) fn unsent(&self) -> usize {
        self.outbox.unsent()
    }

    /// True if nothing can be sent any more, and the client has not asked for that.
    pub(crate) fn is_over(&self) -> bool {
        matches!(lock(&self.life.state).phase, Phase::Broken | Phase::Over | Phase::Finished)
    }

    /// Why and how a session that is over has ended.
    pub(super) fn ending(&self) -> Ending {
        let cause = lock(&self.life.state).cause.clone();
        let (reason, error) = cause.unwrap_or((Reason::TransportError, None));
        Ending { reason, error, unsent: self.unsent() }
    }

    pub(super) fn finish(&self) {
        let mut state = lock(&self.life.state);
        state.take(Step::Finish);
        self.life.changed.notify_all(state);
    }

    /// Waits until the session is finished; false after the deadline.
    #[cfg(test)]
    pub(super) fn wait_finished(&self, deadline: Option<std::time::Instant>) -> bool {
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

    /// The error that is told when a write failed, and then reading did.
    fn told(reading: Error) -> String {
        let broken_by = Some(Arc::new(Error::connection("writing")));
        let mut state = LifeState { phase: Phase::Broken, cause: None, broken_by, torn_down: false };
        state.claim(Reason::TransportError, Some(reading));
        state.claim(Reason::PingTimeout, None);
        let (reason, error) = state.cause.unwrap();
        assert_eq!(reason, Reason::TransportError, "the first reason stays");
        error.unwrap().to_string()
    }

    #[test]
    fn the_error_that_tells_most_is_told() {
        assert_eq!(told(Error::connection("reading")), "writing");
        assert!(told(Error::protocol("said")).contains("said"));
    }
}
