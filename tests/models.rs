//! Runs the models of the session and the client in `tests/models`, in their short form. They are a separate
//! package, because they build the crate's source with the primitives of a model checker.

use std::path::Path;
use std::process::Command;

#[test]
fn the_models_hold() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--locked", "--manifest-path", manifest]).env("CARGO_TARGET_DIR", target);
    assert!(cargo.status().expect("cargo runs").success(), "see the output above");
}
