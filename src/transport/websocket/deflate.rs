//! The compression of messages (RFC 7692, section 7.2).

use flate2::{Compress, Compression as Level, Decompress, FlushCompress, FlushDecompress, Status};

/// The end of a flushed DEFLATE stream, which is not sent (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A block without data. Behind the tail it shows whether a stream is between two blocks: inside of a block
/// it would be data.
const EMPTY_BLOCK: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// The room that is kept free for output, in bytes. A flush in less room than this could need a second one.
const ROOM: usize = 1024;

/// The smallest and the largest window of zlib, as powers of two.
pub(super) const WINDOW_BITS: std::ops::RangeInclusive<u8> = 9..=15;

/// Compresses messages, one after the other.
pub(super) struct Deflater {
    level: u32,
    window_bits: u8,
    /// True if each message is compressed on its own.
    forgets: bool,
    /// The compressor, which takes up to 300 KiB. It is made for the first message.
    state: Option<Compress>,
}

impl Deflater {
    /// `window_bits` is in [`WINDOW_BITS`].
    pub(super) fn new(level: u32, window_bits: u8, forgets: bool) -> Self {
        Deflater { level, window_bits, forgets, state: None }
    }

    /// Compresses the next part of a message, and appends the result, which may be empty unless the part is
    /// the last one.
    pub(super) fn deflate(&mut self, part: &[u8], last: bool, output: &mut Vec<u8>) {
        let state = self.state.get_or_insert_with(|| {
            Compress::new_with_window_bits(Level::new(self.level), false, self.window_bits)
        });
        let flush = if last { FlushCompress::Sync } else { FlushCompress::None };
        let (start, mut taken) = (state.total_in(), 0);
        loop {
            output.reserve((part.len() - taken) / 2 + ROOM);
            // The stream cannot fail: it is never finished, and zlib reports nothing else.
            let done = state.compress_vec(&part[taken..], output, flush).is_err();
            taken = usize::try_from(state.total_in() - start).unwrap_or(part.len());
            if done || (taken == part.len() && output.len() < output.capacity()) {
                break;
            }
        }
        if last {
            if output.ends_with(&TAIL) {
                output.truncate(output.len() - TAIL.len());
            }
            if self.forgets {
                state.reset();
            }
        }
    }
}

/// The reason why a message cannot be inflated.
#[derive(Debug, PartialEq)]
pub(super) enum Inflated {
    TooLong,
    Invalid(String),
}

/// Inflates messages, one after the other.
pub(super) struct Inflater {
    window_bits: u8,
    /// True if each message was compressed on its own.
    forgets: bool,
    /// The decompressor, which takes up to 48 KiB. It is made for the first message.
    state: Option<Decompress>,
    /// Set while the message has a stream that needs the tail. A message may end its stream itself (RFC 7692,
    /// section 7.2.3.4).
    open: bool,
}

impl Inflater {
    /// `window_bits` is in [`WINDOW_BITS`].
    pub(super) fn new(window_bits: u8, forgets: bool) -> Self {
        Inflater { window_bits, forgets, state: None, open: false }
    }

    /// Inflates the next part of a message to the end of `data`, which may have `limit` bytes.
    pub(super) fn inflate(&mut self, part: &[u8], data: &mut Vec<u8>, limit: usize) -> Result<(), Inflated> {
        let bits = self.window_bits;
        let state = self.state.get_or_insert_with(|| Decompress::new_with_window_bits(false, bits));
        let mut part = part;
        loop {
            self.open |= !part.is_empty();
            if data.len() > limit {
                return Err(Inflated::TooLong);
            }
            // A byte more than the limit shows that it is exceeded. The memory grows with the data that came.
            let most = (limit - data.len()).saturating_add(1);
            data.reserve_exact(most.min(data.len().max(part.len() * 4).max(ROOM)));
            let before = (state.total_in(), data.len());
            let status = state.decompress_vec(part, data, FlushDecompress::Sync);
            let status = status.map_err(|e| Inflated::Invalid(e.to_string()))?;
            let taken = usize::try_from(state.total_in() - before.0).unwrap_or(part.len());
            part = &part[taken..];
            if status == Status::StreamEnd {
                state.reset(false);
                self.open = false;
            } else if taken == 0 && data.len() == before.1 && !part.is_empty() {
                return Err(Inflated::Invalid("it makes no progress".into()));
            }
            if part.is_empty() && data.len() < data.capacity() {
                break;
            }
        }
        if data.len() > limit { Err(Inflated::TooLong) } else { Ok(()) }
    }

    /// Inflates the end of a message.
    pub(super) fn finish(&mut self, data: &mut Vec<u8>, limit: usize) -> Result<(), Inflated> {
        if self.open {
            let before = data.len();
            self.inflate(&TAIL, data, limit)?;
            self.inflate(&EMPTY_BLOCK, data, limit)?;
            if data.len() != before {
                return Err(Inflated::Invalid("it ends in the middle of a block".into()));
            }
            self.open = false;
        }
        if let (true, Some(state)) = (self.forgets, &mut self.state) {
            state.reset(false);
        }
        Ok(())
    }
}
