//! The buffer for bytes that were read from the socket and are not processed yet.

use std::io::{self, ErrorKind, Read};

/// The size of a read from a busy connection, in bytes.
const AHEAD: usize = 64 * 1024;

/// The lower limit of the buffer's size, and of the room for a read before bytes are moved to make room, in
/// bytes. The head and the payload of a control frame fit into it.
const LEAST: usize = 256;

/// The input buffer. It lives as long as the connection, so its size follows the bursts of data that arrive.
pub(super) struct Input {
    buffer: Box<[u8]>,
    /// The part of `buffer` from `start` to `end` has not been taken.
    start: usize,
    end: usize,
    /// The configured size of the buffer, in bytes. The buffer is never smaller.
    configured: usize,
    /// The size that the buffer needs for bursts like the last ones, in bytes.
    usual: usize,
    /// The number of bytes that were read since a read found nothing.
    burst: usize,
    /// Set if a read has filled the buffer, so more data is likely.
    busy: bool,
    /// Set if the last read took all data that had arrived. The next read would find nothing, so it is
    /// skipped.
    drained: bool,
    /// True if a short read means that no more data has arrived. This is false for TLS, which hands out one
    /// record at a time.
    short_read_drains: bool,
    /// The number of bytes that may still be read before the socket's lock is released.
    ration: usize,
}

impl Input {
    /// `early` holds bytes that were read together with the response to the opening request. Probably, no
    /// more had arrived.
    pub(super) fn new(early: &[u8], size: usize, short_read_drains: bool) -> Self {
        let configured = size.max(LEAST);
        let mut buffer = vec![0; configured.max(early.len())];
        buffer[..early.len()].copy_from_slice(early);
        let (buffer, end) = (buffer.into(), early.len());
        Input {
            buffer,
            start: 0,
            end,
            configured,
            usual: configured,
            burst: 0,
            busy: false,
            drained: short_read_drains && end > 0,
            short_read_drains,
            ration: 0,
        }
    }

    /// Sets the number of bytes after which reads fail with `WouldBlock`. Without this limit, a message in
    /// endless fragments would keep the lock forever.
    pub(super) fn ration(&mut self, bytes: usize) {
        self.ration = bytes;
    }

    /// True if the ration is used up. More data may have arrived then.
    pub(super) fn used_up(&self) -> bool {
        self.ration == 0
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Appends bytes from the stream to the buffer. Returns false at the end of the stream.
    pub(super) fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        self.make_room();
        let (end, size) = (self.end, self.buffer.len());
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.read(stream, &mut buffer[end..size]);
        self.buffer = buffer;
        self.end += *read.as_ref().unwrap_or(&0);
        match read {
            Err(e) => {
                self.make_room();
                Err(e)
            }
            Ok(count) => Ok(count > 0),
        }
    }

    /// Appends up to `count` bytes from the stream to `data`, without a copy in the buffer, which is empty.
    /// Returns false at the end of the stream.
    pub(super) fn read_into(
        &mut self,
        stream: &mut impl Read,
        data: &mut Vec<u8>,
        count: usize,
    ) -> io::Result<bool> {
        let (length, piece) = (data.len(), count.min(AHEAD));
        if data.capacity() - length < piece {
            // The memory grows with the data that has arrived, because a server can declare any length.
            data.reserve_exact(count.min(length.max(AHEAD)));
        }
        data.resize(length + piece, 0);
        let read = self.read(stream, &mut data[length..]);
        data.truncate(length + read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    fn read(&mut self, stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used_up() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let read = match std::mem::take(&mut self.drained) {
            true => Err(ErrorKind::WouldBlock.into()),
            false => stream.read(buffer),
        };
        match read {
            Ok(count) => {
                self.ration = self.ration.saturating_sub(count);
                self.burst = self.burst.saturating_add(count);
                self.busy |= count == buffer.len();
                self.drained = self.short_read_drains && 0 < count && count < buffer.len();
                Ok(count)
            }
            Err(e) => {
                self.end_burst();
                Err(e)
            }
        }
    }

    /// Adapts the usual size, so that one read takes all of the next burst if it is like this one. After
    /// small bursts, the size shrinks only step by step, because the sizes of bursts vary.
    fn end_burst(&mut self) {
        self.busy = false;
        let burst = std::mem::take(&mut self.burst).min(AHEAD);
        // An empty burst says nothing, because after each burst the reader looks for more before it waits.
        if burst > 0 {
            // The buffer has to be larger than the burst: after a read that fills it, more data is likely.
            let size = (burst + 1).next_power_of_two().max(self.usual / 2);
            self.usual = size.min(AHEAD).max(self.configured);
        }
    }

    /// Brings the buffer to the right size. Moves its bytes to the beginning if there is little room after
    /// them.
    fn make_room(&mut self) {
        let held = self.end - self.start;
        let size = if self.busy { AHEAD.max(self.configured) } else { self.usual };
        if self.buffer.len() != size && held <= size / 2 {
            let mut buffer = vec![0; size];
            buffer[..held].copy_from_slice(self.bytes());
            (self.buffer, self.start, self.end) = (buffer.into(), 0, held);
        } else if self.buffer.len() - self.end < LEAST {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream with a number of bytes. Further reads would block.
    struct Burst(usize);

    impl Read for Burst {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(self.0);
            self.0 -= count;
            if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
        }
    }

    /// Takes all of a burst. Returns the number of bytes, and the number of reads that found some.
    fn take_all(input: &mut Input, burst: usize) -> (usize, usize) {
        let mut burst = Burst(burst);
        let (mut taken, mut reads) = (0, 0);
        input.ration(usize::MAX);
        while input.fill(&mut burst).is_ok_and(|more| more) {
            reads += 1;
            taken += input.bytes().len();
            input.consume(input.bytes().len());
        }
        (taken, reads)
    }

    #[test]
    fn the_buffer_has_room_for_another_burst_of_the_same_size() {
        for short_read_drains in [true, false] {
            let mut input = Input::new(b"", 1024, short_read_drains);
            for (burst, reads, size) in [
                // The first read takes 1024 bytes, and each of the others up to 64 KiB.
                (200_000, 5, AHEAD),
                (200_000, 4, AHEAD),
                (40_000, 1, AHEAD),
                (5_000, 1, AHEAD / 2),
                (5_000, 1, AHEAD / 4),
                (5_000, 1, AHEAD / 8),
                (5_000, 1, AHEAD / 8),
                // A read that fills the buffer may have left something behind.
                (8_192, 1, AHEAD / 4),
                (10, 1, AHEAD / 8),
                (10, 1, AHEAD / 16),
                (10, 1, 2048),
                (10, 1, 1024),
                (10, 1, 1024),
            ] {
                assert_eq!(take_all(&mut input, burst), (burst, reads), "{burst} {short_read_drains}");
                // The reader looks for more before it waits.
                assert_eq!(take_all(&mut input, 0), (0, 0), "{burst} {short_read_drains}");
                assert_eq!(input.buffer.len(), size, "{burst} {short_read_drains}");
            }
        }
    }

    #[test]
    fn the_first_read_after_early_bytes_is_skipped() {
        for short_read_drains in [true, false] {
            let mut input = Input::new(b"early", 1024, short_read_drains);
            input.ration(usize::MAX);
            assert_eq!(input.bytes(), b"early");
            assert_eq!(input.fill(&mut Burst(4)).is_err(), short_read_drains);
            input.consume(5 + if short_read_drains { 0 } else { 4 });
            assert!(input.fill(&mut Burst(4)).unwrap());
            assert_eq!(input.bytes().len(), 4);
        }
    }

    #[test]
    fn a_ration_ends_a_burst() {
        let mut input = Input::new(b"", 1024, true);
        input.ration(1000);
        let mut burst = Burst(200_000);
        while input.fill(&mut burst).is_ok() {
            input.consume(input.bytes().len());
        }
        assert!(input.used_up() && burst.0 > 190_000);
    }

    #[test]
    fn a_declared_length_costs_nothing() {
        let mut input = Input::new(b"", 1024, true);
        let mut data = Vec::new();
        input.ration(usize::MAX);
        assert!(input.read_into(&mut Burst(10), &mut data, 1 << 30).unwrap());
        assert!(data.len() == 10 && data.capacity() <= 2 * AHEAD, "{}", data.capacity());
    }
}
