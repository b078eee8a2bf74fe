/// The effect of Ctrl-C (SIGINT) on a client and its program, for
/// [`ClientBuilder::handle_sigint`](crate::ClientBuilder::handle_sigint).
///
/// `true` converts to [`Exit`](Self::Exit), and `false` to [`Ignore`](Self::Ignore).
///
/// # Examples
///
/// ```
/// use engineio::OnSigint;
///
/// assert_eq!(OnSigint::from(true), OnSigint::default());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnSigint {
    /// The client disconnects. Then the signal has the effect that it had before the first call of
    /// [`Client::connect`](crate::Client::connect): it ends the process, unless the program had installed a
    /// handler. If the process ends, [`Client::wait`](crate::Client::wait) does not return, so the code after
    /// it does not run.
    #[default]
    Exit,
    /// The client disconnects, [`Client::wait`](crate::Client::wait) returns, and the program continues, for
    /// example to write data that it has in memory. A [`Client::connect`] that is under way returns an error.
    /// If one client has `Exit` and another one `Return`, `Return` takes precedence.
    ///
    /// [`Client::connect`]: crate::Client::connect
    Return,
    /// The client stays connected, and neither installs a handler nor starts a thread for the signal.
    Ignore,
}

impl From<bool> for OnSigint {
    fn from(handle: bool) -> Self {
        if handle { OnSigint::Exit } else { OnSigint::Ignore }
    }
}
