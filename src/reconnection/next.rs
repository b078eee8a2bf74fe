//! The user's choice of the URL and the options before each attempt of the policy.

use std::fmt;

use crate::error::Error;
use crate::options::connect::ConnectOptions;

/// An attempt of the reconnection policy that is about to be made, for
/// [`Reconnection::before_attempt`](crate::Reconnection::before_attempt).
#[derive(Debug)]
pub struct UpcomingAttempt<'a> {
    pub(super) attempt: u32,
    pub(super) last_error: Option<&'a Error>,
}

impl UpcomingAttempt<'_> {
    /// The number of the attempt. It starts with 1 after each lost connection, and after a failed `connect`
    /// call that the policy repeats.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The error of the previous attempt; `None` for the first attempt. After a lost connection,
    /// [`Client::last_error`](crate::Client::last_error) returns the error that ended it.
    pub fn last_error(&self) -> Option<&Error> {
        self.last_error
    }
}

/// The decision about an attempt, for [`Reconnection::before_attempt`](crate::Reconnection::before_attempt).
#[non_exhaustive]
pub enum NextAttempt {
    /// The attempt repeats the last call of `connect`. Without a function, every attempt does this.
    Repeat,
    /// The attempt connects to this URL with these options. They are used for this attempt only: a later
    /// attempt with [`Repeat`](NextAttempt::Repeat) repeats the last call of `connect`.
    #[non_exhaustive]
    Connect {
        /// The URL, as for [`Client::connect_with`](crate::Client::connect_with).
        url: String,
        /// The options.
        options: ConnectOptions,
    },
    /// The policy gives up, and makes no more attempts.
    Stop,
}

impl NextAttempt {
    /// Makes a [`NextAttempt::Connect`] with this URL and these options.
    pub fn connect(url: impl Into<String>, options: ConnectOptions) -> Self {
        NextAttempt::Connect { url: url.into(), options }
    }
}

/// The URL is not shown, because it may contain a token.
impl fmt::Debug for NextAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextAttempt::Repeat => f.write_str("Repeat"),
            NextAttempt::Connect { options, .. } => {
                f.debug_struct("Connect").field("options", options).finish_non_exhaustive()
            }
            NextAttempt::Stop => f.write_str("Stop"),
        }
    }
}
