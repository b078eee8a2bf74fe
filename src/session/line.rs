//! The line of senders that wait for room in the outbox. There are no locks here, because the outbox holds
//! its own.

/// The line of senders that wait for room; first come, first served.
#[derive(Default)]
pub(super) struct Line {
    /// The ticket of the next sender to join.
    next: u64,
    /// The ticket of the sender whose turn it is.
    serving: u64,
}

/// A place in the line of senders.
pub(super) struct Ticket(u64);

impl Line {
    /// True if no sender waits.
    pub(super) fn is_empty(&self) -> bool {
        self.serving == self.next
    }

    pub(super) fn join(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next - 1)
    }

    pub(super) fn is_turn_of(&self, ticket: &Ticket) -> bool {
        self.serving == ticket.0
    }

    /// Ends the turn of the sender at the front.
    pub(super) fn advance(&mut self) {
        self.serving += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_serves_in_the_order_of_joining() {
        let mut line = Line::default();
        assert!(line.is_empty());
        let (first, second) = (line.join(), line.join());
        assert!(line.is_turn_of(&first) && !line.is_turn_of(&second));
        line.advance();
        assert!(line.is_turn_of(&second) && !line.is_empty());
        line.advance();
        assert!(line.is_empty());
    }
}
