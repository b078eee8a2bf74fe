use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code that is not ours alone: a panic becomes an error with its text.
///
/// No lock of ours is held while such code runs, so that a panic leaves nothing half done behind it.
pub(crate) fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = format!("panicked: {}", panic_text(panic.as_ref()));
        // The payload is the user's as well, and may panic when it is dropped, with another payload.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(second);
        }
        text
    })
}

/// Drops a value of the user's. A panic of its `Drop` has been reported by the panic hook, and ends nothing here.
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
