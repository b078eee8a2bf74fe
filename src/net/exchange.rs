use crate::sync::{Mutex, lock};

/// The bytes of a response that are kept to explain an error.
const KEPT: usize = 64;

/// The connection of the request in flight, as an error needs to know it. The transport writes it, and the
/// user agent reads it when the request has failed.
#[derive(Debug, Default)]
pub(super) struct Exchange(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Set if an earlier request has used the connection.
    reused: bool,
    /// The first bytes of the response.
    start: Vec<u8>,
}

impl Exchange {
    /// Forgets the request before, as the next one may fail without a connection.
    pub(super) fn reset(&self) {
        *lock(&self.0) = State::default();
    }

    /// Notes the first write of a request.
    pub(super) fn begin(&self, reused: bool) {
        *lock(&self.0) = State { reused, start: Vec::new() };
    }

    /// Notes the first bytes of the response.
    pub(super) fn answered(&self, bytes: &[u8]) {
        lock(&self.0).start.extend_from_slice(&bytes[..bytes.len().min(KEPT)]);
    }

    /// True if the connection was used before, and no byte of a response has come.
    pub(super) fn was_stale(&self) -> bool {
        let state = lock(&self.0);
        state.reused && state.start.is_empty()
    }

    /// The first bytes of the response.
    pub(super) fn start(&self) -> Vec<u8> {
        lock(&self.0).start.clone()
    }
}
