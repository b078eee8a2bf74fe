use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;

use super::*;

/// The time limit for anything that has to happen. Only a failure waits that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A socket, and its peer, which neither reads nor closes.
fn pair() -> (Arc<Tcp>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    (Arc::new(Tcp::new(stream)), listener.accept().unwrap().0)
}

/// Writes until the socket takes no more bytes for a while. Its buffer may grow before that.
fn fill(tcp: &Tcp) {
    while tcp.wait(PollFlags::OUT, Some(Instant::now() + HANG_UP_PAUSE * 4)).is_ok() {
        while tcp.stream().write(&[0; 65_536]).is_ok() {}
    }
}

/// Waits on a new thread, with a deadline that does not pass during the test. The channel gets the result.
fn waiting(tcp: &Arc<Tcp>, wanted: PollFlags, deadline: Option<Instant>) -> mpsc::Receiver<io::Result<()>> {
    let (sender, ended) = mpsc::channel();
    let (started, start) = mpsc::channel();
    let tcp = tcp.clone();
    thread::spawn(move || {
        started.send(()).unwrap();
        let _ = sender.send(tcp.wait(wanted, deadline));
    });
    start.recv().unwrap();
    ended
}

#[test]
fn close_ends_the_waits_of_all_threads() {
    let (tcp, _peer) = pair();
    fill(&tcp);
    // The last deadline is further away than one poll can wait on some systems.
    let deadlines =
        [None, Some(Instant::now() + PATIENCE * 2), Some(Instant::now() + Duration::from_secs(1 << 22))];
    let flags = [PollFlags::IN, PollFlags::OUT, PollFlags::IN | PollFlags::OUT];
    let waits: Vec<_> = deadlines
        .into_iter()
        .flat_map(|deadline| flags.map(|wanted| waiting(&tcp, wanted, deadline)))
        .collect();
    // The pause lets all threads begin to wait. No wait ends by itself during it.
    thread::sleep(Duration::from_millis(100));
    assert!(waits.iter().all(|ended| ended.try_recv().is_err()));
    tcp.close();
    for ended in waits {
        let end = ended.recv_timeout(PATIENCE).expect("the wait ends");
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }
}

/// The wakes come without the shutdown of `close`, so the descriptor alone ends the waits, as on Windows.
#[test]
fn sockets_that_share_a_descriptor_end_only_their_own_waits() {
    let pairs: Vec<_> = (0..100).map(|_| pair()).collect();
    thread::scope(|scope| {
        for (tcp, _) in &pairs {
            for flags in [PollFlags::IN, PollFlags::PRI] {
                scope.spawn(move || {
                    let deadline = Instant::now() + PATIENCE;
                    let end = tcp.wait(flags, Some(deadline)).unwrap_err();
                    assert_eq!(end.kind(), ErrorKind::ConnectionAborted);
                    assert!(tcp.is_closed() && Instant::now() < deadline);
                });
            }
        }
        for half in pairs.chunks(50) {
            scope.spawn(move || half.iter().for_each(|(tcp, _)| tcp.waker.wake()));
        }
    });
}

#[test]
fn nothing_waits_for_a_closed_socket() {
    let (tcp, mut peer) = pair();
    peer.write_all(b"unread").unwrap();
    tcp.wait(PollFlags::IN, Some(Instant::now() + PATIENCE)).unwrap();
    assert!(!tcp.is_closed());
    tcp.close();
    tcp.close();
    assert!(tcp.is_closed());
    for wanted in [PollFlags::IN, PollFlags::OUT] {
        // The waits after the first one end at once as well.
        for _ in 0..2 {
            assert_eq!(tcp.wait(wanted, None).unwrap_err().kind(), ErrorKind::ConnectionAborted);
        }
    }
}

#[test]
fn a_wait_ends_at_its_deadline_or_when_the_socket_is_ready() {
    let (tcp, mut peer) = pair();
    let start = Instant::now();
    let limit = Duration::from_millis(60);
    let end = tcp.wait(PollFlags::IN, Some(start + limit));
    assert_eq!(end.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= limit);
    assert_eq!(tcp.wait(PollFlags::IN, Some(start)).unwrap_err().kind(), ErrorKind::TimedOut);
    tcp.wait(PollFlags::OUT, None).unwrap();
    tcp.finish();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "finish tells the peer");
    drop(peer);
    tcp.wait(PollFlags::IN, None).unwrap();
}

/// On Windows, polling reports a hang-up from the FIN of the peer on.
#[test]
fn a_full_writer_whose_peer_has_finished_does_not_spin() {
    let (tcp, peer) = pair();
    fill(&tcp);
    peer.shutdown(Shutdown::Write).unwrap();
    tcp.wait(PollFlags::IN, Some(Instant::now() + PATIENCE)).unwrap();
    let pauses = 4;
    let deadline = Instant::now() + HANG_UP_PAUSE * pauses;
    let mut ready = 0;
    while tcp.wait(PollFlags::OUT, Some(deadline)).is_ok() {
        ready += 1;
    }
    assert!(ready <= pauses, "{ready} times ready");
    let ended = waiting(&tcp, PollFlags::OUT, Some(Instant::now() + PATIENCE * 2));
    tcp.close();
    // A wait without progress may end before the close.
    let _ = ended.recv_timeout(PATIENCE).expect("the wait ends");
}

#[test]
fn only_a_hang_up_without_anything_else_is_waited_out() {
    use PollFlags as F;
    let table = [
        (F::HUP, F::OUT, true),
        (F::HUP, F::IN, false),
        (F::HUP, F::IN | F::OUT, false),
        (F::HUP | F::OUT, F::OUT, false),
        (F::HUP | F::ERR, F::OUT, false),
        (F::HUP | F::NVAL, F::OUT, false),
        (F::OUT, F::OUT, false),
        (F::ERR, F::OUT, false),
        (F::empty(), F::OUT, false),
    ];
    for (ready, wanted, expected) in table {
        assert_eq!(is_hung_up(ready, wanted), expected, "{ready:?} for {wanted:?}");
    }
}

#[test]
fn no_single_poll_is_longer_than_every_system_allows() {
    for left in
        [Duration::ZERO, Duration::new(3, 5), LONGEST_POLL, Duration::from_secs(1 << 22), Duration::MAX]
    {
        let timeout = timeout(left);
        let cut = Duration::new(timeout.tv_sec as u64, timeout.tv_nsec as u32);
        assert!(cut <= left && cut.as_millis() <= i32::MAX as u128, "{left:?}");
        assert!(cut == left || cut == LONGEST_POLL);
    }
}
