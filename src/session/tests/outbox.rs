//! Tests of the outbox alone: which thread writes, the messages that a flush waits for, and the count of
//! unsent ones.

use std::collections::VecDeque;

use super::super::outbox::{Admission, Outbox};
use super::*;
use crate::transport::{TrySend, Written};

#[test]
fn an_answer_is_written_directly_however_close_it_follows() {
    let outbox = Outbox::new(1000, true);
    for _ in 0..1000 {
        outbox.expect_answer();
        let packet = Packet::Text("answer".into());
        let written = Written::of(&packet);
        assert!(matches!(outbox.admit(packet.clone(), WhenFull::Wait), Ok(Admission::Direct(_))));
        outbox.written(written, || {});
        outbox.direct_done(TrySend::Sent, packet);
    }
    assert_eq!((outbox.unsent(), outbox.bytes()), (0, 0));
}

/// A direct write is under way when the session ends.
#[test]
fn the_count_of_unsent_messages_is_frozen_at_the_end() {
    for late in [false, true] {
        let outbox = Outbox::new(1000, true);
        outbox.expect_answer();
        let packet = Packet::Text("out".into());
        let written = Written::of(&packet);
        assert!(matches!(outbox.admit(packet.clone(), WhenFull::Wait), Ok(Admission::Direct(_))));
        outbox.close();
        outbox.freeze();
        assert_eq!(outbox.unsent(), 1, "not known to be written");
        assert!(matches!(outbox.flush(Duration::MAX, || {}), Err(Error::SocketIsClosed)));
        if late {
            outbox.written(written, || {});
            outbox.direct_done(TrySend::Sent, packet);
        } else {
            outbox.direct_done(TrySend::Refused, packet);
        }
        assert_eq!(outbox.unsent(), 1);
    }
}

#[test]
fn a_flush_waits_for_what_was_sent_before_it_only() {
    let outbox = Outbox::new(1000, true);
    let (mut batch, mut admitted) = (VecDeque::new(), Vec::new());
    // After this pause, the first message gets the turn, and the other one waits.
    thread::sleep(Duration::from_millis(1));
    admitted.extend((0..2).map(|i| outbox.admit(text(i), WhenFull::Wait).unwrap()));
    let (begun, begins) = unbounded();
    thread::scope(|scope| {
        let flush = scope.spawn(|| outbox.flush(PATIENCE, || begun.send(()).unwrap()));
        begins.recv_timeout(PATIENCE).unwrap();
        outbox.written(Written::of(&text(0)), || {});
        outbox.direct_done(TrySend::Sent, text(0));
        assert!(outbox.take(&mut batch));
        admitted.push(outbox.admit(text("later"), WhenFull::Wait).unwrap());
        outbox.written(Written::of(&batch.pop_front().unwrap()), || {});
        flush.join().unwrap().unwrap();
        outbox.batch_done();
        assert!(outbox.take(&mut batch), "the later one waits still");
        outbox.batch_done();
    });
    assert!(matches!(&admitted[..], [Admission::Direct(_), Admission::First, Admission::Queued]));
}
