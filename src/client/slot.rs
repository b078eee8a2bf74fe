//! The registered handlers, and the function for packets. Only this file calls them.

use std::fmt;

use super::Client;
use crate::event::Reason;
use crate::guarded::{drop_guarded, guarded};
use crate::logger::{Logger, log};
use crate::message::Message;
use crate::observation::{Direction, PacketHook, PacketInfo, PacketObserver};
use crate::session::BeforeHandler;
use crate::sync::{AtomicBool, Mutex, Ordering, Signal, lock};

type Handler<T> = Box<dyn FnMut(&Client, T) -> Result<(), String> + Send>;

/// The failure of a handler.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// The text of the handler's error, with its causes.
    Error(String),
    /// The text of its panic, which the panic hook has reported too.
    Panic(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error(text) | Failure::Panic(text) => f.write_str(text),
        }
    }
}

/// The handlers of a client.
pub(super) struct Handlers {
    pub(super) connect: Slot<()>,
    pub(super) message: Slot<Message>,
    pub(super) disconnect: Slot<Reason>,
}

impl Handlers {
    pub(super) fn new() -> Self {
        Handlers { connect: Slot::new(), message: Slot::new(), disconnect: Slot::new() }
    }
}

/// A place for one handler. The handler is taken out while it runs, so that no lock is held meanwhile.
pub(super) struct Slot<T> {
    state: Mutex<SlotState<T>>,
    /// Set while the slot holds the successor of a handler that is taken out.
    has_successor: AtomicBool,
    free: Signal,
}

struct SlotState<T> {
    handler: Option<Handler<T>>,
    /// Set while there is a lease.
    leased: bool,
}

impl<T> Slot<T> {
    fn new() -> Self {
        Slot {
            state: Mutex::new(SlotState { handler: None, leased: false }),
            has_successor: AtomicBool::new(false),
            free: Signal::default(),
        }
    }

    /// Registers a handler, which replaces the previous one. A previous handler that is running is not
    /// interrupted.
    pub(super) fn set(&self, handler: Handler<T>) {
        let mut state = lock(&self.state);
        let former = state.handler.replace(handler);
        self.has_successor.store(state.leased, Ordering::Relaxed);
        drop(state);
        // The previous handler is dropped without the lock, because it may own values of the user's.
        drop(former);
    }

    /// True if a call would run a handler, or wait for one.
    pub(super) fn is_set(&self) -> bool {
        let state = lock(&self.state);
        state.handler.is_some() || state.leased
    }

    /// Calls `before`, and then the handler for one event. Returns the handler's failure.
    pub(super) fn call(&self, client: &Client, event: T, before: BeforeHandler<'_>) -> Result<(), Failure> {
        self.lease(before).call(client, event, before)
    }

    /// Takes the handler out for several calls, because two locks for each call would take a large part of
    /// the time that a short message needs.
    ///
    /// If the handler is still running for an earlier connection, this calls `before` and waits for the
    /// handler without a time limit. This happens when a disconnect handler has connected again, or runs
    /// longer than `connect` waits for it.
    pub(super) fn lease(&self, before: BeforeHandler<'_>) -> Lease<'_, T> {
        let mut state = lock(&self.state);
        if state.leased {
            drop(state);
            before();
            state = self.free.wait_while(lock(&self.state), None, |state| state.leased);
        }
        state.leased = true;
        Lease { slot: self, handler: state.handler.take() }
    }
}

/// A handler that is taken out of its slot until the lease is dropped. The owner drops the lease before
/// running other user code or waiting for anything, because another connection may wait for the handler.
pub(super) struct Lease<'a, T> {
    slot: &'a Slot<T>,
    handler: Option<Handler<T>>,
}

impl<T> Lease<'_, T> {
    /// Calls `before` and then the handler that is registered now, if there is one. Returns the handler's
    /// failure, or a panic from the drop of a handler that was replaced.
    pub(super) fn call(
        &mut self,
        client: &Client,
        event: T,
        before: BeforeHandler<'_>,
    ) -> Result<(), Failure> {
        let adopted = self.adopt_successor();
        let Some(handler) = &mut self.handler else { return adopted };
        before();
        let result = guarded(|| handler(client, event)).map_err(Failure::Panic);
        // The handler may have registered a successor while it ran.
        adopted.and(self.adopt_successor())?;
        result?.map_err(Failure::Error)
    }

    /// Replaces the handler by its successor, if one was registered. Returns a panic from the drop of the
    /// replaced handler.
    #[inline]
    fn adopt_successor(&mut self) -> Result<(), Failure> {
        if !self.slot.has_successor.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut state = lock(&self.slot.state);
        self.slot.has_successor.store(false, Ordering::Relaxed);
        let former = std::mem::replace(&mut self.handler, state.handler.take());
        drop(state);
        guarded(|| drop(former)).map_err(Failure::Panic)
    }
}

impl<T> Drop for Lease<'_, T> {
    fn drop(&mut self) {
        let mut state = lock(&self.slot.state);
        let mut former = self.handler.take();
        // A successor takes precedence.
        if state.handler.is_none() {
            std::mem::swap(&mut state.handler, &mut former);
        }
        self.slot.has_successor.store(false, Ordering::Relaxed);
        state.leased = false;
        self.slot.free.notify_one(state);
        drop_guarded(former);
    }
}

/// Catches a panic of the handler's drop. This may be the end of a thread, where a panic would abort the
/// process.
impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        drop_guarded(lock(&self.state).handler.take());
    }
}

/// Calls the user's function for packets. Many threads may call it at the same time.
#[derive(Debug)]
pub(super) struct HookCaller {
    hook: PacketHook,
    logger: Logger,
    /// Set when a panic of the function was logged.
    panic_told: AtomicBool,
}

impl HookCaller {
    pub(super) fn new(hook: PacketHook, logger: Logger) -> Self {
        HookCaller { hook, logger, panic_told: AtomicBool::new(false) }
    }
}

impl PacketObserver for HookCaller {
    fn packet(&self, direction: Direction, info: &PacketInfo) {
        let Err(panic) = guarded(|| (self.hook.0)(direction, info)) else { return };
        // A function that panics for every packet must not fill the log.
        if !self.panic_told.swap(true, Ordering::Relaxed) {
            // The panic hook has written the text to stderr.
            let panic = if self.logger.uses_stderr() { "panicked" } else { &panic };
            log!(self.logger, Error, "on_packet {panic} (further panics of it are not logged)");
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    fn slot_with(handler: impl FnMut(&Client, i32) -> Result<(), String> + Send + 'static) -> Slot<i32> {
        let slot = Slot::new();
        slot.set(Box::new(handler));
        slot
    }

    fn call<T>(slot: &Slot<T>, client: &Client, event: T) -> Result<(), Failure> {
        slot.call(client, event, &mut || {})
    }

    #[test]
    fn before_is_called_for_a_handler_and_for_a_wait_for_one() {
        let (client, entered) = (Client::new(), std::sync::Barrier::new(2));
        let slot = Slot::new();
        assert_eq!(slot.call(&client, 1, &mut || panic!("there is no handler")), Ok(()));
        let (slot, entered) = (std::sync::Arc::new(slot), std::sync::Arc::new(entered));
        let (inner, enters) = (slot.clone(), entered.clone());
        slot.set(Box::new(move |_, first| {
            if first == 1 {
                enters.wait();
                // The handler does not run for the other call before it returns from this one.
                enters.wait();
                inner.set(Box::new(|_, _| Ok(())));
            }
            Ok(())
        }));
        std::thread::scope(|scope| {
            scope.spawn(|| call(&slot, &client, 1));
            entered.wait();
            let mut calls = 0;
            let mut before = || {
                if calls == 0 {
                    entered.wait();
                }
                calls += 1;
            };
            assert_eq!(slot.call(&client, 2, &mut before), Ok(()));
            assert_eq!(calls, 2, "once for the wait, and once for the handler");
        });
    }

    #[test]
    fn a_handler_keeps_its_state_between_calls() {
        let mut sum = 0;
        let slot = slot_with(move |_, n| {
            sum += n;
            if sum == 5 { Err(sum.to_string()) } else { Ok(()) }
        });
        let client = Client::new();
        assert_eq!(call(&slot, &client, 2), Ok(()));
        assert_eq!(call(&slot, &client, 3), Err(Failure::Error("5".into())));
    }

    #[test]
    fn a_panic_is_told_and_the_handler_stays() {
        let slot = slot_with(|_, n| if n == 1 { panic!("no {n}") } else { Ok(()) });
        let client = Client::new();
        assert_eq!(call(&slot, &client, 1), Err(Failure::Panic("panicked: no 1".into())));
        assert_eq!(call(&slot, &client, 2), Ok(()));
    }

    #[test]
    fn a_panic_in_the_drop_of_a_replaced_handler_is_told() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("what the handler held");
            }
        }
        let slot = std::sync::Arc::new(Slot::new());
        let (inner, bomb) = (slot.clone(), Bomb);
        slot.set(Box::new(move |_, ()| {
            let _ = &bomb;
            inner.set(Box::new(|_, ()| Ok(())));
            Ok(())
        }));
        let panic = Failure::Panic("panicked: what the handler held".into());
        assert_eq!(call(&slot, &Client::new(), ()), Err(panic));
        assert_eq!(call(&slot, &Client::new(), ()), Ok(()));
    }

    #[test]
    fn a_lease_runs_the_handler_that_is_registered_at_the_time_of_the_call() {
        let (client, slot) = (Client::new(), Slot::new());
        let handler = |name: &'static str| Box::new(move |_: &Client, ()| Err(name.to_owned()));
        let mut lease = slot.lease(&mut || {});
        assert_eq!(lease.call(&client, (), &mut || panic!("there is no handler")), Ok(()));
        for name in ["first", "second"] {
            slot.set(handler(name));
            assert_eq!(lease.call(&client, (), &mut || {}), Err(Failure::Error(name.into())));
            assert_eq!(lease.call(&client, (), &mut || {}), Err(Failure::Error(name.into())));
        }
        slot.set(handler("skipped"));
        slot.set(handler("third"));
        drop(lease);
        assert_eq!(call(&slot, &client, ()), Err(Failure::Error("third".into())));
    }

    #[test]
    fn handlers_that_a_lease_replaces_are_dropped_at_once() {
        let (slot, held) = (Slot::new(), std::sync::Arc::new(()));
        let client = Client::new();
        let count = || std::sync::Arc::strong_count(&held) - 1;
        let set = || {
            let held = held.clone();
            slot.set(Box::new(move |_, ()| {
                let _ = &held;
                Ok(())
            }));
        };
        set();
        let mut lease = slot.lease(&mut || {});
        set();
        assert_eq!((lease.call(&client, (), &mut || {}), count()), (Ok(()), 1));
        set();
        assert_eq!(count(), 2);
        drop(lease);
        assert_eq!(count(), 1);
    }

    #[test]
    fn a_handler_may_register_its_successor() {
        let slot = std::sync::Arc::new(Slot::new());
        let inner = slot.clone();
        slot.set(Box::new(move |_, ()| {
            inner.set(Box::new(|_, ()| Err("the successor".into())));
            Ok(())
        }));
        let client = Client::new();
        assert_eq!(call(&slot, &client, ()), Ok(()));
        assert_eq!(call(&slot, &client, ()), Err(Failure::Error("the successor".into())));
    }
}
