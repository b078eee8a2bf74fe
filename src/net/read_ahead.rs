use std::io::{self, Read, Write};

use super::socket::Stream;

/// How much is read at once from a busy connection, in bytes.
const AHEAD: usize = 64 * 1024;

/// A stream that reads far ahead while much is coming, and holds no memory for that when nothing is: a websocket's
/// own buffer lives as long as the connection, and one that is good for much data is dear on an idle connection.
pub(crate) struct ReadAhead {
    stream: Stream,
    /// Empty while little is coming.
    buffer: Box<[u8]>,
    /// What of it has not been handed on.
    start: usize,
    end: usize,
    /// The last read filled all that there was to fill.
    busy: bool,
}

impl ReadAhead {
    pub(crate) fn new(stream: Stream) -> Self {
        ReadAhead { stream, buffer: Box::default(), start: 0, end: 0, busy: false }
    }

    /// As [`Stream::finish`].
    pub(crate) fn finish(&mut self) {
        self.stream.finish();
    }

    fn read_ahead(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; AHEAD].into();
        }
        match self.stream.read(&mut self.buffer) {
            Ok(count) => {
                (self.start, self.end) = (0, count);
                Ok(())
            }
            Err(e) => {
                // Nothing more for now.
                self.busy = false;
                self.buffer = Box::default();
                Err(e)
            }
        }
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            // TLS reads whole records ahead by itself.
            if !self.busy || self.stream.is_tls() {
                let count = self.stream.read(buf)?;
                self.busy = count == buf.len();
                return Ok(count);
            }
            self.read_ahead()?;
        }
        let count = buf.len().min(self.end - self.start);
        buf[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}

impl Write for ReadAhead {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
