//! Examples as child processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The time limit for an example. Only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running example. Dropping it kills and reaps the process.
pub(crate) struct Example {
    pub(crate) name: String,
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

impl Example {
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}; `cargo build --examples` makes it", program.display()));
        Example {
            name: program.display().to_string(),
            stdin: child.stdin.take(),
            stdout: Output::of(child.stdout.take().expect("stdout is piped")),
            stderr: Output::of(child.stderr.take().expect("stderr is piped")),
            child,
        }
    }

    pub(crate) fn write(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("the input has not ended");
        stdin.write_all(text.as_ref()).and_then(|()| stdin.flush()).expect("the example reads");
    }

    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end, and returns the exit code.
    pub(crate) fn code(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.stdout.read_to_end();
                self.stderr.read_to_end();
                return status.code().unwrap_or_else(|| panic!("{status}; {}", self.report()));
            }
            assert!(Instant::now() < deadline, "{} has not ended; {}", self.name, self.report());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn report(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.stdout.text(), self.stderr.text())
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // An error means that the process has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output of a child. It is read as it arrives, so the child never blocks on a full pipe.
pub(crate) struct Output {
    arriving: Receiver<Vec<u8>>,
    pump: Option<JoinHandle<()>>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) lines: Vec<String>,
}

impl Output {
    pub(crate) fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, arriving) = mpsc::channel();
        let pump = thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while let Ok(1..) = output.read_until(b'\n', &mut line) {
                // The thread reads on when the receiver is gone.
                let _ = sender.send(std::mem::take(&mut line));
            }
        });
        Output { arriving, pump: Some(pump), bytes: Vec::new(), lines: Vec::new() }
    }

    pub(crate) fn take(&mut self, line: Vec<u8>) {
        self.lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        self.bytes.extend(line);
    }

    /// Waits for a line that contains `part`.
    pub(crate) fn wait_for(&mut self, part: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.arriving.recv_timeout(left) {
                Ok(line) => self.take(line),
                Err(e) => panic!("no line with {part:?}: {e}; there is:\n{}", self.text()),
            }
            if self.lines.last().is_some_and(|line| line.contains(part)) {
                return;
            }
        }
    }

    /// Reads the rest of the output, after the child has ended.
    pub(crate) fn read_to_end(&mut self) {
        if let Some(pump) = self.pump.take() {
            pump.join().expect("the pump does not panic");
        }
        while let Ok(line) = self.arriving.try_recv() {
            self.take(line);
        }
    }

    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// Runs a program to its end, and checks its exit code.
pub(crate) fn run_for(program: &Path, arguments: &[&str], input: &str, code: i32) -> Example {
    let mut example = Example::start(program, arguments);
    example.write(input);
    example.end_input();
    let ended = example.code();
    assert_eq!(ended, code, "{}", example.report());
    example
}
