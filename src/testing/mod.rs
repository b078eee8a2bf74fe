//! Helpers for tests: a fake transport, random delays, a guard against hangs, and models for a model checker.

#[cfg(not(shuttle))]
pub(crate) mod delay;
#[cfg_attr(shuttle, allow(dead_code, reason = "the models use a part of it"))]
pub(crate) mod fake;
#[cfg(not(shuttle))]
#[allow(dead_code, reason = "shared with the tests in `tests/`")]
pub(crate) mod hang;
#[cfg(shuttle)]
pub mod models;
