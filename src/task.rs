use std::thread::{Builder, JoinHandle};

/// Runs `task` on a thread of its own, named `eio-task`.
pub(crate) fn start<F, T>(task: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().name("eio-task".into()).spawn(task).expect("the system cannot start a thread")
}
