//! Makes the tests of the source part of this package.

fn main() {
    println!("cargo::rustc-cfg=unit_tests");
    println!("cargo::rerun-if-changed=build.rs");
}
