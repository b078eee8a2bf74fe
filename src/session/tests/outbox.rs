//! Tests of the outbox alone: which thread writes, the messages that a flush waits for, and the count of
//! unsent ones.

use std::collections::VecDeque;

use super::super::outbox::{Admission, Outbox, Parcel};
use super::*;
use crate::transport::{TrySend, Written};

#[test]
fn an_answer_is_written_directly_however_close_it_follows() {
    let outbox = Outbox::new(1000, true);
    for _ in 0..1000 {
        outbox.expect_answer();
        let packet = Packet::Text("answer".into());
        let written = Written::of(&packet);
        assert!(matches!(
            outbox.admit(Parcel::One(packet.clone()), WhenFull::Wait),
            Ok(Admission::Direct(_))
        ));
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
        assert!(matches!(
            outbox.admit(Parcel::One(packet.clone()), WhenFull::Wait),
            Ok(Admission::Direct(_))
        ));
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

/// Gives the turn to a message, behind which other packets wait.
fn with_turn(outbox: &Outbox) -> Packet {
    outbox.expect_answer();
    match outbox.admit(Parcel::One(text("first")), WhenFull::Wait) {
        Ok(Admission::Direct(packet)) => packet,
        _ => panic!("the connection is idle"),
    }
}

/// The writer's next batch. Fails if there is no work for the writer.
fn next_batch(outbox: &Arc<Outbox>) -> VecDeque<Packet> {
    let (taken, takes) = unbounded();
    let outbox = outbox.clone();
    thread::spawn(move || {
        let mut batch = VecDeque::new();
        outbox.take(&mut batch);
        taken.send(batch)
    });
    takes.recv_timeout(PATIENCE).expect("there is work for the writer")
}

#[test]
fn a_refused_message_stays_in_front() {
    let outbox = Arc::new(Outbox::new(1000, true));
    let first = with_turn(&outbox);
    assert!(matches!(outbox.admit(Parcel::One(text("second")), WhenFull::Wait), Ok(Admission::First)));
    assert!(matches!(outbox.direct_done(TrySend::Refused, first), Admission::Queued));
    assert_eq!(next_batch(&outbox), [text("first"), text("second")]);
}

#[test]
fn a_pong_that_waits_goes_first() {
    let pong = Packet::Pong("x".into());
    for done in [TrySend::Sent, TrySend::Refused] {
        let outbox = Arc::new(Outbox::new(1000, true));
        let first = with_turn(&outbox);
        assert!(matches!(outbox.admit_pong(pong.clone()), Admission::First));
        outbox.direct_done(done, first);
        let batch = next_batch(&outbox);
        let first = (done == TrySend::Refused).then(|| text("first"));
        assert_eq!(batch, [pong.clone()].into_iter().chain(first).collect::<VecDeque<_>>(), "{done:?}");
    }
}

#[test]
fn a_refused_pong_is_written_later() {
    let outbox = Arc::new(Outbox::new(1000, true));
    let pong = Packet::Pong("x".into());
    assert!(matches!(outbox.admit_pong(pong.clone()), Admission::Direct(_)));
    assert!(matches!(outbox.direct_done(TrySend::Refused, pong.clone()), Admission::First));
    assert_eq!(next_batch(&outbox), [pong]);
}

/// The second sender's message has room, and the first one's has not.
#[test]
fn senders_wait_in_line() {
    let outbox = Arc::new(Outbox::new(3 * text(0).memory(), false));
    let big = text("x".repeat(1000));
    assert!(matches!(outbox.admit(Parcel::One(text(0)), WhenFull::Wait), Ok(Admission::First)));
    let wait = |packet: Packet| match outbox.admit(Parcel::One(packet), WhenFull::Wait) {
        Ok(Admission::Full(parcel, ticket)) => {
            let outbox = outbox.clone();
            thread::spawn(move || drop(outbox.wait_for_room(parcel, ticket).unwrap()))
        }
        _ => panic!("the outbox is full"),
    };
    let senders = [big.clone(), text(1)].map(wait);
    assert!(matches!(outbox.admit(Parcel::One(text(2)), WhenFull::Fail), Err(Error::QueueFull)));
    assert_eq!(next_batch(&outbox), [text(0)]);
    outbox.written(Written::of(&text(0)), || {});
    outbox.batch_done();
    let batch = next_batch(&outbox);
    assert_eq!(batch, [big]);
    outbox.written(Written::of(&batch[0]), || {});
    outbox.batch_done();
    assert_eq!(next_batch(&outbox), [text(1)]);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

fn group(numbers: std::ops::Range<usize>) -> Parcel {
    Parcel::Group(numbers.map(text).collect())
}

/// The message in front of the group is refused by the transport, and a pong comes.
#[test]
fn a_group_stays_together_behind_a_refused_message() {
    let outbox = Arc::new(Outbox::new(1000, true));
    let first = with_turn(&outbox);
    assert!(matches!(outbox.admit(group(0..3), WhenFull::Wait), Ok(Admission::First)));
    assert!(matches!(outbox.admit(Parcel::One(text(3)), WhenFull::Wait), Ok(Admission::Queued)));
    outbox.admit_pong(Packet::Pong("x".into()));
    outbox.direct_done(TrySend::Refused, first);
    let expected = [Packet::Pong("x".into()), text("first"), text(0), text(1), text(2), text(3)];
    assert_eq!(next_batch(&outbox), expected);
    assert_eq!(outbox.unsent(), 5);
}

#[test]
fn a_group_is_accepted_as_a_whole_or_not_at_all() {
    let outbox = Outbox::new(3 * text(0).memory(), false);
    assert!(matches!(outbox.admit(Parcel::One(text(0)), WhenFull::Fail), Ok(Admission::First)));
    assert!(matches!(outbox.admit(group(1..4), WhenFull::Fail), Err(Error::QueueFull)));
    assert_eq!((outbox.unsent(), outbox.bytes()), (1, text(0).memory()));
    assert!(matches!(outbox.admit(group(1..3), WhenFull::Fail), Ok(Admission::Queued)));
    assert_eq!((outbox.unsent(), outbox.bytes()), (3, 3 * text(0).memory()));
    outbox.close();
    assert!(matches!(outbox.admit(group(0..2), WhenFull::Wait), Err(Error::SocketIsClosed)));
    assert_eq!(outbox.unsent(), 3);
}

/// The group waits for an empty outbox, and a message that would fit waits behind it.
#[test]
fn a_group_above_the_limit_waits_in_line() {
    let outbox = Arc::new(Outbox::new(3 * text(0).memory(), false));
    assert!(matches!(outbox.admit(Parcel::One(text(0)), WhenFull::Wait), Ok(Admission::First)));
    let senders = [group(1..6), Parcel::One(text(6))].map(|parcel| {
        let Ok(Admission::Full(parcel, ticket)) = outbox.admit(parcel, WhenFull::Wait) else {
            panic!("the outbox is full");
        };
        let outbox = outbox.clone();
        thread::spawn(move || drop(outbox.wait_for_room(parcel, ticket).unwrap()))
    });
    assert_eq!(next_batch(&outbox), [text(0)]);
    outbox.written(Written::of(&text(0)), || {});
    outbox.batch_done();
    let batch = next_batch(&outbox);
    assert_eq!(batch, (1..6).map(text).collect::<Vec<_>>());
    batch.iter().for_each(|packet| outbox.written(Written::of(packet), || {}));
    outbox.batch_done();
    assert_eq!(next_batch(&outbox), [text(6)]);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

#[test]
fn a_flush_waits_for_what_was_sent_before_it_only() {
    let outbox = Outbox::new(1000, true);
    let (mut batch, mut admitted) = (VecDeque::new(), Vec::new());
    // After this pause, the first message gets the turn, and the other one waits.
    thread::sleep(Duration::from_millis(1));
    admitted.extend((0..2).map(|i| outbox.admit(Parcel::One(text(i)), WhenFull::Wait).unwrap()));
    let ((begun, begins), (end, ends)) = (unbounded(), unbounded());
    thread::scope(|scope| {
        scope.spawn(|| end.send(outbox.flush(PATIENCE, || begun.send(()).unwrap())).unwrap());
        begins.recv_timeout(PATIENCE).unwrap();
        outbox.written(Written::of(&text(0)), || {});
        outbox.direct_done(TrySend::Sent, text(0));
        assert!(outbox.take(&mut batch));
        admitted.push(outbox.admit(Parcel::One(text("later")), WhenFull::Wait).unwrap());
        outbox.written(Written::of(&batch.pop_front().unwrap()), || {});
        ends.recv_timeout(PATIENCE / 2).expect("it does not wait for the later one").unwrap();
        outbox.batch_done();
        assert!(outbox.take(&mut batch), "the later one waits still");
        outbox.batch_done();
    });
    assert!(matches!(&admitted[..], [Admission::Direct(_), Admission::First, Admission::Queued]));
}
