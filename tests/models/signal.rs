//! A model of `sync::Signal` for loom, which explores every order of the steps on its atomics, mutex and
//! condition variable.

#[path = "../../src/sync/signal.rs"]
mod signal;

/// The module from which `signal.rs` takes its primitives.
mod primitives {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use loom::sync::{Condvar, MutexGuard};
}

mod delay {
    pub(crate) fn point() {}
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}

use loom::sync::{Arc, Mutex};
use loom::thread;
use signal::Signal;

type Shared = Arc<(Mutex<u32>, Signal)>;

fn increase(shared: &Shared, all: bool) {
    let mut number = shared.0.lock().unwrap();
    *number += 1;
    if all { shared.1.notify_all(number) } else { shared.1.notify_one(number) }
}

fn wait_for(shared: &Shared, least: u32) {
    drop(shared.1.wait_while(shared.0.lock().unwrap(), None, |number| *number < least));
}

#[test]
fn a_notification_of_all_reaches_every_sleeper() {
    loom::model(|| {
        let shared: Shared = Arc::new((Mutex::new(0), Signal::default()));
        let waiters = [(); 2].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || wait_for(&shared, 1))
        });
        increase(&shared, true);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

#[test]
fn a_notification_of_one_is_not_lost() {
    loom::model(|| {
        let shared: Shared = Arc::new((Mutex::new(0), Signal::default()));
        let waiter = shared.clone();
        let waiter = thread::spawn(move || wait_for(&waiter, 2));
        let other = shared.clone();
        let other = thread::spawn(move || increase(&other, false));
        increase(&shared, false);
        waiter.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn a_notification_under_the_lock_is_not_lost() {
    loom::model(|| {
        let shared: Shared = Arc::new((Mutex::new(0), Signal::default()));
        let waiter = shared.clone();
        let waiter = thread::spawn(move || wait_for(&waiter, 1));
        let mut number = shared.0.lock().unwrap();
        *number += 1;
        shared.1.notify_all_held(&number);
        drop(number);
        waiter.join().unwrap();
    });
}
