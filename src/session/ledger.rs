//! The count of messages that the outbox has accepted and that were written. There are no locks here, because
//! the outbox holds its own.

/// The count of messages, which are numbered in the order in which they are accepted and are written in that
/// order. A message counts as unsent until it is known to be written.
#[derive(Default)]
pub(super) struct Ledger {
    /// The number of the last message that was accepted.
    accepted: u64,
    /// The number of the last message that was written.
    written_to: u64,
    /// The number of written messages that the end of the connection may have destroyed.
    unconfirmed: u64,
    /// Set when the session is over: the counts do not change any more.
    frozen: bool,
}

impl Ledger {
    /// Records accepted messages.
    pub(super) fn accept(&mut self, messages: u64) {
        self.accepted += messages;
    }

    /// Takes back the last accepted messages, which cannot be written. Returns false if they count as unsent
    /// already.
    pub(super) fn withdraw(&mut self, messages: u64) -> bool {
        if !self.frozen {
            self.accepted -= messages;
        }
        !self.frozen
    }

    /// Records written messages. Returns false if the counts are frozen.
    pub(super) fn write(&mut self, messages: u64) -> bool {
        if !self.frozen {
            self.written_to += messages;
        }
        !self.frozen
    }

    /// The number of the last message that was accepted.
    pub(super) fn last(&self) -> u64 {
        self.accepted
    }

    pub(super) fn is_written(&self, number: u64) -> bool {
        self.written_to >= number
    }

    /// Sets the number of written messages that the end of the connection may destroy.
    pub(super) fn set_unconfirmed(&mut self, messages: u64) {
        if !self.frozen {
            self.unconfirmed = messages.min(self.written_to);
        }
    }

    pub(super) fn freeze(&mut self) {
        self.frozen = true;
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }

    pub(super) fn unsent(&self) -> u64 {
        self.accepted - self.written_to + self.unconfirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsent_is_what_was_accepted_and_not_written() {
        let mut ledger = Ledger::default();
        ledger.accept(3);
        assert!(ledger.write(1) && ledger.withdraw(1));
        assert_eq!((ledger.unsent(), ledger.is_written(1), ledger.is_written(2)), (1, true, false));
        ledger.set_unconfirmed(5);
        assert_eq!(ledger.unsent(), 2, "no message is counted twice");
        ledger.set_unconfirmed(0);
        ledger.freeze();
        ledger.set_unconfirmed(1);
        assert!(!ledger.write(1) && !ledger.withdraw(1));
        assert_eq!(ledger.unsent(), 1);
    }
}
