//! The record of a connection: its state and its result, for the calls that wait for it or ask about it.

use std::sync::Arc;
use std::time::Instant;

use super::channels::Hold;
use super::slot::Failure;
use crate::error::Error;
use crate::session::Session;
use crate::sync::{Mutex, Signal, lock};

/// The current connection of a client.
pub(super) struct Connection {
    pub(super) session: Arc<Session>,
    pub(super) record: Arc<Record>,
}

/// The state and the result of a connection. The record outlives the connection: the client keeps that of its
/// last one. Calls that wait for a connection or count its messages use its record.
#[derive(Default)]
pub(super) struct Record {
    state: Mutex<RecordState>,
    changed: Signal,
    /// The permission to wait for room in event channels.
    pub(super) hold: Hold,
}

#[derive(Default)]
struct RecordState {
    /// The result of the connect handler, once it has run.
    opened: Option<Result<(), Failure>>,
    error: Option<Arc<Error>>,
    /// The number of messages that were accepted but not written. It is set when the connection is over.
    unsent: usize,
    /// Set when `disconnect` has returned the number of unsent messages.
    told: bool,
    /// Set when the disconnect handler has run, and all threads but the reader have ended.
    handled: bool,
    /// Set when the reader thread has done all its work.
    finished: bool,
}

impl Record {
    fn change(&self, change: impl FnOnce(&mut RecordState)) {
        let mut state = lock(&self.state);
        change(&mut state);
        self.changed.notify_all(state);
    }

    pub(super) fn error(&self) -> Option<Arc<Error>> {
        lock(&self.state).error.clone()
    }

    pub(super) fn unsent(&self) -> usize {
        lock(&self.state).unsent
    }

    /// True if `disconnect` has returned the number of unsent messages.
    pub(super) fn is_told(&self) -> bool {
        lock(&self.state).told
    }

    pub(super) fn set_told(&self) {
        lock(&self.state).told = true;
    }

    /// Waits for the result of the connect handler, without a time limit. Returns `None` if the reader has
    /// ended without a result.
    pub(super) fn wait_opened(&self) -> Option<Result<(), Failure>> {
        let unopened = |state: &RecordState| state.opened.is_none() && !state.finished;
        self.changed.wait_while(lock(&self.state), None, unopened).opened.clone()
    }

    /// Waits until the disconnect handler has run. Returns false at the deadline.
    pub(super) fn wait_handled(&self, deadline: Option<Instant>) -> bool {
        let unhandled = |state: &RecordState| !state.handled && !state.finished;
        !unhandled(&self.changed.wait_while(lock(&self.state), deadline, unhandled))
    }

    /// Records the result of the connect handler.
    pub(super) fn open(&self, result: Result<(), Failure>) {
        self.change(|state| state.opened = Some(result));
    }

    /// Records the result of the connection, before its disconnect handler runs. Nobody waits for this step.
    pub(super) fn end(&self, error: Option<Arc<Error>>, unsent: usize) {
        let mut state = lock(&self.state);
        (state.error, state.unsent) = (error, unsent);
    }

    pub(super) fn set_handled(&self) {
        self.change(|state| state.handled = true);
    }

    pub(super) fn finish(&self) {
        self.change(|state| state.finished = true);
    }
}
