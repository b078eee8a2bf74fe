//! Ctrl-C: connected clients say goodbye before the process does what it would have done without them.
//!
//! The signal handler, and the thread `eio-sigint` which does the work, are installed once for the process, by the first
//! connection, and stay.

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use crate::sync::{Mutex, lock};

/// A client, as Ctrl-C sees it.
pub(crate) trait Interrupt: Send + Sync {
    /// Starts to disconnect. Returns the wait for its end, which is bounded by the client's request timeout.
    fn begin(self: Arc<Self>) -> Box<dyn FnOnce()>;
}

/// The clients to disconnect. The lock is not held while a client's are taken.
static CLIENTS: Mutex<Vec<Weak<dyn Interrupt>>> = Mutex::new(Vec::new());

/// True when the process is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The effect of Ctrl-C on the process before the first connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Ctrl-C ended the process.
    Ends,
    /// A handler of the program's own, which still runs.
    Handled,
    /// Nothing, as in a job that a shell has put into the background.
    Ignored,
}

/// Makes Ctrl-C disconnect that client from now on. The error tells why it cannot.
pub(crate) fn watch(client: &Arc<dyn Interrupt>) -> io::Result<()> {
    {
        let mut clients = lock(&CLIENTS);
        clients.retain(|known| known.strong_count() > 0);
        if !clients.iter().any(|known| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(client))) {
            clients.push(Arc::downgrade(client));
        }
    }
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = lock(&INSTALLED);
    if !*installed {
        // A failure leaves it to the next connection to try again.
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
    // Steps that may fail come first: signal-hook never gives a signal back, so that Ctrl-C would have no effect any
    // more.
    let mut signals = Signals::new(std::iter::empty::<c_int>())?;
    let arrivals = signals.handle();
    let run = move || {
        // This thread lives as long as the process, and waits for nothing but signals.
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

/// Does not return if Ctrl-C is about to end the process: the caller might end it first, and with success. The signal
/// ends this wait, within the clients' request timeouts.
pub(crate) fn stay() {
    while ENDING.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// Disconnects all clients at once, so that none waits for another's server or handlers.
fn disconnect_all() {
    let clients = lock(&CLIENTS).clone();
    let waits: Vec<_> = clients.iter().filter_map(Weak::upgrade).map(Interrupt::begin).collect();
    waits.into_iter().for_each(|wait| wait());
}

/// Reads what Ctrl-C does to the process as it is now.
///
/// Only Linux shows it without unsafe code. Elsewhere a handler of the program's own still runs, and the process ends
/// behind it.
fn before() -> io::Result<Before> {
    let status = match std::fs::read_to_string("/proc/self/status") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        // The file exists and would tell: a guess could end a program that has a handler.
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
