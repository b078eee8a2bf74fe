//! How the user ends a connection, or an attempt to make one.

use std::sync::Arc;
use std::time::Instant;

use super::{Core, State};
use crate::builder::Disconnect;
use crate::error::{Error, Result};
use crate::event::Reason;
use crate::events::Hold;
use crate::logger::log;
use crate::session::{Session, is_reader_of};
use crate::sync::lock;

/// What a disconnect has found.
struct Ended {
    /// The session to end.
    session: Option<Arc<Session>>,
    /// An attempt was.
    cancelled: bool,
    /// Dropped when the session takes no more messages: earlier, one that finds no room in a channel could be followed
    /// by one that does.
    hold: Hold,
    /// The one that has begun.
    epoch: u64,
}

impl Core {
    pub(in crate::client) fn disconnect(self: &Arc<Self>, options: Disconnect) -> Result<()> {
        let deadline = Instant::now().checked_add(self.options.request_timeout);
        let Ended { session, cancelled, hold, epoch } = self.begin_disconnect();
        if cancelled && !options.abort {
            self.wait_while_connecting(deadline);
        }
        let Some(session) = session else {
            if !options.abort && !is_reader_of(self.id()) {
                self.wait_for_last_handler(epoch, deadline);
            }
            return all_sent(lock(&self.life).unsent);
        };
        let reason = options.reason.map_or(Reason::ClientDisconnect, Reason::Other);
        if options.abort {
            session.abort(reason);
            drop(hold);
        } else {
            session.close(reason);
            drop(hold);
            if is_reader_of(self.id()) {
                return Ok(());
            }
            if !session.wait_finished(deadline) {
                session.tear_down();
                log!(
                    self.options.logger,
                    Warn,
                    "disconnect does not wait any longer: a handler is still running"
                );
            }
        }
        all_sent(session.unsent())
    }

    fn begin_disconnect(&self) -> Ended {
        let mut life = lock(&self.life);
        life.epoch += 1;
        if life.state == State::Connected {
            life.state = State::Disconnecting;
        }
        let hold = std::mem::take(&mut life.hold);
        let (session, epoch) = (life.session.clone(), life.epoch);
        // While it cannot be adopted.
        let attempt = life.attempt.as_ref().map(|attempt| attempt.cancel());
        self.changed.notify_all(life);
        let cancelled = attempt.is_some();
        if let Some(http) = attempt.flatten() {
            http.close();
        }
        Ended { session, cancelled, hold, epoch }
    }

    /// The connection is over, and its disconnect handler may still be running: until that has returned, or another
    /// connection has begun.
    fn wait_for_last_handler(&self, epoch: u64, deadline: Option<Instant>) {
        let mut life = lock(&self.life);
        while life.readers > 0
            && life.epoch == epoch
            && deadline.is_none_or(|deadline| Instant::now() < deadline)
        {
            life = self.changed.wait_until(life, deadline);
        }
    }

    fn wait_while_connecting(&self, deadline: Option<Instant>) {
        let mut life = lock(&self.life);
        while life.state == State::Connecting && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            life = self.changed.wait_until(life, deadline);
        }
    }

    /// The last handle is gone: closes without waiting.
    pub(super) fn abandon(&self) {
        {
            let current = lock(&self.handle);
            if current.strong_count() > 0 {
                // A handler has made a new one meanwhile.
                return;
            }
            lock(&self.life).abandoned = true;
        }
        self.begin_closing();
    }

    /// Starts a graceful end, of a session or of an attempt to get one, and does not wait for it.
    pub(in crate::client) fn begin_closing(&self) -> Option<Arc<Session>> {
        let ended = self.begin_disconnect();
        ended.session.inspect(|session| session.close(Reason::ClientDisconnect))
    }
}

fn all_sent(unsent: usize) -> Result<()> {
    match unsent {
        0 => Ok(()),
        messages => Err(Error::Unsent { messages }),
    }
}
