//! Ctrl-C: connected clients say goodbye before the process does what it would have done without us.
//!
//! The handler, and the thread `eio-sigint` which does the work, are there from the first connection on, once for the
//! process, and stay.

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Instant;

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use super::core::Core;
use crate::sync::lock;

/// The clients to disconnect. Its lock is not held while a client's are taken.
static CLIENTS: Mutex<Vec<Weak<Core>>> = Mutex::new(Vec::new());

/// The process is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// What Ctrl-C did to the process before we came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// It ended the process.
    Ends,
    /// A handler of the program's own, which still runs.
    Handled,
    /// Nothing, as in a job that a shell has put into the background.
    Ignored,
}

/// From now on Ctrl-C disconnects that client. The error is why it cannot.
pub(super) fn watch(client: &Arc<Core>) -> io::Result<()> {
    {
        let mut clients = lock(&CLIENTS);
        clients.retain(|known| known.strong_count() > 0);
        if !clients.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(client))) {
            clients.push(Arc::downgrade(client));
        }
    }
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = lock(&INSTALLED);
    if !*installed {
        // Where that fails, the next connection tries again.
        install()?;
        *installed = true;
    }
    Ok(())
}

fn install() -> io::Result<()> {
    let before = before()?;
    if before == Before::Ignored {
        return Ok(());
    }
    // What may fail comes first: signal-hook never gives a signal back, so Ctrl-C would have no effect any more.
    let mut signals = Signals::new(std::iter::empty::<c_int>())?;
    let arrivals = signals.handle();
    let run = move || {
        // As long as the process lives: it waits for a signal, and for nothing else.
        for _ in signals.forever() {
            if before == Before::Ends {
                ENDING.store(true, Ordering::SeqCst);
            }
            disconnect_all();
            if before == Before::Ends {
                // Ends the process by the signal, so that a shell sees that. Known signals do not fail.
                let _ = low_level::emulate_default_handler(SIGINT);
            }
        }
    };
    thread::Builder::new().name("eio-sigint".into()).spawn(run)?;
    arrivals.add_signal(SIGINT)?;
    if before == Before::Ends {
        // The second Ctrl-C does not wait for anybody.
        let again = Arc::new(AtomicBool::new(false));
        flag::register_conditional_default(SIGINT, again.clone())?;
        flag::register(SIGINT, again)?;
    }
    Ok(())
}

/// Does not return if Ctrl-C is about to end the process: what follows might end it first, and with success. The signal is
/// the end of this wait, within the clients' request timeouts.
pub(super) fn stay() {
    while ENDING.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// All at once, so that none waits for another's server or handlers.
fn disconnect_all() {
    let clients = lock(&CLIENTS).clone();
    let closing: Vec<_> = clients
        .iter()
        .filter_map(Weak::upgrade)
        .filter_map(|client| {
            let session = client.begin_closing()?;
            Some((session, Instant::now().checked_add(client.request_timeout())))
        })
        .collect();
    for (session, deadline) in closing {
        if !session.wait_finished(deadline) {
            session.tear_down();
        }
    }
}

/// Of the process as it is now.
///
/// Only Linux shows it without unsafe code. Elsewhere a handler of the program's own still runs, and the process ends
/// behind it.
fn before() -> io::Result<Before> {
    let status = match std::fs::read_to_string("/proc/self/status") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        // It is there and would tell: to guess could end a program that has a handler.
        status => status?,
    };
    let has = |set: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(set));
        let bits = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        bits.is_some_and(|bits| bits >> (SIGINT - 1) & 1 == 1)
    };
    Ok(if has("SigIgn:") {
        Before::Ignored
    } else if has("SigCgt:") {
        Before::Handled
    } else {
        Before::Ends
    })
}
