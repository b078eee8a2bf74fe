//! Builds the crate for the model checker, without a flag that would rebuild its dependencies.

fn main() {
    println!("cargo::rustc-cfg=shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
