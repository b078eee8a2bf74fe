//! Helpers for tests: a fake transport, random delays, a guard against hangs, and models for a model checker.

#[cfg(not(any(shuttle, fuzz)))]
pub(crate) mod delay;
#[cfg(not(fuzz))]
#[cfg_attr(shuttle, allow(dead_code, reason = "the models use a part of it"))]
pub(crate) mod fake;
#[cfg(any(test, fuzz))]
#[cfg_attr(test, allow(unreachable_pub, reason = "the fuzz package reaches it"))]
pub mod fuzz;
#[cfg(not(any(shuttle, fuzz)))]
#[allow(dead_code, unreachable_pub, reason = "the crate `common` of `tests/` has it too")]
pub(crate) mod hang;
#[cfg(shuttle)]
pub mod models;
