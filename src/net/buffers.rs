use std::sync::Arc;

use ureq::config::Config;
use ureq::unversioned::transport::Buffers;

use crate::sync::{AtomicUsize, Ordering};

/// The size of a read, in bytes, until a read has filled the buffer. It is small because most responses are
/// short, and a new buffer has to be zeroed.
const FIRST: usize = 4 * 1024;

/// The size of a read after that, in bytes. The input buffer is larger only for a long head of a response.
const INPUT: usize = 32 * 1024;

/// The size of the output buffer for requests without a body, in bytes. The buffer is larger only if a line
/// of a request's head is longer.
pub(super) const GET_OUTPUT: usize = 4 * 1024;

/// The same for requests with a body. A POST of 16 messages of 1 KiB fits, with its head, so that it goes out
/// in one write.
pub(super) const POST_OUTPUT: usize = 20 * 1024;

/// The smallest limit for a line of a request's head, in bytes.
const LINE: usize = 32 * 1024;

/// The room for a part of a request's body, in bytes.
const SCRATCH: usize = 10 * 1024;

/// The length of the longest line in the heads of a client's requests so far, in bytes. ureq writes a line
/// only as a whole, so the output buffer has to hold it.
#[derive(Debug, Default)]
pub(super) struct LongestLine(AtomicUsize);

impl LongestLine {
    pub(super) fn add(&self, length: usize) {
        self.0.fetch_max(length, Ordering::Relaxed);
    }

    fn longest(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The buffers of one connection. ureq's own buffers keep their full size as long as the connection lives,
/// even while a long poll waits. Here the output buffer exists only while a request is written, and an empty
/// input buffer is freed unless it has the size of a read.
#[derive(Debug)]
pub(super) struct HttpBuffers {
    input: Vec<u8>,
    /// The part of `input` from `start` to `end` has been received and not yet consumed.
    start: usize,
    end: usize,
    /// The size of a read, in bytes.
    read: usize,
    /// The limit for the size of `input`, in bytes.
    input_limit: usize,
    output: Vec<u8>,
    /// The least size of `output`, in bytes.
    output_size: usize,
    /// The limit for the size of `output`, in bytes.
    output_limit: usize,
    line: Arc<LongestLine>,
    /// The number of bytes at the beginning of `output` that are to be sent with what follows.
    held: usize,
    /// True if the last call of `input_consume` consumed anything.
    progress: bool,
}

impl HttpBuffers {
    /// `output_size` is [`GET_OUTPUT`] or [`POST_OUTPUT`], or more for the user's agent.
    pub(super) fn new(config: &Config, output_size: usize, line: Arc<LongestLine>) -> Self {
        // With one byte more than the limit in the buffer, ureq sees that a head is too large.
        let head = config.max_response_header_size().saturating_add(1);
        HttpBuffers {
            input: Vec::new(),
            start: 0,
            end: 0,
            read: FIRST,
            input_limit: config.input_buffer_size().max(INPUT).max(head),
            output: Vec::new(),
            output_size,
            output_limit: config.output_buffer_size().max(LINE),
            line,
            held: 0,
            progress: false,
        }
    }

    /// Allocates the output buffer, unless a request is being written already.
    fn make_output(&mut self) {
        if self.output.is_empty() {
            self.output = vec![0; self.line.longest().clamp(self.output_size, self.output_limit)];
        }
    }

    /// Adds the next bytes in the output buffer to those that are to be sent, and returns whether they can
    /// wait: the body of a request follows its head, and both go out in one write.
    pub(super) fn hold(&mut self, amount: usize) -> bool {
        self.held += amount;
        self.held().ends_with(b"\r\n\r\n") && self.held <= self.output.len() / 2
    }

    /// The bytes that are to be sent.
    pub(super) fn held(&self) -> &[u8] {
        &self.output[..self.held]
    }

    /// Replaces the bytes that are to be sent.
    pub(super) fn replace_held(&mut self, bytes: &[u8]) {
        let size = self.output.len().max(bytes.len() + self.output_size);
        self.output.resize(size, 0);
        self.output[..bytes.len()].copy_from_slice(bytes);
        self.held = bytes.len();
    }

    /// Forgets the held bytes, because they are sent.
    pub(super) fn sent(&mut self) {
        self.held = 0;
    }

    /// Frees the output buffer, once the request has been written.
    pub(super) fn written(&mut self) {
        self.output = Vec::new();
        self.held = 0;
    }

    /// Makes room for `wanted` bytes behind the unconsumed input.
    fn make_room(&mut self, wanted: usize) {
        if self.start > 0 && self.input.len() - self.end < wanted {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.input.len() - self.end < wanted {
            let size = (self.input.len() * 2).max(self.end + wanted).max(self.read);
            self.input.resize(size.min(self.input_limit.max(self.end + wanted)), 0);
        }
    }
}

impl Buffers for HttpBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.make_output();
        &mut self.output[self.held..]
    }

    fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        if self.end - self.start < self.input_limit {
            self.make_room(1);
        }
        &mut self.input[self.end..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.end += amount;
        if self.end == self.input.len() {
            self.read = INPUT;
        }
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.start += amount;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.input.len() != self.read {
                self.input = Vec::new();
            }
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.make_output();
        self.make_room(SCRATCH);
        (&mut self.input[self.end..], &mut self.output[self.held..])
    }

    fn can_use_input(&self) -> bool {
        self.end > self.start && self.progress
    }
}

#[cfg(test)]
mod tests {
    use ureq::Agent;

    use super::*;

    fn append(buffers: &mut HttpBuffers, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = buffers.input_append_buf();
            let count = room.len().min(rest.len());
            assert!(count > 0, "the buffer is full");
            room[..count].copy_from_slice(&rest[..count]);
            buffers.input_appended(count);
            rest = &rest[count..];
        }
    }

    #[test]
    fn the_input_grows_to_its_limit_and_shrinks_again() {
        let config = Agent::config_builder().max_response_header_size(100_000).input_buffer_size(1).build();
        let mut buffers = HttpBuffers::new(&config, POST_OUTPUT, Arc::default());
        assert_eq!((buffers.input.capacity(), buffers.output.capacity()), (0, 0));
        let head: Vec<u8> = (0..100_001_u32).map(|n| n as u8).collect();
        append(&mut buffers, &head);
        assert_eq!(buffers.input(), head);
        assert!(buffers.input_append_buf().is_empty());
        buffers.input_consume(70_000);
        assert!(buffers.can_use_input());
        append(&mut buffers, &head[..50_000]);
        assert_eq!(buffers.input(), [&head[70_000..], &head[..50_000]].concat());
        buffers.input_consume(80_001);
        assert!(!buffers.can_use_input());
        assert_eq!((buffers.input().len(), buffers.input.capacity()), (0, 0));
        append(&mut buffers, b"more");
        assert_eq!((buffers.input(), buffers.input.len()), (b"more".as_slice(), INPUT));
    }

    #[test]
    fn the_output_is_there_for_the_request_alone() {
        let config = Agent::config_builder().output_buffer_size(50_000).build();
        for (line, size) in [(0, POST_OUTPUT), (40_000, 40_000), (60_000, 50_000)] {
            let mut buffers = HttpBuffers::new(&config, POST_OUTPUT, Arc::default());
            buffers.line.add(line);
            assert_eq!(buffers.output().len(), size);
            append(&mut buffers, &[7; INPUT - 1]);
            let (scratch, output) = buffers.tmp_and_output();
            assert!(scratch.len() >= SCRATCH && output.len() == size);
            assert_eq!(buffers.input(), [7; INPUT - 1]);
            buffers.written();
            assert_eq!(buffers.output.capacity(), 0);
        }
    }

    /// Writes into the output buffer as ureq does.
    fn put(buffers: &mut HttpBuffers, bytes: &[u8]) -> bool {
        buffers.output()[..bytes.len()].copy_from_slice(bytes);
        buffers.hold(bytes.len())
    }

    #[test]
    fn a_head_waits_for_its_body() {
        let mut buffers = HttpBuffers::new(&Agent::config_builder().build(), POST_OUTPUT, Arc::default());
        assert!(!put(&mut buffers, b"POST / HTTP/1.1\r\n"), "the head goes on");
        assert!(put(&mut buffers, b"A: b\r\n\r\n"));
        buffers.replace_held(b"POST http://h/ HTTP/1.1\r\n\r\n");
        assert!(!put(&mut buffers, b"body"));
        assert_eq!(buffers.held(), b"POST http://h/ HTTP/1.1\r\n\r\nbody");
        buffers.sent();
        assert_eq!((buffers.held().len(), buffers.output().len() >= POST_OUTPUT), (0, true));
        // A large head leaves too little room for a body.
        let large = [&[b'x'; POST_OUTPUT][..], b"\r\n\r\n"].concat();
        assert!(!put(&mut buffers, &large));
    }
}
