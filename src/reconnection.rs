//! The reconnection policy: when attempts are made, with which pauses, and when they end.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::guarded::guarded;

type Observer = Arc<dyn Fn(&ReconnectionEvent<'_>) + Send + Sync>;

/// A policy that connects again when a connection is lost, for
/// [`ClientBuilder::reconnection`](crate::ClientBuilder::reconnection).
///
/// The pauses double from [`delay`](Self::delay) up to [`max_delay`](Self::max_delay), and each is varied at
/// random, so that many clients do not come back at the same moment. The defaults are those of the Socket.IO
/// clients. A connection that the client itself has ended is not made again, and
/// [`Client::disconnect`](crate::Client::disconnect) ends the attempts at once.
///
/// Each attempt repeats your last `connect` call, with its URL and options, even if that call failed. Calls
/// that are refused at once ([`InvalidUrl`](Error::InvalidUrl), [`InvalidOption`](Error::InvalidOption),
/// [`AlreadyConnected`](Error::AlreadyConnected)) are ignored. After a failed attempt there
/// is another one, whatever the error was. If the URL or the options expire, as a token does, connect with
/// new ones in the disconnect handler, which takes precedence over the policy.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use engineio::{Client, Reconnection};
///
/// let policy = Reconnection::new()
///     .max_delay(Duration::from_secs(30))
///     .on_event(|event| println!("{event}"));
/// let client = Client::builder().reconnection(policy).build()?;
/// # Ok::<(), engineio::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a policy does nothing before it is given to a builder"]
pub struct Reconnection {
    delay: Duration,
    max_delay: Duration,
    randomization_factor: f64,
    max_attempts: Option<u32>,
    first_connect: bool,
    observer: Option<Observer>,
}

/// A step of the reconnection. Its `Display` text is meant for logs.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReconnectionEvent<'a> {
    /// There is a pause before the next attempt.
    #[non_exhaustive]
    Waiting {
        /// The number of the attempt, which starts with 1.
        attempt: u32,
        /// The pause before the attempt.
        delay: Duration,
    },
    /// The attempt failed.
    #[non_exhaustive]
    Failed {
        /// The number of the attempt. It is 0 for the `connect` call that the policy repeats
        /// ([`first_connect`](Reconnection::first_connect)).
        attempt: u32,
        /// The error of the attempt.
        error: &'a Error,
    },
    /// The attempt succeeded, and the connect handler has run.
    #[non_exhaustive]
    Connected {
        /// The number of the attempt.
        attempt: u32,
    },
    /// There are no more attempts, because [`max_attempts`](Reconnection::max_attempts) were made.
    #[non_exhaustive]
    GaveUp {
        /// The number of attempts that were made.
        attempts: u32,
    },
    /// There are no more attempts, because the user has disconnected, connected, or dropped the last handle.
    #[non_exhaustive]
    Cancelled {
        /// The number of attempts that were made.
        attempts: u32,
    },
}

impl fmt::Display for ReconnectionEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { attempt, delay } => {
                write!(f, "connecting again in {delay:.1?} (attempt {attempt})")
            }
            Self::Failed { attempt: 0, error } => write!(f, "connecting failed: {error:?}"),
            Self::Failed { attempt, error } => {
                write!(f, "attempt {attempt} to connect again failed: {error:?}")
            }
            Self::Connected { attempt } => write!(f, "connected again at attempt {attempt}"),
            Self::GaveUp { attempts } => write!(f, "gave up after {attempts} attempt(s) to connect again"),
            Self::Cancelled { attempts } => {
                write!(f, "connecting again was called off after {attempts} attempt(s)")
            }
        }
    }
}

impl Default for Reconnection {
    fn default() -> Self {
        Reconnection {
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(5),
            randomization_factor: 0.5,
            max_attempts: None,
            first_connect: false,
            observer: None,
        }
    }
}

impl Reconnection {
    /// Makes a policy with the default values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the pause before the first attempt, from which later pauses double. Default: 1 s. With zero there
    /// are no pauses.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets the longest pause. Default: 5 s.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Sets the random part of each pause, from 0 to 1: with 0.5, a pause of 1 s takes between 0.5 s and 1.5
    /// s. No pause is longer than [`max_delay`](Self::max_delay), so the longest ones are between half of
    /// that and that. Values outside of the range are clamped. Default: 0.5.
    pub fn randomization_factor(mut self, factor: f64) -> Self {
        self.randomization_factor = if factor.is_nan() { 0.0 } else { factor.clamp(0.0, 1.0) };
        self
    }

    /// Sets the number of consecutive attempts without success after which the policy gives up; with 0 there
    /// are none. Default: no limit.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets whether the policy also repeats a failed first `connect`, before that call returns. Default:
    /// false.
    pub fn first_connect(mut self, retry: bool) -> Self {
        self.first_connect = retry;
        self
    }

    /// Sets a function that is called for each step, on the thread that makes the attempts. Default: none.
    pub fn on_event<F>(mut self, observer: F) -> Self
    where
        F: Fn(&ReconnectionEvent<'_>) + Send + Sync + 'static,
    {
        self.observer = Some(Arc::new(observer));
        self
    }

    pub(crate) fn retries_first_connect(&self) -> bool {
        self.first_connect
    }

    /// The pause before an attempt, which is counted from 1. `random` is from 0 to 1.
    fn pause(&self, attempt: u32, random: f64) -> Duration {
        let doubled = self.delay.saturating_mul(2u32.saturating_pow(attempt - 1)).min(self.max_delay);
        let (middle, chance) = (doubled.as_secs_f64(), self.randomization_factor);
        // The range is limited before the choice. Otherwise many clients would have the same, longest pause.
        let shortest = middle * (1.0 - chance);
        let longest = (middle * (1.0 + chance)).min(self.max_delay.as_secs_f64());
        // A pause that no `Duration` can hold becomes the longest one.
        let pause = Duration::try_from_secs_f64(shortest + random * (longest - shortest));
        pause.unwrap_or(self.max_delay).min(self.max_delay)
    }

    /// Tells the user's function about a step.
    pub(crate) fn tell(&self, event: &ReconnectionEvent<'_>) {
        if let Some(observer) = &self.observer {
            // The panic hook reports a panic of the observer. It changes nothing here.
            let _ = guarded(|| observer(event));
        }
    }

    /// Makes attempts until one succeeds, there were enough of them, or they are called off. The error is
    /// that of the last attempt, if there was one. `goes_on` and `sleep` return false when no further
    /// attempts are wanted.
    pub(crate) fn run(
        &self,
        goes_on: impl Fn() -> bool,
        mut sleep: impl FnMut(Duration) -> bool,
        mut connect: impl FnMut() -> Result<()>,
        mut report: impl FnMut(&ReconnectionEvent<'_>),
    ) -> Result<(), Option<Error>> {
        let mut tell = |event: &ReconnectionEvent<'_>| {
            report(event);
            self.tell(event);
        };
        let (mut attempt, mut last) = (0, None);
        while self.max_attempts.is_none_or(|max| attempt < max) {
            if !goes_on() {
                tell(&ReconnectionEvent::Cancelled { attempts: attempt });
                return Err(last);
            }
            attempt += 1;
            let delay = self.pause(attempt, random());
            tell(&ReconnectionEvent::Waiting { attempt, delay });
            if !sleep(delay) {
                tell(&ReconnectionEvent::Cancelled { attempts: attempt - 1 });
                return Err(last);
            }
            match connect() {
                Ok(()) => {
                    tell(&ReconnectionEvent::Connected { attempt });
                    return Ok(());
                }
                Err(error) => {
                    tell(&ReconnectionEvent::Failed { attempt, error: &error });
                    last = Some(error);
                }
            }
        }
        tell(&ReconnectionEvent::GaveUp { attempts: attempt });
        Err(last)
    }
}

/// A random number from 0 to 1. std seeds each `RandomState` differently, which is random enough for a pause.
fn random() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}

impl fmt::Debug for Reconnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnection")
            .field("delay", &self.delay)
            .field("max_delay", &self.max_delay)
            .field("randomization_factor", &self.randomization_factor)
            .field("max_attempts", &self.max_attempts)
            .field("first_connect", &self.first_connect)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::sync::lock;

    const SECOND: Duration = Duration::from_secs(1);

    fn pauses(policy: &Reconnection, random: f64) -> Vec<f64> {
        (1..6).map(|attempt| policy.pause(attempt, random).as_secs_f64()).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = Reconnection::new();
        assert_eq!(pauses(&policy, 0.5), [1.0, 2.0, 3.5, 3.75, 3.75]);
        assert_eq!(pauses(&policy, 0.0), [0.5, 1.0, 2.0, 2.5, 2.5]);
        assert_eq!(pauses(&policy, 1.0), [1.5, 3.0, 5.0, 5.0, 5.0]);
        assert_eq!(pauses(&policy.randomization_factor(f64::NAN), 1.0), [1.0, 2.0, 4.0, 5.0, 5.0]);
    }

    #[test]
    fn pauses_do_not_overflow() {
        let policy = Reconnection::new().delay(Duration::MAX).max_delay(Duration::MAX);
        assert_eq!(policy.pause(u32::MAX, 1.0), Duration::MAX);
        assert_eq!(Reconnection::new().pause(u32::MAX, 1.0), 5 * SECOND);
    }

    #[test]
    fn chance_stays_in_its_range() {
        assert!((0..1000).map(|_| random()).all(|r| (0.0..=1.0).contains(&r)));
        assert_ne!(random(), random());
    }

    fn told(policy: Reconnection) -> (Reconnection, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        (policy.randomization_factor(0.0).on_event(move |event| lock(&log).push(event.to_string())), told)
    }

    #[test]
    fn attempts_go_on_until_one_succeeds() {
        let (policy, told) = told(Reconnection::new());
        let mut answers = [Err(Error::connection("no")), Ok(())].into_iter();
        policy.run(|| true, |_| true, || answers.next().unwrap(), |_| {}).unwrap();
        let expected = [
            "connecting again in 1.0s (attempt 1)",
            "attempt 1 to connect again failed: no",
            "connecting again in 2.0s (attempt 2)",
            "connected again at attempt 2",
        ];
        assert_eq!(*lock(&told), expected);
    }

    #[test]
    fn attempts_end_at_their_number() {
        let (policy, told) = told(Reconnection::new().max_attempts(2));
        let last = policy.run(|| true, |_| true, || Err(Error::connection("no")), |_| {}).unwrap_err();
        assert_eq!(last.unwrap().to_string(), "no");
        assert_eq!(lock(&told).last().unwrap(), "gave up after 2 attempt(s) to connect again");
    }

    #[test]
    fn an_interrupted_pause_is_the_end() {
        let (policy, told) = told(Reconnection::new());
        assert!(matches!(policy.run(|| true, |_| false, || unreachable!(), |_| {}), Err(None)));
        let expected =
            ["connecting again in 1.0s (attempt 1)", "connecting again was called off after 0 attempt(s)"];
        assert_eq!(*lock(&told), expected);
    }

    #[test]
    fn nothing_is_announced_that_does_not_come() {
        let (policy, told) = told(Reconnection::new());
        let wanted = std::cell::Cell::new(true);
        let connect = || {
            wanted.set(false);
            Err(Error::connection("ended by disconnect"))
        };
        policy.run(|| wanted.get(), |_| true, connect, |_| {}).unwrap_err();
        let expected = [
            "connecting again in 1.0s (attempt 1)",
            "attempt 1 to connect again failed: ended by disconnect",
            "connecting again was called off after 1 attempt(s)",
        ];
        assert_eq!(*lock(&told), expected);
    }
}
