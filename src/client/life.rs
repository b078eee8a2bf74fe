//! The state machine of a client, for its connections and the times between them. This is the table of its
//! steps:
//!
//! | step | taken by | from | to |
//! |---|---|---|---|
//! | begin | `connect`, the policy | disconnected | connecting |
//! | adopt | the attempt that has a session | connecting | connected |
//! | give_up | the attempt that failed | connecting | disconnected |
//! | disconnect | the user, the last handle, Ctrl-C | connected | disconnecting |
//! | disconnect | the user, the last handle, Ctrl-C | connecting | connecting, attempt cancelled |
//! | lose | the reader thread, before the disconnect handler | connected, disconnecting | disconnected |
//!
//! From any other stage, a step leads nowhere: the stage stays as it is.

use std::sync::Arc;

/// The state of a client.
///
/// `Disconnected → Connecting → Connected → Disconnecting → Disconnected`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// There is no connection. This is the state while the disconnect handler runs.
    Disconnected,
    /// An attempt to connect is under way.
    Connecting,
    /// Messages can be sent. This is the state while the connect handler runs.
    Connected,
    /// The client has begun to disconnect, or the connection is over and the handlers are still processing
    /// messages that arrived before its end.
    Disconnecting,
}

/// The stage of a client. `A` is an attempt to connect, `C` a connection.
pub(super) enum Stage<A, C> {
    Disconnected,
    /// A cancelled attempt cannot be adopted any more.
    Connecting {
        attempt: Arc<A>,
        cancelled: bool,
    },
    Connected(Arc<C>),
    Disconnecting(Arc<C>),
}

/// The state machine. It has no side effects: its owner holds the lock, takes a step and acts on the result.
pub(super) struct Life<A, C> {
    stage: Stage<A, C>,
    /// The number of the user's decisions: a successful `connect`, a `disconnect`, the drop of the last
    /// handle. A reconnection by the policy ends when this number changes.
    epoch: u64,
    /// The epoch of the last decision to connect.
    connect_epoch: u64,
    /// Set when the last handle was dropped.
    abandoned: bool,
}

/// The reason why an attempt cannot begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotDisconnected,
    /// The user has connected or disconnected since the reconnection began.
    Superseded,
    /// Every handle was dropped.
    Abandoned,
}

/// The connection or attempt that a disconnect has to end.
pub(super) struct Found<A, C> {
    /// The connection to close.
    pub(super) connection: Option<Arc<C>>,
    /// The attempt to cancel.
    pub(super) attempt: Option<Arc<A>>,
}

impl<A, C> Life<A, C> {
    pub(super) fn new() -> Self {
        Life { stage: Stage::Disconnected, epoch: 0, connect_epoch: 0, abandoned: false }
    }

    pub(super) fn stage(&self) -> &Stage<A, C> {
        &self.stage
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// True if the user has not connected since that epoch began, but only disconnected, or dropped the last
    /// handle.
    pub(super) fn is_called_off(&self, epoch: u64) -> bool {
        self.epoch > epoch && self.connect_epoch <= epoch
    }

    /// Starts the epoch of a decision to connect.
    fn decide_to_connect(&mut self) {
        self.epoch += 1;
        self.connect_epoch = self.epoch;
    }

    pub(super) fn connection(&self) -> Option<&Arc<C>> {
        match &self.stage {
            Stage::Connected(connection) | Stage::Disconnecting(connection) => Some(connection),
            Stage::Disconnected | Stage::Connecting { .. } => None,
        }
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting { .. })
    }

    /// Starts an epoch for a `connect` that is repeated until it succeeds.
    pub(super) fn begin_epoch(&mut self) -> Result<u64, Refusal> {
        self.check_begin(None)?;
        self.decide_to_connect();
        Ok(self.epoch)
    }

    /// Starts an attempt: the user's without an epoch, or the policy's in its epoch.
    pub(super) fn begin(&mut self, attempt: Arc<A>, epoch: Option<u64>) -> Result<(), Refusal> {
        self.check_begin(epoch)?;
        self.stage = Stage::Connecting { attempt, cancelled: false };
        Ok(())
    }

    fn check_begin(&self, epoch: Option<u64>) -> Result<(), Refusal> {
        if self.abandoned {
            return Err(Refusal::Abandoned);
        }
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            return Err(Refusal::Superseded);
        }
        match self.stage {
            Stage::Disconnected => Ok(()),
            _ => Err(Refusal::NotDisconnected),
        }
    }

    /// Makes the connection the current one. Returns its epoch; the user's own attempt starts a new one.
    /// Returns `None` if the attempt was cancelled.
    pub(super) fn adopt(&mut self, attempt: &Arc<A>, connection: Arc<C>, epoch: Option<u64>) -> Option<u64> {
        match &self.stage {
            Stage::Connecting { attempt: current, cancelled: false } if Arc::ptr_eq(current, attempt) => {
                self.stage = Stage::Connected(connection);
                if epoch.is_none() {
                    self.decide_to_connect();
                }
                Some(self.epoch)
            }
            _ => None,
        }
    }

    /// True until the attempt is adopted or given up.
    pub(super) fn is_at_work(&self, attempt: &Arc<A>) -> bool {
        matches!(&self.stage, Stage::Connecting { attempt: current, .. } if Arc::ptr_eq(current, attempt))
    }

    /// Ends a failed attempt.
    pub(super) fn give_up(&mut self, attempt: &Arc<A>) {
        if self.is_at_work(attempt) {
            self.stage = Stage::Disconnected;
        }
    }

    /// Disconnects, or cancels the attempt to connect. Returns the connection or attempt, for the caller to
    /// end it.
    pub(super) fn disconnect(&mut self) -> Found<A, C> {
        self.epoch += 1;
        let mut found = Found { connection: self.connection().cloned(), attempt: None };
        match &mut self.stage {
            Stage::Connecting { attempt, cancelled } => {
                *cancelled = true;
                found.attempt = Some(attempt.clone());
            }
            Stage::Connected(connection) => self.stage = Stage::Disconnecting(connection.clone()),
            Stage::Disconnected | Stage::Disconnecting(_) => {}
        }
        found
    }

    /// Makes the client disconnected if its connection is lost. Returns that connection.
    pub(super) fn lose(&mut self, is_lost: impl Fn(&C) -> bool) -> Option<Arc<C>> {
        let lost = self.connection().filter(|connection| is_lost(connection)).cloned()?;
        self.stage = Stage::Disconnected;
        Some(lost)
    }

    /// Records whether the user has dropped the last handle.
    pub(super) fn set_abandoned(&mut self, abandoned: bool) {
        self.abandoned = abandoned;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sut = Life<char, u32>;

    fn name(life: &Sut) -> &'static str {
        match life.stage() {
            Stage::Disconnected => "disconnected",
            Stage::Connecting { cancelled: false, .. } => "connecting",
            Stage::Connecting { cancelled: true, .. } => "cancelled",
            Stage::Connected(_) => "connected",
            Stage::Disconnecting(_) => "disconnecting",
        }
    }

    /// A client in each of its stages, with the attempt that it has or had there.
    fn stages() -> [(Sut, Arc<char>); 5] {
        std::array::from_fn(|stage| {
            let (mut life, attempt) = (Sut::new(), Arc::new('a'));
            if stage > 0 {
                life.begin(attempt.clone(), None).unwrap();
            }
            if stage == 2 {
                life.disconnect();
            }
            if stage > 2 {
                life.adopt(&attempt, Arc::new(7), None).unwrap();
            }
            if stage > 3 {
                life.disconnect();
            }
            (life, attempt)
        })
    }

    /// Takes a step from every stage, in the order of [`stages`], and compares the stages that follow.
    fn assert_leads(expected: [&str; 5], step: impl Fn(&mut Sut, &Arc<char>)) {
        let led = stages().map(|(mut life, attempt)| {
            step(&mut life, &attempt);
            name(&life)
        });
        assert_eq!(led, expected);
    }

    const UNCHANGED: [&str; 5] = ["disconnected", "connecting", "cancelled", "connected", "disconnecting"];

    #[test]
    fn the_table_of_steps() {
        assert_leads(UNCHANGED, |_, _| {});
        let begun = ["connecting", "connecting", "cancelled", "connected", "disconnecting"];
        assert_leads(begun, |life, _| drop(life.begin(Arc::new('a'), None)));
        let adopted = ["disconnected", "connected", "cancelled", "connected", "disconnecting"];
        assert_leads(adopted, |life, attempt| _ = life.adopt(attempt, Arc::new(8), None));
        let given_up = ["disconnected", "disconnected", "disconnected", "connected", "disconnecting"];
        assert_leads(given_up, |life, attempt| life.give_up(attempt));
        let ended = ["disconnected", "cancelled", "cancelled", "disconnecting", "disconnecting"];
        assert_leads(ended, |life, _| drop(life.disconnect()));
        let lost = ["disconnected", "connecting", "cancelled", "disconnected", "disconnected"];
        assert_leads(lost, |life, _| drop(life.lose(|connection| *connection == 7)));
    }

    #[test]
    fn a_step_for_another_attempt_or_connection_changes_nothing() {
        assert_leads(UNCHANGED, |life, _| life.give_up(&Arc::new('a')));
        assert_leads(UNCHANGED, |life, _| _ = life.adopt(&Arc::new('a'), Arc::new(8), None));
        assert_leads(UNCHANGED, |life, _| drop(life.lose(|connection| *connection == 8)));
    }

    #[test]
    fn a_disconnect_finds_what_there_is_to_end() {
        let found = stages().map(|(mut life, _)| {
            let found = life.disconnect();
            (found.connection.is_some(), found.attempt.is_some())
        });
        assert_eq!(found, [(false, false), (false, true), (false, true), (true, false), (true, false)]);
    }

    #[test]
    fn what_the_user_decides_ends_an_epoch() {
        let (attempt, mut life) = (Arc::new('a'), Sut::new());
        let epoch = life.begin_epoch().unwrap();
        life.begin(attempt.clone(), Some(epoch)).unwrap();
        assert_eq!(life.adopt(&attempt, Arc::new(1), Some(epoch)), Some(epoch));
        life.lose(|_| true).unwrap();
        life.disconnect();
        assert_eq!(life.begin(attempt.clone(), Some(epoch)), Err(Refusal::Superseded));
        life.begin(attempt.clone(), None).unwrap();
        assert_eq!(life.begin_epoch(), Err(Refusal::NotDisconnected));
        assert_eq!(life.adopt(&attempt, Arc::new(2), None), Some(epoch + 2));
    }

    #[test]
    fn an_epoch_is_called_off_unless_the_user_connects_again() {
        let (attempt, mut life) = (Arc::new('a'), Sut::new());
        life.begin(attempt.clone(), None).unwrap();
        let first = life.adopt(&attempt, Arc::new(1), None).unwrap();
        assert!(!life.is_called_off(first));
        life.disconnect();
        assert!(life.is_called_off(first));
        life.lose(|_| true).unwrap();
        life.begin(attempt.clone(), None).unwrap();
        assert!(life.is_called_off(first), "an attempt that may fail is no decision");
        let second = life.adopt(&attempt, Arc::new(2), None).unwrap();
        life.disconnect();
        assert!(!life.is_called_off(first) && life.is_called_off(second));
    }

    #[test]
    fn a_client_without_handles_does_not_connect() {
        let mut life = Sut::new();
        life.set_abandoned(true);
        assert_eq!(life.begin(Arc::new('a'), None), Err(Refusal::Abandoned));
        life.set_abandoned(false);
        assert_eq!(life.begin(Arc::new('a'), None), Ok(()));
    }
}
