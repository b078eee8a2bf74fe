use std::io::{self, ErrorKind, Read, Write};

use super::socket::Stream;

/// The size of a read from a busy connection, in bytes.
const AHEAD: usize = 64 * 1024;

/// A stream that reads far ahead while much data arrives, and holds no buffer while none does. The
/// websocket's own buffer lives as long as the connection, and would waste memory on an idle connection if it
/// were this large.
pub(crate) struct ReadAhead {
    stream: Stream,
    /// Empty while little data arrives.
    buffer: Box<[u8]>,
    /// The part of `buffer` from `start` to `end` has not been handed on.
    start: usize,
    end: usize,
    /// Set if the last read filled the caller's buffer, so more data is likely.
    busy: bool,
    /// Set if the last read took all data that had arrived: the next read would find nothing, and is saved.
    drained: bool,
    /// The number of bytes that may still be handed on. [`ration`](ReadAhead::ration) sets it.
    ration: usize,
}

impl ReadAhead {
    pub(crate) fn new(stream: Stream) -> Self {
        ReadAhead { stream, buffer: Box::default(), start: 0, end: 0, busy: false, drained: false, ration: 0 }
    }

    /// Sets how many bytes are handed on before a read fails with `WouldBlock`. tungstenite reads until a
    /// message is complete, and a message in endless fragments never is.
    pub(crate) fn ration(&mut self, bytes: usize) {
        self.ration = bytes;
    }

    /// True if the ration is used up. More data may have arrived then.
    pub(crate) fn used_up(&self) -> bool {
        self.ration == 0
    }

    /// Calls [`Stream::finish`].
    pub(crate) fn finish(&mut self) {
        self.stream.finish();
    }

    /// Reads from the stream, into `self.buffer` or into `buf`, and returns the number of bytes in `buf`.
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // TLS itself reads whole records ahead, and does not tell from outside how much it holds.
        if self.stream.is_tls() {
            return self.stream.read(buf);
        }
        if !self.busy {
            let count = self.stream.read(buf)?;
            self.busy = count == buf.len();
            self.drained = !self.busy && count > 0;
            return Ok(count);
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; AHEAD].into();
        }
        let count = self.stream.read(&mut self.buffer)?;
        (self.start, self.end) = (0, count);
        Ok(0)
    }

    /// Hands on the buffered data, or else the data of the next read.
    fn read_on(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            if std::mem::take(&mut self.drained) {
                return Err(ErrorKind::WouldBlock.into());
            }
            match self.fill(buf) {
                Ok(0) => {}
                Ok(count) => return Ok(count),
                Err(e) => {
                    self.busy = false;
                    self.buffer = Box::default();
                    (self.start, self.end) = (0, 0);
                    return Err(e);
                }
            }
        }
        let count = buf.len().min(self.end - self.start);
        buf[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.used_up() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.read_on(buf)?;
        self.ration = self.ration.saturating_sub(count);
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
