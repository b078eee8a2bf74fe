//! Tests of the inbox alone.

use std::collections::VecDeque;

use super::super::inbox::{Inbox, Next};
use super::*;

/// Some of the messages are in the reader's batch, and some in the queue.
#[test]
fn a_muted_inbox_holds_no_bytes() {
    let inbox = Inbox::new(1000);
    let mut batch = VecDeque::new();
    inbox.push(&mut (0..2).map(text).collect());
    assert!(matches!(inbox.next(&mut batch), Next::Deliver));
    inbox.push(&mut (2..5).map(text).collect());
    assert_eq!(inbox.bytes(), 5 * text(0).memory());
    inbox.mute();
    assert_eq!(inbox.bytes(), 2 * text(0).memory(), "the batch");
    assert!(batch.iter().all(|message| !inbox.deliver(message)), "nothing is delivered any more");
    inbox.push(&mut VecDeque::from([text("later")]));
    assert_eq!(inbox.bytes(), 0);
}
