//! The rules that decide whether the server still lives, and when the watchdog has to look.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::error::Error;
use crate::net::{LastActivity, TimeLeft};
use crate::protocol::{Handshake, VERSION_3};
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// The shortest silence that ends a connection, whatever the server announces. A reader needs some time to
/// find the bytes that have come.
const SHORTEST_SILENCE: Duration = Duration::from_millis(100);

/// The shortest time between two checks by the watchdog, whatever the server announces.
const SHORTEST_CHECK: Duration = Duration::from_millis(25);

/// The only judge of the server's silence.
///
/// The server is silent if a thread was receiving and yet no byte has come from the server, on any socket,
/// for `pingInterval + pingTimeout`. Time in which the inbox is full, so that the client itself has stopped
/// reading, does not count; time in which the machine sleeps does. The thread that holds the right to receive
/// (the intake) reports when it begins and when it stops. It alone writes all fields but `activity`, in which
/// the sockets record the times of their last bytes.
pub(super) struct Liveness {
    activity: Arc<LastActivity>,
    interval: Duration,
    timeout: Duration,
    /// True if the handshake has no `maxPayload`, which no server of Engine.IO v3 sends.
    unlimited: bool,
    started: Moment,
    /// The time of the last ping in microseconds; 0 before the first one.
    last_ping: AtomicU64,
    /// The shortest time between two pings in microseconds. python-engineio pings more often than it
    /// announces, if its interval is not one of whole seconds.
    pace: AtomicU64,
    /// The time at which the current holder took the intake, in microseconds; 0 while nobody receives.
    reading_since: AtomicU64,
    /// The time at which reading went on after the inbox had been full, in microseconds.
    resumed: AtomicU64,
    /// Set while nobody reads because the inbox is full.
    paused: AtomicBool,
}

impl Liveness {
    pub(super) fn new(handshake: &Handshake, activity: Arc<LastActivity>, now: Moment) -> Self {
        Liveness {
            activity,
            interval: handshake.ping_interval(),
            timeout: handshake.ping_timeout(),
            unlimited: handshake.max_payload().is_none(),
            started: now,
            last_ping: AtomicU64::new(0),
            pace: AtomicU64::new(u64::MAX),
            reading_since: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            paused: AtomicBool::new(false),
        }
    }

    /// The longest time for which a living server can be silent.
    pub(super) fn silence(&self) -> Duration {
        self.interval.saturating_add(self.timeout).max(SHORTEST_SILENCE)
    }

    /// Called when the holder of the intake begins to receive, or reads on after the inbox was full.
    pub(super) fn resume(&self, now: Moment) {
        if self.paused.swap(false, Ordering::Relaxed) {
            self.resumed.store(now.as_micros(), Ordering::Relaxed);
        }
        if self.reading_since.load(Ordering::Relaxed) == 0 {
            self.reading_since.store(now.as_micros(), Ordering::Relaxed);
        }
    }

    /// Called when the holder of the intake gives it back.
    pub(super) fn release(&self) {
        self.reading_since.store(0, Ordering::Relaxed);
    }

    /// Called when the holder of the intake stops reading because the inbox is full. That time does not count
    /// as silence.
    pub(super) fn stop_reading(&self) {
        self.release();
        self.paused.store(true, Ordering::Relaxed);
    }

    pub(super) fn pinged(&self, now: Moment) {
        if let Some(pause) = self.since_ping(now) {
            self.pace.fetch_min(micros(pause), Ordering::Relaxed);
        }
        self.last_ping.store(now.as_micros(), Ordering::Relaxed);
    }

    /// The time that the server still has to send something. While nobody receives, it is the whole of it.
    pub(super) fn left(&self, now: Moment) -> Duration {
        match self.reading_since.load(Ordering::Relaxed) {
            0 => self.silence(),
            since => {
                let resumed = Moment::from_micros(self.resumed.load(Ordering::Relaxed));
                // A reader that starts late, on a busy machine, gets time to find the bytes that have come
                // meanwhile.
                let chance = Moment::from_micros(since) + self.timeout / 2;
                let deadline = (self.activity.received().max(resumed) + self.silence()).max(chance);
                deadline.since(now)
            }
        }
    }

    /// True if the server has been silent for too long, even if the reader has not noticed yet because the
    /// machine has slept.
    pub(super) fn is_silent(&self, now: Moment) -> bool {
        self.left(now).is_zero()
    }

    /// The time left to a connection on which nothing moves: the inbox is full, and the server does not read
    /// the bytes that are being written since `since`. The handlers may be waiting for that write, and the
    /// server for us to read.
    pub(super) fn left_without_progress(&self, since: Moment, now: Moment) -> Duration {
        let moved = self.activity.sent().max(self.activity.received()).max(since);
        (moved + self.silence()).since(now)
    }

    /// The time until the watchdog has to look whether somebody receives. Before a ping is due, it is the
    /// time until then; after that, the time until half of the server's wait for the pong has passed; and
    /// then once per interval, because a busy server may send no pings.
    pub(super) fn next_check(&self, now: Moment) -> Duration {
        // The first ping is due at once, because some servers send it right away.
        let pace = Duration::from_micros(self.pace.load(Ordering::Relaxed)).min(self.interval);
        let due = match self.last_ping.load(Ordering::Relaxed) {
            0 => self.started,
            last => Moment::from_micros(last) + pace,
        };
        let late = due + self.timeout / 2;
        let wait = if now < due {
            due.since(now)
        } else if now < late {
            late.since(now)
        } else {
            self.interval.min(self.timeout) / 2
        };
        wait.max(SHORTEST_CHECK)
    }

    /// The time since the last ping; `None` if none has come.
    pub(super) fn since_ping(&self, now: Moment) -> Option<Duration> {
        match self.last_ping.load(Ordering::Relaxed) {
            0 => None,
            last => Some(now.since(Moment::from_micros(last))),
        }
    }

    /// The error of a server that has closed the connection cleanly, but has never sent a ping that was due
    /// long before. In Engine.IO v3 it is the client that pings, and the server closes a connection without
    /// pings.
    pub(super) fn version_3_error(&self, now: Moment) -> Option<Error> {
        let never_pinged = self.last_ping.load(Ordering::Relaxed) == 0;
        let overdue = now.since(self.started) >= self.interval.saturating_add(self.timeout / 2);
        (self.unlimited && never_pinged && overdue).then(|| {
            Error::connection(format!(
                "{}: it has sent no pings, but expected some from the client",
                VERSION_3
            ))
        })
    }

    /// The error of a server that has been silent for too long.
    pub(super) fn timeout_error(&self) -> Error {
        let what = if self.last_ping.load(Ordering::Relaxed) > 0 {
            "waiting for the server's next ping"
        } else {
            "waiting for the server's first ping (does it speak Engine.IO v3, where the client pings?)"
        };
        Error::Timeout { what }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl TimeLeft for Liveness {
    fn time_left(&self) -> Duration {
        self.left(Moment::now())
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    /// A server that pings every 10 s and waits 6 s for the pong, connected at 100 s.
    fn liveness() -> Liveness {
        let handshake = Handshake::parse(r#"{"sid":"s","pingInterval":10000,"pingTimeout":6000}"#).unwrap();
        let liveness = Liveness::new(&handshake, Arc::new(LastActivity::new()), at(100));
        liveness.activity.mark_received(at(100));
        liveness
    }

    #[test]
    fn silence_counts_from_the_last_byte() {
        let liveness = liveness();
        liveness.resume(at(100));
        assert_eq!(liveness.left(at(101)), 15 * SECOND);
        liveness.activity.mark_received(at(110));
        assert_eq!(liveness.left(at(120)), 6 * SECOND);
        liveness.activity.mark_received(at(110));
        assert!(!liveness.is_silent(at(125)));
        liveness.activity.mark_received(at(110));
        assert!(liveness.is_silent(at(126)));
    }

    #[test]
    fn a_clock_that_jumps_while_the_reader_waits_is_silence() {
        let liveness = liveness();
        liveness.resume(at(100));
        liveness.activity.mark_received(at(101));
        assert!(liveness.is_silent(at(5000)));
    }

    #[test]
    fn time_in_which_nobody_reads_is_nobodys_silence() {
        let liveness = liveness();
        assert!(!liveness.is_silent(at(5000)));
        liveness.resume(at(5000));
        assert_eq!(liveness.left(at(5000)), 3 * SECOND, "a late reader has a chance");
        liveness.release();
        assert!(!liveness.is_silent(at(9000)));
    }

    #[test]
    fn a_full_inbox_stops_the_clock() {
        let liveness = liveness();
        liveness.resume(at(100));
        liveness.stop_reading();
        assert!(!liveness.is_silent(at(200)));
        liveness.resume(at(200));
        assert_eq!(liveness.left(at(200)), 16 * SECOND);
        liveness.activity.mark_received(at(204));
        assert_eq!(liveness.left(at(205)), 15 * SECOND);
    }

    #[test]
    fn a_server_that_closes_and_has_never_pinged_speaks_version_3() {
        let liveness = liveness();
        assert!(liveness.version_3_error(at(112)).is_none());
        let error = liveness.version_3_error(at(116)).unwrap();
        assert!(error.to_string().contains("speaks Engine.IO v3"), "{error}");
        liveness.pinged(at(116));
        assert!(liveness.version_3_error(at(130)).is_none());
    }

    #[test]
    fn nothing_moves() {
        let liveness = liveness();
        liveness.activity.mark_sent(at(110));
        assert_eq!(liveness.left_without_progress(at(105), at(111)), 15 * SECOND);
        assert_eq!(liveness.left_without_progress(at(120), at(121)), 15 * SECOND);
    }

    #[test]
    fn the_watchdog_looks_when_a_ping_is_due_and_not_more_often_than_that() {
        let liveness = liveness();
        assert_eq!(liveness.next_check(at(100)), 3 * SECOND, "the first ping may come at once");
        liveness.pinged(at(102));
        assert_eq!(liveness.next_check(at(104)), 8 * SECOND);
        assert_eq!(liveness.next_check(at(113)), 2 * SECOND);
        assert_eq!(liveness.next_check(at(115)), 3 * SECOND);
        assert_eq!(liveness.since_ping(at(115)), Some(13 * SECOND));
    }

    #[test]
    fn no_numbers_make_it_spin_or_overflow() {
        let numbers = ["0", "0.000001", "0.001", "1", "25000", "4294967295"];
        for (interval, timeout) in numbers.iter().flat_map(|a| numbers.map(|b| (a, b))) {
            let json = format!(r#"{{"sid":"s","pingInterval":{interval},"pingTimeout":{timeout}}}"#);
            let handshake = Handshake::parse(&json).unwrap();
            let liveness = Liveness::new(&handshake, Arc::new(LastActivity::new()), at(100));
            liveness.resume(at(100));
            liveness.left(at(101));
            assert!(liveness.silence() >= SHORTEST_SILENCE);
            for now in [at(100), at(101), at(200), Moment::from_micros(200_000_001), at(5_000_000)] {
                assert!(liveness.next_check(now) >= SHORTEST_CHECK, "{interval}, {timeout}, {now:?}");
                liveness.pinged(now);
                assert!(liveness.next_check(now) >= SHORTEST_CHECK, "{interval}, {timeout}, {now:?}");
            }
        }
    }

    #[test]
    fn a_server_that_pings_more_often_than_it_announces_is_looked_after_at_its_own_pace() {
        let liveness = liveness();
        liveness.pinged(at(102));
        assert_eq!(liveness.next_check(at(104)), 8 * SECOND);
        liveness.pinged(at(105));
        assert_eq!(liveness.next_check(at(106)), 2 * SECOND);
        // A ping that comes late does not slow it down again.
        liveness.pinged(at(114));
        assert_eq!(liveness.next_check(at(114)), 3 * SECOND);
    }
}
