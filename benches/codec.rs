//! The cost of encoding and decoding packets and payloads, without any I/O.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    reason = "the benchmark uses a part of the crate's own modules"
)]

#[path = "../src/protocol/mod.rs"]
mod protocol;
#[path = "../src/session_id.rs"]
mod session_id;

use std::collections::VecDeque;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use protocol::Packet;
use protocol::payload::{self, Payload};

/// The number of packets in a payload.
const PACKETS: usize = 16;

fn messages() -> [(&'static str, Packet); 3] {
    [
        ("text of 16 B", Packet::Text("x".repeat(16))),
        ("text of 1 KiB", Packet::Text("x".repeat(1024))),
        ("binary of 64 KiB", Packet::Binary(vec![7; 64 * 1024].into())),
    ]
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("websocket frame");
    for text in ["4".to_owned() + &"x".repeat(16), "4".to_owned() + &"x".repeat(1024)] {
        group.bench_function(BenchmarkId::new("decode", text.len()), |bencher| {
            bencher.iter(|| Packet::decode_text(black_box(&text)).expect("a packet"));
        });
    }
}

fn payloads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payload of 16");
    for (name, packet) in messages() {
        let queue: VecDeque<Packet> = vec![packet; PACKETS].into();
        let (body, _) = payload::encode(&queue, PACKETS, None);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| payload::encode(black_box(&queue), PACKETS, None));
        });
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher
                .iter(|| Payload::new(black_box(body.clone())).expect("UTF-8").map(Result::unwrap).count());
        });
    }
}

criterion_group!(benches, frames, payloads);
criterion_main!(benches);
