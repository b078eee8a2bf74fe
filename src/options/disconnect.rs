/// How to end a connection, for [`Client::disconnect_with`](crate::Client::disconnect_with).
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
    /// The defaults: write what is queued, wait for the end.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the connection at once: what is queued is not written, the server is not told, and the call does
    /// not wait for the handlers. Default: false.
    pub fn abort(mut self, abort: bool) -> Self {
        self.abort = abort;
        self
    }

    /// The reason given to the disconnect handler, as [`Reason::Other`](crate::Reason::Other). Default:
    /// [`Reason::ClientDisconnect`](crate::Reason::ClientDisconnect).
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}
