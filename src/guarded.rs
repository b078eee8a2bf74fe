//! Protection against panics of user code.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code that may call user code. A panic becomes an error with its text.
///
/// No lock of this crate is held while such code runs, so a panic leaves no half-changed state behind.
#[inline]
pub(crate) fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = format!("panicked: {}", panic_text(panic.as_ref()));
        // The panic's payload belongs to the user too. Its drop may panic, with another payload, which is
        // then leaked.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(second);
        }
        text
    })
}

/// Drops a value of the user's. A panic of its destructor is reported by the panic hook and otherwise
/// ignored.
#[inline]
pub(crate) fn drop_guarded<T>(value: T) {
    let _ = guarded(|| drop(value));
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
