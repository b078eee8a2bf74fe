//! Builds the crate for the model checker. The flag is set here because a global one would rebuild all
//! dependencies.

fn main() {
    println!("cargo::rustc-cfg=shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
