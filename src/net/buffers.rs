use ureq::config::Config;
use ureq::unversioned::transport::Buffers;

/// The size of a read, in bytes. The input buffer grows beyond it only for the head of a response.
const INPUT: usize = 32 * 1024;

/// The smallest output buffer, in bytes.
const OUTPUT: usize = 32 * 1024;

/// The room for a part of a request's body, in bytes.
const SCRATCH: usize = 10 * 1024;

/// The buffers of one connection. ureq's own keep their full size as long as the connection lives, also while
/// a long poll waits. These are allocated when they are needed, and freed afterwards.
#[derive(Debug)]
pub(super) struct HttpBuffers {
    input: Vec<u8>,
    /// The part of `input` from `start` to `end` has been received and not yet consumed.
    start: usize,
    end: usize,
    /// The limit for the size of `input`, in bytes.
    input_limit: usize,
    output: Vec<u8>,
    output_size: usize,
    /// True if the last call of `input_consume` consumed anything.
    progress: bool,
}

impl HttpBuffers {
    pub(super) fn new(config: &Config) -> Self {
        // With one byte more than the limit in the buffer, ureq sees that a head is too large.
        let head = config.max_response_header_size().saturating_add(1);
        HttpBuffers {
            input: Vec::new(),
            start: 0,
            end: 0,
            input_limit: config.input_buffer_size().max(INPUT).max(head),
            output: Vec::new(),
            // ureq writes a header only as a whole.
            output_size: config.output_buffer_size().max(OUTPUT),
            progress: false,
        }
    }

    /// Frees the output buffer, once the request has been written.
    pub(super) fn written(&mut self) {
        self.output = Vec::new();
    }

    /// Makes room for `wanted` bytes behind the unconsumed input.
    fn make_room(&mut self, wanted: usize) {
        if self.start > 0 && self.input.len() - self.end < wanted {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.input.len() - self.end < wanted {
            let size = (self.input.len() * 2).max(self.end + wanted).max(INPUT);
            self.input.resize(size.min(self.input_limit.max(self.end + wanted)), 0);
        }
    }
}

impl Buffers for HttpBuffers {
    fn output(&mut self) -> &mut [u8] {
        if self.output.is_empty() {
            // The allocator gives zeroed memory, which costs next to nothing at this size.
            self.output = vec![0; self.output_size];
        }
        &mut self.output
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
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.start += amount;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.input.len() > INPUT {
                self.input = Vec::new();
            }
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.output();
        self.make_room(SCRATCH);
        (&mut self.input[self.end..], &mut self.output)
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
        let mut buffers = HttpBuffers::new(&config);
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
        let mut buffers = HttpBuffers::new(&config);
        assert_eq!(buffers.output().len(), 50_000);
        append(&mut buffers, &[7; INPUT - 1]);
        let (scratch, output) = buffers.tmp_and_output();
        assert!(scratch.len() >= SCRATCH && output.len() == 50_000);
        assert_eq!(buffers.input(), [7; INPUT - 1]);
        buffers.written();
        assert_eq!(buffers.output.capacity(), 0);
    }
}
