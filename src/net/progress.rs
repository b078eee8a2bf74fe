//! The progress of a request and its answer. A transfer may take as long as it moves: only a stall ends it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The time that a byte may take, which stands for 4000 bytes a second. A server that sends less stalls in
/// the end: a trickle must not hold an attempt to connect for days.
const PER_BYTE: Duration = Duration::from_micros(250);

/// The progress of a request that is written to a socket, and of its answer.
#[derive(Debug)]
pub(super) struct Progress {
    /// The time of the last progress.
    moved: Instant,
    /// The number of written bytes that the peer had not acknowledged at the last look; `None` before the
    /// first look after a write.
    unacknowledged: Option<u64>,
    /// The number of bytes of the request, until the answer begins.
    request: usize,
    /// Set while the head of the answer, or another one before it, is incomplete.
    in_head: bool,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Progress { moved: now, unacknowledged: Some(0), request: 0, in_head: false }
    }

    /// The system has taken bytes of the request.
    pub(super) fn written(&mut self, count: usize, now: Instant) {
        let request = self.request.saturating_add(count);
        *self = Progress { moved: now, unacknowledged: None, request, in_head: false };
    }

    /// Bytes of the answer's head have arrived. Returns false if there have been some before, and the
    /// deadline has passed: the answer never ends, and nobody had to wait for a part of it.
    pub(super) fn in_time(&mut self, limit: Duration, now: Instant) -> bool {
        !std::mem::replace(&mut self.in_head, true) || now < self.deadline(limit)
    }

    /// The head of the answer has arrived.
    pub(super) fn answered(&mut self, now: Instant) {
        *self = Progress::new(now);
    }

    /// Bytes of the answer's body have arrived.
    pub(super) fn received(&mut self, count: usize, now: Instant) {
        self.moved = (self.moved + time_of(count)).min(now);
    }

    /// The end of a stall of that length, unless bytes move before.
    pub(super) fn deadline(&self, limit: Duration) -> Instant {
        // A request that the peer's system, or a proxy, has taken may still be on its way through their
        // buffers.
        let on_its_way = if self.is_uploading() { Duration::ZERO } else { time_of(self.request) };
        self.moved + limit + on_its_way
    }

    /// True if the peer may still be taking what was written. [`look`](Self::look) finds out.
    pub(super) fn is_uploading(&self) -> bool {
        self.unacknowledged != Some(0)
    }

    /// Finds out whether the peer has acknowledged more of what was written. What the system has taken may
    /// be on its way for long: the buffers of a socket grow to megabytes.
    pub(super) fn look(&mut self, tcp: &TcpStream, now: Instant) -> bool {
        self.is_uploading() && self.saw(unacknowledged(tcp).unwrap_or_default(), now)
    }

    fn saw(&mut self, left: u64, now: Instant) -> bool {
        let moved = match self.unacknowledged {
            // A request that is over at the first look took no time that matters.
            None => left > 0,
            Some(before) => left < before,
        };
        if moved {
            self.moved = now;
        }
        self.unacknowledged = Some(left);
        moved
    }
}

fn time_of(count: usize) -> Duration {
    PER_BYTE.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The number of bytes in the socket's send queue, from the table of sockets in `/proc`: without unsafe
/// code there is no `SIOCOUTQ`. It is read only when something has waited for long.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn unacknowledged(tcp: &TcpStream) -> Option<u64> {
    use std::fs::{File, metadata};
    use std::io::{BufRead, BufReader};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    let inode = metadata(format!("/proc/self/fd/{}", tcp.as_raw_fd())).ok()?.ino().to_string();
    let table = if tcp.local_addr().ok()?.is_ipv4() { "tcp" } else { "tcp6" };
    let table = File::open(format!("/proc/thread-self/net/{table}")).ok()?;
    let row = BufReader::new(table).lines().map_while(Result::ok).find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().map(str::to_owned).collect();
        (fields.get(9) == Some(&inode)).then_some(fields)
    })?;
    // The field holds the sizes of the send and the receive queue in hexadecimal, with a colon in between.
    u64::from_str_radix(row.get(4)?.split(':').next()?, 16).ok()
}

/// Other systems do not tell. On them, only bytes that the system takes count as the progress of a request,
/// and all of them count as confirmed.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn unacknowledged(_: &TcpStream) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_request_may_take_long_while_it_moves() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        progress.written(8000, start + second(1));
        assert!(progress.is_uploading());
        assert_eq!(progress.deadline(LIMIT), start + second(6));
        progress.saw(900, start + second(2));
        assert_eq!(progress.deadline(LIMIT), start + second(7));
        progress.saw(800, start + second(6));
        assert_eq!(progress.deadline(LIMIT), start + second(11));
        progress.saw(800, start + second(10));
        assert_eq!(progress.deadline(LIMIT), start + second(11), "nothing has moved");
        assert!(progress.is_uploading());
        progress.saw(0, start + second(10));
        assert!(!progress.is_uploading());
        assert_eq!(progress.deadline(LIMIT), start + second(17), "the answer has all of the time");
    }

    #[test]
    fn an_answer_is_waited_for_since_the_request() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        progress.written(3000, start);
        progress.written(1000, start);
        progress.saw(0, start + second(1));
        assert_eq!(progress.deadline(LIMIT), start + LIMIT + second(1));
        progress.answered(start + second(2));
        assert_eq!(progress.deadline(LIMIT), start + LIMIT + second(2));
        progress.received(2000, start + second(3));
        assert_eq!(progress.deadline(LIMIT), start + LIMIT + Duration::from_millis(2500));
        progress.received(usize::MAX, start + second(4));
        assert_eq!(progress.deadline(LIMIT), start + LIMIT + second(4));
        // This is a trickle.
        progress.received(1, start + second(8));
        assert_eq!(progress.deadline(LIMIT), start + LIMIT + second(4) + PER_BYTE);
    }

    #[test]
    fn a_head_has_to_end() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        assert!(progress.in_time(LIMIT, start + second(6)), "it was there in time, but nobody looked");
        assert!(!progress.in_time(LIMIT, start + second(6)));
        progress.written(1, start + second(6));
        assert!(progress.in_time(LIMIT, start + second(7)) && progress.in_time(LIMIT, start + second(8)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_what_the_peer_has_not_acknowledged() {
        use std::io::{Read, Write};
        use std::net::TcpListener;

        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert_eq!(unacknowledged(&tcp), Some(0));
            tcp.set_nonblocking(true).unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            while tcp.write(&[0; 65_536]).is_ok() {}
            assert!(unacknowledged(&tcp) > Some(0));
            tcp.shutdown(std::net::Shutdown::Write).unwrap();
            peer.read_to_end(&mut Vec::new()).unwrap();
        }
    }
}
