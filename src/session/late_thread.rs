//! Threads of a session that start late.

use std::mem;
use std::sync::Arc;

use super::{Session, Thread};
use crate::sync::{Mutex, lock};
use crate::transport::TransportError;

/// A thread that starts when it is first needed. Starting a thread is the most expensive part of a short
/// connection, so threads that are not needed do not start.
#[derive(Default)]
pub(super) struct LateThread(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    NotStarted,
    Running(Thread),
    /// The thread was joined or never started, and cannot start any more.
    Ended,
}

impl LateThread {
    /// Starts the thread, unless it was started before. If that fails, the session ends.
    pub(super) fn start(&self, session: &Arc<Session>, name: &str, run: fn(&Arc<Session>)) {
        let mut state = lock(&self.0);
        if !matches!(*state, State::NotStarted) {
            return;
        }
        match session.spawn(name, move |session| run(&session)) {
            Ok(thread) => *state = State::Running(thread),
            Err(e) => {
                *state = State::Ended;
                drop(state);
                session.fail(TransportError::Failed(e));
            }
        }
    }

    #[cfg(all(test, not(shuttle)))]
    pub(super) fn is_running(&self) -> bool {
        matches!(*lock(&self.0), State::Running(_))
    }

    /// Joins the thread, which must have been told to end. The thread cannot start after this call.
    pub(super) fn join(&self) {
        let state = mem::replace(&mut *lock(&self.0), State::Ended);
        if let State::Running(thread) = state {
            let _ = thread.join();
        }
    }
}
