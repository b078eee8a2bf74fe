use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Session;
use super::inbox::StandIn;
use crate::error::Error;
use crate::event::Reason;
use crate::protocol::Handshake;
use crate::sync::{Signal, lock};

/// What the watchdog thread is told by the others.
#[derive(Default)]
pub(super) struct Watchdog {
    orders: Mutex<Orders>,
    changed: Signal,
}

#[derive(Default)]
struct Orders {
    stop: bool,
    /// Somebody cannot send until the server reads, so receive now if nobody does.
    stand_in: bool,
    /// A close has begun, and must have ended by then.
    close_by: Option<Instant>,
}

impl Watchdog {
    fn order(&self, give: impl FnOnce(&mut Orders)) {
        let mut orders = lock(&self.orders);
        give(&mut orders);
        self.changed.notify_one(orders);
    }

    pub(super) fn stand_in(&self) {
        self.order(|orders| orders.stand_in = true);
    }

    /// What is left to write may need a server that reads on when we receive.
    pub(super) fn closing(&self, by: Instant) {
        self.order(|orders| (orders.close_by, orders.stand_in) = (Some(by), true));
    }

    pub(super) fn stop(&self) {
        self.order(|orders| orders.stop = true);
    }

    /// Waits until the reader must be checked, or an order comes. False at the end.
    fn wait(&self, check: Instant) -> Option<Duty> {
        let mut orders = lock(&self.orders);
        loop {
            let now = Instant::now();
            if orders.stop {
                return None;
            }
            if orders.close_by.is_some_and(|by| now >= by) {
                return Some(Duty::TearDown);
            }
            if std::mem::take(&mut orders.stand_in) || now >= check {
                return Some(Duty::CheckReader);
            }
            let until = orders.close_by.map_or(check, |by| by.min(check));
            orders = self.changed.wait_until(orders, Some(until));
        }
    }
}

enum Duty {
    CheckReader,
    TearDown,
}

/// The watchdog thread: receives in the reader's place while a handler runs and a ping is due, so that pongs go
/// out however slow the handlers are; and ends a close that takes too long.
pub(super) fn run(session: &Arc<Session>) {
    let mut now = Instant::now();
    loop {
        let check = next_check(now, session.ping_due(), &session.handshake);
        match session.watchdog.wait(check) {
            Some(Duty::CheckReader) if session.inbox.claim() => stand_in(session),
            // The reader is receiving: the server's silence is its to notice.
            Some(Duty::CheckReader) => {}
            Some(Duty::TearDown) => session.tear_down(),
            None => return,
        }
        now = Instant::now();
    }
}

fn stand_in(session: &Arc<Session>) {
    let mut received = VecDeque::new();
    let mut look = Instant::now();
    loop {
        match session.inbox.stand_in(look) {
            StandIn::Receive => session.receive(&mut received),
            StandIn::Full => look = check_progress(session),
            StandIn::Overdue => session.tear_down(),
            StandIn::Done => return,
        }
    }
}

/// For when the inbox is full: ends the session if nothing can be written either. The handlers may wait for that, and
/// the server for us to read: only time ends it. Returns when to look again.
fn check_progress(session: &Session) -> Instant {
    let (now, silence) = (Instant::now(), session.silence());
    let (Some(since), Some(written)) = (session.outbox.batch_since(), session.transport.written()) else {
        return now + silence;
    };
    let by = since.max(written).max(session.transport.heard()) + silence;
    if now >= by {
        let what = "writing to a server that reads nothing, with the inbox full";
        session.end(Reason::PingTimeout, Some(Error::Timeout { what }));
    }
    by.max(now)
}

/// When to see next whether somebody is receiving: when a ping is due, and half way to the time at which the
/// server gives up on the pong. After that, once per interval: no ping may be sent to a busy connection.
fn next_check(now: Instant, due: Instant, handshake: &Handshake) -> Instant {
    let (interval, timeout) = (handshake.ping_interval(), handshake.ping_timeout());
    let late = due + timeout / 2;
    if now < due {
        due
    } else if now < late {
        late
    } else {
        now + interval.min(timeout).max(Duration::from_millis(10)) / 2
    }
}
