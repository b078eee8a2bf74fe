use std::io::{self, ErrorKind, Read, Write};

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
    /// The last read took all of the little that had come: the next one would find nothing, and is spared.
    drained: bool,
    /// How many bytes may still be handed on before [`ration`](ReadAhead::ration) gives more.
    ration: usize,
}

impl ReadAhead {
    pub(crate) fn new(stream: Stream) -> Self {
        ReadAhead { stream, buffer: Box::default(), start: 0, end: 0, busy: false, drained: false, ration: 0 }
    }

    /// How much may be handed on from now; then there is nothing, for now. tungstenite reads until a message is whole,
    /// and one in endless fragments never is.
    pub(crate) fn ration(&mut self, bytes: usize) {
        self.ration = bytes;
    }

    /// There may be more than was handed on.
    pub(crate) fn used_up(&self) -> bool {
        self.ration == 0
    }

    /// As [`Stream::finish`].
    pub(crate) fn finish(&mut self) {
        self.stream.finish();
    }

    /// Reads from the stream, into the buffer or into `buf`, and says how much is in the latter.
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // TLS reads whole records ahead by itself, and what it holds cannot be told from outside.
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

    /// Hands on what is in the buffer, or what comes next.
    fn read_on(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            if std::mem::take(&mut self.drained) {
                return Err(ErrorKind::WouldBlock.into());
            }
            match self.fill(buf) {
                Ok(0) => {}
                Ok(count) => return Ok(count),
                Err(e) => {
                    // Nothing more for now.
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
