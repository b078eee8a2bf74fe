//! Models: the real session and client over the fake transport, run by shuttle in every order of their steps that it
//! can think of. Time stands still, so that a wake-up which only a timeout would repair is a deadlock.
//!
//! Each function is one execution of a model. `tests/models` runs them.

mod client;
mod session;

use std::sync::Arc;

use crate::event::Reason;
use crate::protocol::{Handshake, Packet};
use crate::sync::{Mutex, Signal, lock};

/// All models, by name.
pub const MODELS: &[(&str, fn())] = &[
    ("close", session::close),
    ("abort", session::abort),
    ("both sides only write", session::both_only_write),
    ("writes in halves", session::halved_writes),
    ("flush", session::flush),
    ("broken writes", session::broken_writes),
    ("room in line", session::room_in_line),
    ("free for all", session::free_for_all),
    ("a disconnect handler connects", client::handler_connects),
    ("disconnect from many sides", client::disconnect_from_many_sides),
    ("disconnect while reconnecting", client::disconnect_while_reconnecting),
    ("drop while reconnecting", client::drop_while_reconnecting),
];

fn handshake() -> Handshake {
    Handshake::parse(r#"{"sid":"s","pingInterval":25000,"pingTimeout":20000}"#).expect("a valid handshake")
}

fn text(number: usize) -> Packet {
    Packet::Text(number.to_string())
}

/// A random number below `bound`, which shuttle remembers with the schedule.
fn below(bound: u64) -> u64 {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..bound)
}

/// What a listener or a handler was told.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Connected,
    Message(Packet),
    Ended(Reason, usize),
    Finished,
}

/// A list of what was told, for other threads to wait for.
#[derive(Default, Clone)]
struct Log(Arc<(Mutex<Vec<Told>>, Signal)>);

impl Log {
    fn tell(&self, told: Told) {
        let (list, changed) = &*self.0;
        let mut list = lock(list);
        list.push(told);
        changed.notify_all(list);
    }

    fn all(&self) -> Vec<Told> {
        lock(&self.0.0).clone()
    }

    /// Waits until that has been told so many times.
    fn wait_for(&self, told: Told, times: usize) {
        let (list, changed) = &*self.0;
        let missing = |list: &Vec<Told>| list.iter().filter(|other| **other == told).count() < times;
        drop(changed.wait_while(lock(list), None, missing));
    }
}
