//! Makes the targets of `src/testing/fuzz.rs` public, without a flag that would rebuild the dependencies.

fn main() {
    println!("cargo::rustc-cfg=fuzz");
    println!("cargo::rerun-if-changed=build.rs");
}
