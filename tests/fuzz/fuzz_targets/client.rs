#![no_main]

#[path = "../client.rs"]
mod client;
#[path = "../server.rs"]
mod server;

libfuzzer_sys::fuzz_target!(|data: &[u8]| client::run(data));
