//! Replays the corpus of the fuzzing of the whole client, which is in `tests/fuzz`. There is one test in this
//! file, because threads and descriptors are counted, and a panic on any thread ends the process.

#![cfg(target_os = "linux")]

#[path = "fuzz/client.rs"]
mod client;
#[path = "fuzz/server.rs"]
mod server;

use std::fs;
use std::path::Path;

#[test]
fn the_client_holds_against_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/client");
    let mut count = 0;
    for input in fs::read_dir(corpus).unwrap() {
        let path = input.unwrap().path();
        println!("{}", path.display());
        let start = std::time::Instant::now();
        client::run(&fs::read(path).unwrap());
        println!("{:?}", start.elapsed());
        count += 1;
    }
    assert!(count > 10, "there are only {count} inputs");
}
