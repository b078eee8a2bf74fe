//! An attempt to connect, and the facts that a client remembers from one attempt to the next.

use std::sync::Arc;

use url::Url;

use crate::error::{Error, Result};
use crate::net::{AnsweredAddresses, HttpClient};
use crate::sync::{AtomicBool, Mutex, lock};

/// An attempt to connect, which another thread can cancel.
#[derive(Default)]
pub(crate) struct Attempt(Mutex<AttemptState>);

#[derive(Default)]
struct AttemptState {
    cancelled: bool,
    http: Option<HttpClient>,
}

impl Attempt {
    /// Makes the attempt end soon, whatever it is waiting for.
    pub(crate) fn cancel(&self) {
        let http = {
            let mut state = lock(&self.0);
            state.cancelled = true;
            state.http.take()
        };
        if let Some(http) = http {
            http.close();
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        lock(&self.0).cancelled
    }

    pub(crate) fn cancelled_error() -> Error {
        Error::connection("the connection attempt was ended by `disconnect` or Ctrl-C")
    }

    /// Registers the HTTP client that `cancel` has to close. Fails if the attempt was cancelled already.
    pub(super) fn register(&self, http: &HttpClient) -> Result<()> {
        let mut state = lock(&self.0);
        if state.cancelled {
            return Err(Self::cancelled_error());
        }
        state.http = Some(http.clone());
        Ok(())
    }
}

/// Facts that earlier attempts of a client have found out, and that its next attempts use.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    /// The addresses of servers and proxies that have answered. The next connection tries them first.
    pub(super) answered: Arc<AnsweredAddresses>,
    /// Set after an upgrade, and reset when a connection cannot start over websocket.
    pub(super) upgraded: Arc<AtomicBool>,
    /// The URL of the last connection, without its query.
    pub(super) connected_to: Arc<Mutex<Option<Url>>>,
}

impl Memory {
    /// True if the last connection was to this URL.
    pub(super) fn knows(&self, base: &Url) -> bool {
        lock(&self.connected_to).as_ref() == Some(base)
    }
}
