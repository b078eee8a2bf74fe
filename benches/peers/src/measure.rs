//! Clocks and figures of the measurements.

use std::any::Any;
use std::fmt;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Pins this process, and the threads that it starts later, to one CPU.
pub(crate) fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    let mut set = CpuSet::new();
    set.set(cpu);
    // Not every machine allows this. The figures are comparable without it.
    let _ = sched_setaffinity(None, &set);
}

/// Raises the limit of open files as far as the system allows.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The figures of one run, in ns: the median time of an operation, its 99th percentile, and the client's CPU
/// time per operation. Scenarios without single times give the mean time for both. The scenario `Idle` gives
/// bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) each: f64,
    pub(crate) p99: f64,
    pub(crate) cpu: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.each, self.p99, self.cpu)
    }
}

impl Figures {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<f64>().ok());
        Some(Figures { each: numbers.next()??, p99: numbers.next()??, cpu: numbers.next()?? })
    }

    /// The figures of operations that were timed one by one.
    pub(crate) fn of_times(mut times: Vec<Duration>, cpu: Duration) -> Self {
        let count = times.len();
        times.sort();
        Figures {
            each: nanos(times[count / 2]),
            p99: nanos(times[count * 99 / 100]),
            cpu: nanos(cpu) / count as f64,
        }
    }
}

/// A clock for many operations as a whole.
pub(crate) struct Watch {
    started: Instant,
    cpu: Duration,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Watch { cpu: cpu_time(), started: Instant::now() }
    }

    pub(crate) fn cpu(&self) -> Duration {
        cpu_time() - self.cpu
    }

    pub(crate) fn stop(&self, operations: usize) -> Figures {
        let each = nanos(self.started.elapsed()) / operations as f64;
        Figures { each, p99: each, cpu: nanos(self.cpu()) / operations as f64 }
    }
}

/// The memory that each of `count` idle connections adds to this process.
pub(crate) fn idle(count: usize, mut connect: impl FnMut(usize) -> Box<dyn Any>) -> Figures {
    // The first connection loads code and shared data, and does not count.
    let first = connect(0);
    let before = resident();
    let cpu = Watch::start();
    let connections: Vec<_> = (0..count).map(connect).collect();
    let each = (resident() - before) / count as f64;
    drop((first, connections));
    Figures { each, p99: each, cpu: nanos(cpu.cpu()) / count as f64 }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// The CPU time of all threads of this process.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The resident memory of this process, in bytes.
pub(crate) fn resident() -> f64 {
    1024.0 * status("VmRSS:")
}

/// The number of threads of this process.
pub(crate) fn threads() -> f64 {
    status("Threads:")
}

/// The number behind that name in the status of this process.
fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux");
    line.split_whitespace().next().expect("a number").parse().expect("a number")
}
