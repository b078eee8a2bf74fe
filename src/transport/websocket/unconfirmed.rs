//! The messages that the system has taken, and that the server's system may not have.

use std::collections::VecDeque;

/// The bytes after which messages are counted separately. Counts of fewer bytes would be many.
const GRAIN: u64 = 64 * 1024;

/// The most counts that are kept. Their bytes are more than the buffers of a socket hold.
const MOST: usize = 256;

/// The count of written messages by the places in the stream at which they end.
#[derive(Default)]
pub(super) struct Unconfirmed {
    parts: VecDeque<Part>,
    /// The place at which the last part ends.
    end: u64,
}

/// A part of the stream, which begins where the one before ends.
struct Part {
    start: u64,
    messages: u64,
}

impl Unconfirmed {
    /// Records messages that end at this place in the stream.
    pub(super) fn written(&mut self, end: u64, messages: u64) {
        match self.parts.back_mut() {
            Some(part) if self.end - part.start < GRAIN => part.messages += messages,
            _ => {
                if self.parts.len() == MOST {
                    self.parts.pop_front();
                }
                self.parts.push_back(Part { start: self.end, messages });
            }
        }
        self.end = end;
    }

    /// The number of messages in parts of which some bytes are not confirmed, if `sent` bytes were sent and
    /// the last `bytes` of them are not confirmed.
    pub(super) fn messages(&self, sent: u64, bytes: u64) -> u64 {
        let confirmed = sent.saturating_sub(bytes);
        let ends = self.parts.iter().skip(1).map(|part| part.start).chain([self.end]);
        let parts = self.parts.iter().zip(ends).filter(|(_, end)| *end > confirmed);
        parts.map(|(part, _)| part.messages).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_messages_are_counted_exactly() {
        let mut counts = Unconfirmed::default();
        for number in 1..=20 {
            counts.written(number * 100_000, 1);
        }
        let sent = 2_000_000;
        for (bytes, messages) in [(0, 0), (1, 1), (100_000, 1), (100_001, 2), (sent, 20), (u64::MAX, 20)] {
            assert_eq!(counts.messages(sent, bytes), messages, "{bytes}");
        }
    }

    #[test]
    fn small_messages_are_never_forgotten() {
        let mut counts = Unconfirmed::default();
        for number in 1..=10_000 {
            counts.written(number * 100, 1);
        }
        for bytes in [1, 100, 5000, 70_000, 999_999] {
            let (least, told) = (bytes_of(bytes), counts.messages(1_000_000, bytes));
            assert!((least..=least + 2 * GRAIN / 100).contains(&told), "{bytes}: {told}");
        }
        assert!(counts.parts.len() < 20);
    }

    fn bytes_of(bytes: u64) -> u64 {
        bytes.div_ceil(100)
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut counts = Unconfirmed::default();
        for number in 1..=10_000 {
            counts.written(number * 100_000, 1);
        }
        assert_eq!((counts.parts.len(), counts.messages(1_000_000_000, u64::MAX)), (MOST, MOST as u64));
    }
}
