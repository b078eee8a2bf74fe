//! The handling of Ctrl-C: connected clients disconnect first, and then the signal has the effect that it
//! would have had without them. If a client asks for it, the process goes on instead of ending.
//!
//! The first connection installs the signal handler and the thread `eio-sigint`, which does the work. Both
//! stay for the life of the process.

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use crate::guarded::guarded;
use crate::sync::{Mutex, lock};

/// A client that Ctrl-C disconnects.
pub(crate) trait Interrupt: Send + Sync {
    /// True if the program goes on when this client is disconnected.
    fn returns(&self) -> bool;

    /// Begins to disconnect. Returns a function that waits for the end, within the client's request timeout.
    fn begin(self: Arc<Self>) -> Box<dyn FnOnce()>;
}

/// The clients to disconnect. No lock of a client is taken while this one is held.
static CLIENTS: Mutex<Vec<Weak<dyn Interrupt>>> = Mutex::new(Vec::new());

/// Set when the process is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Set by each signal. If it is set already, the signal ends the process. It is `None` until the handler is
/// installed.
static AGAIN: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);

/// The effect of Ctrl-C on the process before the first connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Ctrl-C ended the process.
    Ends,
    /// A handler of the program ran, and still runs.
    Handled,
    /// Ctrl-C had no effect, as in a background job of a shell.
    Ignored,
}

/// Makes Ctrl-C disconnect that client from now on. Fails if the handler cannot be installed.
pub(crate) fn watch(client: &Arc<dyn Interrupt>) -> io::Result<()> {
    {
        let mut clients = lock(&CLIENTS);
        clients.retain(|known| known.strong_count() > 0);
        if !clients.iter().any(|known| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(client))) {
            clients.push(Arc::downgrade(client));
        }
    }
    let mut installed = lock(&AGAIN);
    match &*installed {
        Some(again) if !ENDING.load(Ordering::SeqCst) => again.store(false, Ordering::SeqCst),
        Some(_) => {}
        // After a failure, the next connection tries again.
        None => {
            let again = Arc::new(AtomicBool::new(false));
            install(&again)?;
            *installed = Some(again);
        }
    }
    Ok(())
}

/// Installs the handler. A signal that finds `again` set ends the process at once.
fn install(again: &Arc<AtomicBool>) -> io::Result<()> {
    let before = before()?;
    if before == Before::Ignored {
        return Ok(());
    }
    // The steps that may fail come first. signal-hook never restores a signal's former effect, so a failure
    // after that would leave Ctrl-C without effect.
    let mut signals = Signals::new(std::iter::empty::<c_int>())?;
    let arrivals = signals.handle();
    let run = move || {
        // This thread lives as long as the process, and waits for signals only.
        signals.forever().for_each(|_| handle(before));
    };
    thread::Builder::new().name("eio-sigint".into()).spawn(run)?;
    if before == Before::Ends {
        // A second Ctrl-C ends the process at once.
        flag::register_conditional_default(SIGINT, again.clone())?;
        flag::register(SIGINT, again.clone())?;
    }
    // The thread is told last: otherwise a program that connects again could clear `again` before it is set.
    // If this fails, Ctrl-C ends the process, as it did before.
    arrivals.add_signal(SIGINT).inspect_err(|_| again.store(true, Ordering::SeqCst))
}

/// Disconnects all clients at the same time, so that none waits for the server or the handlers of another,
/// and then ends the process if it should end.
fn handle(before: Before) {
    let clients = lock(&CLIENTS).clone();
    let clients: Vec<_> = clients.iter().filter_map(Weak::upgrade).collect();
    let ends = before == Before::Ends && !clients.iter().any(|client| client.returns());
    if ends {
        ENDING.store(true, Ordering::SeqCst);
    }
    // A panic must not end this thread, which ends the process and may drop the last share of a client.
    let begin = |client: Arc<dyn Interrupt>| guarded(|| client.begin()).ok();
    let waits: Vec<_> = clients.into_iter().filter_map(begin).collect();
    waits.into_iter().for_each(|wait| _ = guarded(wait));
    if ends {
        // The process ends by the signal, so that its parent can tell. This cannot fail for SIGINT.
        let _ = low_level::emulate_default_handler(SIGINT);
    }
}

/// Does not return if Ctrl-C is about to end the process. Otherwise the caller could end it first, with a
/// status of success. The signal ends this wait, within the request timeouts of the clients.
pub(crate) fn stay() {
    while ENDING.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// Determines the current effect of Ctrl-C on the process.
///
/// Only Linux shows it without unsafe code. On other systems the answer is `Ends`: a handler of the program
/// still runs, and then the process ends.
fn before() -> io::Result<Before> {
    let status = match std::fs::read_to_string("/proc/self/status") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        // The file exists but cannot be read. A guess could end a program that has a handler.
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
