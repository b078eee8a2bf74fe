//! A clock that goes on while the machine sleeps, to measure how long the server has been silent.

use std::ops::Add;
use std::time::Duration;

/// A point in time. On Linux, [`Instant`](std::time::Instant) stands still while the machine sleeps, but the
/// server's timeouts go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    pub(crate) fn now() -> Self {
        Moment(since_start_of_clock())
    }

    pub(crate) const fn from_micros(micros: u64) -> Self {
        Moment(Duration::from_micros(micros))
    }

    /// The microseconds since the start of the clock. 64 bits last for 580,000 years.
    pub(crate) fn as_micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }

    /// The time from `earlier` until this moment, or zero if `earlier` is the later one.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

/// Linux and Android have a clock that counts sleep, `CLOCK_BOOTTIME`. The monotonic clock of macOS and the
/// BSDs counts sleep anyway.
#[cfg(all(unix, not(shuttle)))]
fn since_start_of_clock() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;
    // The clock never shows a negative time.
    Duration::try_from(clock_gettime(CLOCK)).unwrap_or_default()
}

/// On Windows, `Instant` counts sleep.
#[cfg(all(not(unix), not(shuttle)))]
fn since_start_of_clock() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// In a model, time stands still.
#[cfg(shuttle)]
fn since_start_of_clock() -> Duration {
    Duration::from_secs(1)
}
