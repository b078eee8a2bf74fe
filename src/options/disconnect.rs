//! The options of a disconnect.

/// Options for [`Client::disconnect_with`](crate::Client::disconnect_with).
///
/// # Examples
///
/// ```
/// let disconnect = engineio::Disconnect::new().reason("the user logged out");
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing before they are given to `disconnect_with`"]
pub struct Disconnect {
    pub(crate) abort: bool,
    pub(crate) reason: Option<String>,
}

impl Disconnect {
    /// Makes options with the default values: queued messages are written, and the call waits until the
    /// connection is over.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the connection ends at once: queued messages are not written, the server is not told, and
    /// the call does not wait for handlers. If messages were queued, the call returns
    /// [`Error::Unsent`](crate::Error::Unsent) with their number, in a handler too. Default: false.
    pub fn abort(mut self, abort: bool) -> Self {
        self.abort = abort;
        self
    }

    /// Sets the reason that the disconnect handler gets, as [`Reason::Other`](crate::Reason::Other). Default:
    /// [`Reason::ClientDisconnect`](crate::Reason::ClientDisconnect).
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}
