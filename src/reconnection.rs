//! The reconnection policy: when attempts are made, with which pauses, and when they end.

mod next;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result, with_causes};
use crate::guarded::{drop_guarded, guarded};
use crate::printable::BoxError;

pub use next::{NextAttempt, UpcomingAttempt};

type Preparation = Arc<dyn Fn(&UpcomingAttempt<'_>) -> Result<NextAttempt, BoxError> + Send + Sync>;
type Observer = Arc<dyn Fn(&ReconnectionEvent) + Send + Sync>;

/// A policy that connects again when a connection is lost, for
/// [`ClientBuilder::reconnection`](crate::ClientBuilder::reconnection).
///
/// The pauses double from [`delay`](Self::delay) up to [`max_delay`](Self::max_delay). Each pause is varied
/// at random, so that many clients do not come back at the same moment. The defaults are those of the
/// Socket.IO clients. The policy does not reconnect after a connection that the client itself has ended, and
/// [`Client::disconnect`](crate::Client::disconnect) ends the attempts at once.
///
/// Each attempt repeats your last `connect` call, with its URL and options, even if that call failed. This
/// does not include calls that returned [`InvalidUrl`](Error::InvalidUrl),
/// [`InvalidOption`](Error::InvalidOption) or [`AlreadyConnected`](Error::AlreadyConnected). A failed attempt
/// is followed by another one, whatever the error was. If the URL or the options expire, for example because
/// they contain a token, set a function with [`before_attempt`](Self::before_attempt) that returns new ones.
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
    preparation: Option<Preparation>,
    observer: Option<Observer>,
}

/// A step of the reconnection, for [`Reconnection::on_event`] and [`Event::Reconnection`]. Its `Display` text
/// is meant for logs.
///
/// A reconnection ends with [`Connected`](Self::Connected), [`GaveUp`](Self::GaveUp) or
/// [`Cancelled`](Self::Cancelled). Two events are equal if their values are equal. Two `Failed` events are
/// equal only if one is a clone of the other, because errors cannot be compared.
///
/// [`Event::Reconnection`]: crate::Event::Reconnection
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReconnectionEvent {
    /// The pause before the next attempt begins.
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
        /// The number of the attempt: 0 for the `connect` call that the policy repeats
        /// ([`first_connect`](Reconnection::first_connect)).
        attempt: u32,
        /// The error of the attempt.
        error: Arc<Error>,
    },
    /// The attempt succeeded, and the connect handler has run.
    #[non_exhaustive]
    Connected {
        /// The number of the attempt.
        attempt: u32,
    },
    /// No more attempts follow, because [`max_attempts`](Reconnection::max_attempts) were made, or because
    /// the function of [`before_attempt`](Reconnection::before_attempt) returned [`NextAttempt::Stop`].
    #[non_exhaustive]
    GaveUp {
        /// The number of attempts that were made.
        attempts: u32,
    },
    /// No more attempts follow, because the user has connected, disconnected, pressed Ctrl-C or dropped the
    /// last handle.
    #[non_exhaustive]
    Cancelled {
        /// The number of attempts that were made.
        attempts: u32,
    },
}

impl ReconnectionEvent {
    /// True for the last event of a reconnection.
    pub(crate) fn is_last(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Failed { .. })
    }
}

impl PartialEq for ReconnectionEvent {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Waiting { attempt: a, delay: b }, Self::Waiting { attempt: c, delay: d }) => {
                (a, b) == (c, d)
            }
            (Self::Failed { attempt: a, error: b }, Self::Failed { attempt: c, error: d }) => {
                a == c && Arc::ptr_eq(b, d)
            }
            (Self::Connected { attempt: a }, Self::Connected { attempt: b })
            | (Self::GaveUp { attempts: a }, Self::GaveUp { attempts: b })
            | (Self::Cancelled { attempts: a }, Self::Cancelled { attempts: b }) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for ReconnectionEvent {
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
                write!(f, "connecting again was cancelled after {attempts} attempt(s)")
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
            preparation: None,
            observer: None,
        }
    }
}

impl Reconnection {
    /// Makes a policy with the default values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the pause before the first attempt. Each later pause is twice as long as the one before it.
    /// Default: 1 s. With zero, there are no pauses.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets the longest pause. Default: 5 s.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Sets the random part of each pause, from 0 to 1. With 0.5, a pause of 1 s takes between 0.5 s and 1.5
    /// s. No pause is longer than [`max_delay`](Self::max_delay), so with 0.5 the last pauses take between
    /// half of `max_delay` and `max_delay`. Values outside of the range are clamped. Default: 0.5.
    pub fn randomization_factor(mut self, factor: f64) -> Self {
        self.randomization_factor = if factor.is_nan() { 0.0 } else { factor.clamp(0.0, 1.0) };
        self
    }

    /// Sets the number of consecutive failed attempts after which the policy gives up. With 0, it makes no
    /// attempts. Default: no limit.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets whether the policy also repeats a failed first `connect`, before that call returns. Default:
    /// false.
    ///
    /// A mistake such as a wrong URL may then keep the call waiting for a long time. Without an
    /// [`on_event`](Self::on_event) function, the client therefore logs a warning about the first failure, or
    /// prints it to stderr if there is no logger.
    ///
    /// If the policy gives up, the call returns the last error. If `disconnect` or Ctrl-C ends the policy,
    /// even during a pause, the call returns an [`Error::Connection`] that says so.
    pub fn first_connect(mut self, retry: bool) -> Self {
        self.first_connect = retry;
        self
    }

    /// Sets a function that is called before each attempt, after the pause, and returns the URL and the
    /// options of the attempt. Default: none, so attempts repeat the last `connect`.
    ///
    /// If the function fails or panics, or if the URL or the options are unusable, the attempt counts as
    /// failed. The policy reports [`ReconnectionEvent::Failed`], and another attempt follows after a pause.
    /// The function's error can have any type that converts to `Box<dyn Error + Send + Sync>`. An [`Error`]
    /// of this crate is reported as it is, and any other error as the source of an [`Error::Connection`]. If
    /// the function returns [`NextAttempt::Stop`], the policy gives up at once, and a `connect` call that the
    /// policy repeats ([`first_connect`](Self::first_connect)) returns the last error.
    ///
    /// The function runs on the thread that makes the attempts: the reader thread of the lost connection, or
    /// the thread that has called `connect`. The function may block, for example in an HTTP request, and may
    /// call the client. [`Client::disconnect`](crate::Client::disconnect) does not wait for the function. If
    /// you disconnect or connect while it runs, the attempt is not made. The function is called only for the
    /// attempts of the policy, and not for your own call of `connect`.
    ///
    /// # Examples
    ///
    /// A new token for each attempt:
    ///
    /// ```
    /// use engineio::{Client, ConnectOptions, NextAttempt, Reconnection};
    ///
    /// # fn fetch_token() -> Result<String, std::io::Error> { Ok("token".into()) }
    /// fn options() -> Result<ConnectOptions, std::io::Error> {
    ///     let token = fetch_token()?;
    ///     Ok(ConnectOptions::new().header("Authorization", format!("Bearer {token}")))
    /// }
    ///
    /// let url = "https://example.org";
    /// let policy = Reconnection::new().before_attempt(move |upcoming| {
    ///     if upcoming.attempt() > 100 {
    ///         return Ok(NextAttempt::Stop);
    ///     }
    ///     // If `options` fails, the attempt counts as failed.
    ///     options().map(|options| NextAttempt::connect(url, options))
    /// });
    /// let client = Client::builder().reconnection(policy).build()?;
    /// # if false {
    /// client.connect_with(url, options()?)?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn before_attempt<F, E>(mut self, prepare: F) -> Self
    where
        F: Fn(&UpcomingAttempt<'_>) -> Result<NextAttempt, E> + Send + Sync + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.preparation = Some(Arc::new(move |upcoming| prepare(upcoming).map_err(Into::into)));
        self
    }

    /// Sets a function that is called for each step, on the thread that makes the attempts. A panic of the
    /// function is caught and otherwise ignored. Default: none.
    ///
    /// After the call, the step is also sent to the channels of [`Client::events`](crate::Client::events).
    pub fn on_event<F>(mut self, observer: F) -> Self
    where
        F: Fn(&ReconnectionEvent) + Send + Sync + 'static,
    {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Asks the user's function about an attempt. Returns `None` if `sleep` says that no attempt is wanted
    /// any more: the function may take a long time, and call the client.
    fn prepare(
        &self,
        attempt: u32,
        last_error: Option<&Error>,
        sleep: &mut impl FnMut(Duration) -> bool,
    ) -> Option<Result<NextAttempt>> {
        let Some(preparation) = &self.preparation else { return Some(Ok(NextAttempt::Repeat)) };
        let next = match guarded(|| preparation(&UpcomingAttempt { attempt, last_error })) {
            Ok(next) => next.map_err(not_prepared),
            Err(panic) => Err(Error::connection(format!("preparing the attempt {panic}"))),
        };
        sleep(Duration::ZERO).then_some(next)
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

    /// True if the user has set a function that is told about the steps.
    pub(crate) fn has_observer(&self) -> bool {
        self.observer.is_some()
    }

    /// Tells the user's function about a step.
    pub(crate) fn tell(&self, event: &ReconnectionEvent) {
        if let Some(observer) = &self.observer {
            // The panic hook reports a panic of the observer. It changes nothing here.
            let _ = guarded(|| observer(event));
        }
    }

    /// Makes attempts until one succeeds, there were enough of them, or they are called off. The error is
    /// that of the last attempt, if there was one. `goes_on` and `sleep` return false when no further
    /// attempts are wanted. `connect` gets the decision of the user's function, which is not to stop.
    pub(crate) fn run(
        &self,
        goes_on: impl Fn() -> bool,
        mut sleep: impl FnMut(Duration) -> bool,
        mut connect: impl FnMut(NextAttempt) -> Result<()>,
        mut report: impl FnMut(&ReconnectionEvent),
    ) -> Result<(), Option<Error>> {
        let mut tell = |event: ReconnectionEvent| {
            self.tell(&event);
            report(&event);
        };
        let (mut attempt, mut last) = (0, None);
        let owned = |last: Option<Arc<Error>>| last.map(Arc::unwrap_or_clone);
        while self.max_attempts.is_none_or(|max| attempt < max) {
            if !goes_on() {
                tell(ReconnectionEvent::Cancelled { attempts: attempt });
                return Err(owned(last));
            }
            attempt += 1;
            let delay = self.pause(attempt, random());
            tell(ReconnectionEvent::Waiting { attempt, delay });
            let next = if sleep(delay) { self.prepare(attempt, last.as_deref(), &mut sleep) } else { None };
            let Some(next) = next else {
                tell(ReconnectionEvent::Cancelled { attempts: attempt - 1 });
                return Err(owned(last));
            };
            if matches!(next, Ok(NextAttempt::Stop)) {
                attempt -= 1;
                break;
            }
            match next.and_then(&mut connect) {
                Ok(()) => {
                    tell(ReconnectionEvent::Connected { attempt });
                    return Ok(());
                }
                Err(error) => {
                    let error = last.insert(Arc::new(error)).clone();
                    tell(ReconnectionEvent::Failed { attempt, error });
                }
            }
        }
        tell(ReconnectionEvent::GaveUp { attempts: attempt });
        Err(owned(last))
    }
}

/// The error of an attempt whose preparation has failed.
fn not_prepared(error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => *own,
        // The texts of the error and of its causes are the user's code. An error that has none is not kept:
        // later readers would panic.
        Err(other) => match guarded(|| with_causes(&*other)) {
            Ok(_) => Error::connection_from(format!("preparing the attempt failed: {other}"), other),
            Err(panic) => {
                drop_guarded(other);
                Error::connection(format!("preparing the attempt failed, with an error that {panic}"))
            }
        },
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
mod tests;
