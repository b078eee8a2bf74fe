//! Models of the session and the client: their real code over the fake transport. The model checker shuttle
//! runs each model with many different orders of its threads' steps. Time stands still, so a wake-up that
//! only a timeout would repair is a deadlock.
//!
//! Each function in [`MODELS`] is one execution of a model. `tests/models` runs them.

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
    ("groups stay together", session::groups_stay_together),
    ("all or nothing", session::all_or_nothing),
    ("the stand-in's hands", session::stand_in_hands),
    ("a close needs a reader", session::close_needs_a_reader),
    ("a late watchdog", session::late_watchdog),
    ("a close by a waiter", session::close_by_waiter),
    ("free for all", session::free_for_all),
    ("a disconnect handler connects", client::handler_connects),
    ("handlers of two connections", client::handlers_of_two_connections),
    ("disconnect from many sides", client::disconnect_from_many_sides),
    ("counts of disconnects", client::counts_of_disconnects),
    ("disconnect during connect", client::disconnect_during_connect),
    ("disconnect while reconnecting", client::disconnect_while_reconnecting),
    ("drop while reconnecting", client::drop_while_reconnecting),
    ("users do everything", client::users_do_everything),
];

fn handshake() -> Handshake {
    Handshake::parse(r#"{"sid":"s","pingInterval":25000,"pingTimeout":20000}"#).expect("a valid handshake")
}

fn text(number: usize) -> Packet {
    Packet::Text(number.to_string())
}

/// A random number below `bound`, which shuttle repeats when it replays a schedule.
fn below(bound: u64) -> u64 {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..bound)
}

/// A call that a listener, a handler or a way has received.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Connecting,
    Connected,
    Message(Packet),
    Ended(Reason, usize),
    Finished,
}

/// A list of the calls, for other threads to wait for.
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

    /// Waits until the list has `told` that many times.
    fn wait_for(&self, told: Told, times: usize) {
        let (list, changed) = &*self.0;
        let missing = |list: &Vec<Told>| list.iter().filter(|other| **other == told).count() < times;
        drop(changed.wait_while(lock(list), None, missing));
    }
}
