//! The clock of the server's silence, which goes on while the machine sleeps.

use std::ops::Add;
use std::time::Duration;

/// A point in time. [`Instant`](std::time::Instant) stands still on Linux while the machine sleeps; a server does not
/// wait for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    pub(crate) fn now() -> Self {
        Moment(since_start_of_clock())
    }

    pub(crate) const fn from_micros(micros: u64) -> Self {
        Moment(Duration::from_micros(micros))
    }

    /// A time beyond what 64 bits hold is 580,000 years away.
    pub(crate) fn as_micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }

    /// The time from `earlier` until this moment; zero if that is not earlier.
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

/// Linux has a clock of its own for this; the monotonic clock of macOS and the BSDs counts sleep itself.
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

/// Windows counts sleep in `Instant`.
#[cfg(all(not(unix), not(shuttle)))]
fn since_start_of_clock() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// The time in a model stands still.
#[cfg(shuttle)]
fn since_start_of_clock() -> Duration {
    Duration::from_secs(1)
}
