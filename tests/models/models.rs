//! Runs the models of `src/testing/models`. `ENGINEIO_SOAK=long cargo test --release --test models` runs the
//! long form, which takes minutes.

use std::time::Instant;

use engineio_models::models::MODELS;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

/// The depth of the bugs that the PCT scheduler looks for: the number of its ordering constraints.
const DEPTH: usize = 3;

fn config() -> Config {
    let mut config = Config::new();
    // Formatting an error takes more stack than shuttle's default.
    config.stack_size = 256 * 1024;
    config
}

/// Runs all models, or those whose names contain the value of this environment variable.
const ONLY: &str = "ENGINEIO_MODEL";

fn run(schedules: usize) {
    let only = std::env::var(ONLY).unwrap_or_default();
    for (name, model) in MODELS.iter().filter(|(name, _)| name.contains(&only)) {
        let start = Instant::now();
        Runner::new(RandomScheduler::new(schedules), config()).run(*model);
        Runner::new(PctScheduler::new(DEPTH, schedules), config()).run(*model);
        println!("{name}: {schedules} random and {schedules} PCT schedules in {:.1?}", start.elapsed());
    }
}

#[test]
fn models() {
    let long = std::env::var("ENGINEIO_SOAK").is_ok_and(|value| value == "long");
    run(if long { 100_000 } else { 5_000 });
}
