//! The ways in which the user ends a connection or an attempt to connect: a call, the drop of the last
//! handle, Ctrl-C.

use std::sync::Arc;
use std::time::Instant;

use super::connection::{Connection, Record};
use super::core::{Core, Course};
use crate::connect::Attempt;
use crate::error::{Error, Result};
use crate::event::Reason;
use crate::logger::log;
use crate::options::Disconnect;
use crate::session::is_thread_of;
use crate::sync::{MutexGuard, lock, now};

/// The connection or attempt that a disconnect ends.
struct Ending {
    /// The connection to close.
    connection: Option<Arc<Connection>>,
    /// The attempt that was cancelled.
    attempt: Option<Arc<Attempt>>,
    /// The record of that connection or, without one, of the last one.
    record: Option<Arc<Record>>,
    /// True if an earlier disconnect has returned the number of unsent messages. Disconnects at the same time
    /// all return it.
    is_told: bool,
    /// The records of the connections that may be waiting for room in event channels.
    unfinished: Vec<Arc<Record>>,
}

impl Ending {
    /// Ends the waits for room in event channels. Call this after the session is closed: if messages still
    /// came, one could find no room and be dropped while the next one is delivered.
    fn release_channels(&self) {
        self.unfinished.iter().for_each(|record| record.hold.release());
    }

    fn unsent(&self) -> usize {
        match (&self.connection, &self.record) {
            (Some(connection), _) => connection.session.unsent(),
            (None, record) => record.as_ref().map_or(0, |record| record.unsent()),
        }
    }
}

impl Core {
    pub(super) fn disconnect(&self, options: Disconnect) -> Result<()> {
        let deadline = now().checked_add(self.options.request_timeout);
        let on_own_thread = is_thread_of(self.id());
        let ending = self.begin_disconnect(lock(&self.course));
        let reason = options.reason.map_or(Reason::ClientDisconnect, Reason::Other);
        if let Some(connection) = &ending.connection {
            match (options.abort, on_own_thread) {
                (true, _) => connection.session.abort(reason),
                (false, true) => connection.session.close(reason),
                (false, false) => connection.session.close_by_waiter(reason),
            }
        }
        ending.release_channels();
        match on_own_thread {
            // Queued messages are written, and the disconnect handler runs, when this handler has returned.
            true if !options.abort && ending.connection.is_some() => return Ok(()),
            false if !options.abort => self.wait_ended(&ending, deadline),
            _ => {}
        }
        match ending.unsent() {
            0 => Ok(()),
            _ if ending.is_told => Ok(()),
            messages => {
                ending.record.iter().for_each(|record| record.set_told());
                Err(Error::Unsent { messages })
            }
        }
    }

    fn begin_disconnect(&self, mut course: MutexGuard<'_, Course>) -> Ending {
        let found = course.life.disconnect();
        let (record, unfinished) = (course.last.clone(), course.unfinished.clone());
        self.changed.notify_all(course);
        if let Some(attempt) = &found.attempt {
            attempt.cancel();
        }
        let is_told = record.as_ref().is_some_and(|record| record.is_told());
        Ending { connection: found.connection, attempt: found.attempt, record, is_told, unfinished }
    }

    /// Waits until the attempt is over and the disconnect handler has run. Ends a close that takes too long,
    /// and aborts the session at the deadline.
    fn wait_ended(&self, ending: &Ending, deadline: Option<Instant>) {
        if let Some(attempt) = &ending.attempt {
            let at_work = |course: &Course| course.life.is_at_work(attempt);
            drop(self.changed.wait_while(lock(&self.course), deadline, at_work));
        }
        let handled = |by| ending.record.as_ref().is_none_or(|record| record.wait_handled(by));
        if let Some(connection) = &ending.connection {
            let closed_by = connection.session.close_deadline();
            if handled(closed_by.into_iter().chain(deadline).min()) {
                return;
            }
            connection.session.end_if_overdue();
        }
        if handled(deadline) {
            return;
        }
        if let Some(connection) = &ending.connection {
            connection.session.abort(Reason::ClientDisconnect);
        }
        let what = "disconnect does not wait any longer: a handler is still running";
        log!(self.options.logger, Warn, "{what}");
    }

    /// Closes the connection after the last handle was dropped, without waiting and without writing on this
    /// thread, which may be ending.
    pub(super) fn abandon(&self) {
        if let Some(course) = self.lose_handles() {
            let ending = self.begin_disconnect(course);
            if let Some(connection) = &ending.connection {
                connection.session.close_elsewhere(Reason::ClientDisconnect);
            }
            ending.release_channels();
        }
    }
}

#[cfg(all(feature = "sigint", unix))]
mod sigint {
    use super::*;
    use crate::options::OnSigint;
    use crate::sigint::{self, Interrupt};

    impl Core {
        pub(in crate::client) fn watch_for_sigint(self: &Arc<Self>) {
            if self.options.on_sigint != OnSigint::Ignore {
                let client: Arc<dyn Interrupt> = self.clone();
                if let Err(e) = sigint::watch(&client) {
                    log!(self.options.logger, Warn, "Ctrl-C will not disconnect: {e}");
                }
            }
        }

        /// Does not return while Ctrl-C is about to end the process. Otherwise `main` could return first, and
        /// the exit status would be that of a success.
        pub(in crate::client) fn stay_if_ending(&self) {
            if !is_thread_of(self.id()) {
                sigint::stay();
            }
        }
    }

    impl Interrupt for Core {
        fn returns(&self) -> bool {
            self.options.on_sigint == OnSigint::Return
        }

        fn begin(self: Arc<Self>) -> Box<dyn FnOnce()> {
            let deadline = now().checked_add(self.options.request_timeout);
            let ending = self.begin_disconnect(lock(&self.course));
            if let Some(connection) = &ending.connection {
                connection.session.close(Reason::ClientDisconnect);
            }
            ending.release_channels();
            Box::new(move || self.wait_ended(&ending, deadline))
        }
    }
}

#[cfg(not(all(feature = "sigint", unix)))]
impl Core {
    pub(super) fn watch_for_sigint(&self) {}

    pub(super) fn stay_if_ending(&self) {}
}
