//! Makes a module of the README's first program, which `readme.rs` runs.

use std::path::Path;
use std::{env, fs};

const README: &str = "../README.md";
/// The expression for the URL of the test's server, in place of the URL in the README.
const URL: &str = "std::env::var(\"ENGINEIO_FIRST_PROGRAM\").expect(\"a URL\")";

fn main() {
    println!("cargo::rerun-if-changed={README}");
    let readme = fs::read_to_string(README).expect("the README is readable");
    let mut blocks = readme.split("\n```").filter_map(|block| block.strip_prefix("rust,no_run\n"));
    let program = blocks.find(|block| block.contains("fn main()")).expect("the README has a first program");
    let program =
        program.replacen("\"http://localhost:5000\"", URL, 1).replace("fn main()", "pub(crate) fn main()");
    assert!(program.contains(URL), "the first program connects to http://localhost:5000");
    let file = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("first_program.rs");
    fs::write(file, program).expect("the directory is writable");
}
