//! The lines on stderr of a client without a logger. Each case runs in a child process, which is this program
//! started again.

#![cfg(unix)]

use std::error::Error;
use std::fmt;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::real::Server;
use common::{Lines, PATIENCE, unused_url};
use engineio::{Client, Message, Reconnection};
use log::{Level, LevelFilter, Metadata, Record};

const PART: &str = "ENGINEIO_TEST_PART";

/// A logger without a size, like the placeholder of the facade.
struct Unsized;

impl log::Log for Unsized {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, _: &Record) {}

    fn flush(&self) {}
}

/// A logger with a size, as most have.
struct Leveled(Level);

impl log::Log for Leveled {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() < self.0
    }

    fn log(&self, _: &Record) {}

    fn flush(&self) {}
}

/// An error with a cause, whose text the error does not have.
#[derive(Debug)]
struct Outer;

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the order was not stored")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        static CAUSE: Inner = Inner;
        Some(&CAUSE)
    }
}

#[derive(Debug)]
struct Inner;

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the disk is full\n\u{1b}[31m")
    }
}

impl Error for Inner {}

/// The entry point of the child processes. The parent process has no part to run.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    let part = part.as_str();
    let builder = match part {
        "quiet" | "quiet path" => Client::builder().quiet(),
        "errors only" | "errors only path" => Client::builder().log_errors_only(),
        "own" => Client::builder().logger(Lines::default()),
        "first" | "first told" => {
            let policy = Reconnection::new().first_connect(true).max_attempts(1).delay(Duration::ZERO);
            let policy = if part == "first told" { policy.on_event(|_| {}) } else { policy };
            Client::builder().reconnection(policy)
        }
        _ => Client::builder().reconnection(Reconnection::new()),
    };
    match part {
        "unsized" => {
            log::set_logger(&Unsized).unwrap();
            log::set_max_level(LevelFilter::Trace);
        }
        "sized" => {
            log::set_boxed_logger(Box::new(Leveled(Level::Error))).unwrap();
            log::set_max_level(LevelFilter::Error);
        }
        // There is still no logger.
        "level" => log::set_max_level(LevelFilter::Trace),
        "off" => log::set_boxed_logger(Box::new(Leveled(Level::Trace))).unwrap(),
        _ => {}
    }
    let client = builder.build().unwrap();
    if part.starts_with("first") {
        client.connect(unused_url()).unwrap_err();
        return;
    }
    register(&client, part);
    let server = Server::start();
    // The path of the URL is not used.
    let path = if part.ends_with("path") { "/s3cr3t" } else { "" };
    let connected = client.connect(format!("{}{path}", server.url()));
    if part == "connect" {
        let error = connected.unwrap_err().to_string();
        assert!(error.ends_with("the order was not stored: the disk is full\n\u{1b}[31m"), "{error}");
        return;
    }
    connected.unwrap();
    client.send("not JSON").unwrap();
    // The echo arrives before the end, because the handler closes the connection.
    assert!(client.wait_timeout(PATIENCE));
}

fn register(client: &Client, part: &str) {
    let ends = |client: &Client| client.disconnect().unwrap();
    match part {
        "chain" => client.on_message(move |client, _| {
            ends(client);
            Err(Outer)
        }),
        "boxed" => client.on_message(move |client, _| -> Result<(), Box<dyn Error + Send + Sync>> {
            ends(client);
            Err(Outer)?;
            Ok(())
        }),
        "text" => client.on_message(move |client, _| {
            ends(client);
            Err("just a text".to_owned())
        }),
        "panic" => client.on_message(move |client, _| {
            ends(client);
            assert!(client.is_connected(), "no way");
        }),
        "wait" => client.on_message(move |client, _| {
            client.wait();
            ends(client);
        }),
        "connect" => client.on_connect(|_| Err(Outer)),
        "disconnect" => {
            client.on_message(move |client, _| ends(client));
            client.on_disconnect(|_, _| Err(io::Error::other(Outer)));
        }
        _ => client.on_message(move |client, message: Message| -> engineio::Result<()> {
            ends(client);
            message.json::<u8>()?;
            Ok(())
        }),
    }
}

/// Runs a child, and returns the lines of its stderr.
fn stderr_of(part: &str) -> Vec<String> {
    let output = child_of(part).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{part}: {}: {stderr}", output.status);
    stderr.lines().map(str::to_owned).collect()
}

fn child_of(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture"])
        .envs([(PART, part), ("RUST_BACKTRACE", "0")])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

const SERDE: &str =
    "engineio: the message handler failed: JSON conversion failed: expected ident at line 1 column 2";
const CHAIN: &str = r"the order was not stored: the disk is full\n\u{1b}[31m";

#[test]
fn a_failed_handler_is_told_once_with_all_causes() {
    for part in ["default", "errors only", "level", "off"] {
        assert_eq!(stderr_of(part), [SERDE], "{part}");
    }
    for part in ["chain", "boxed"] {
        assert_eq!(stderr_of(part), [format!("engineio: the message handler failed: {CHAIN}")], "{part}");
    }
    assert_eq!(stderr_of("text"), ["engineio: the message handler failed: just a text"]);
    assert_eq!(stderr_of("disconnect"), [format!("engineio: the disconnect handler failed: {CHAIN}")]);
}

#[test]
fn a_path_in_the_url_is_told() {
    let [path, failed] = &stderr_of("path")[..] else { panic!("two lines") };
    assert!(
        path.ends_with("the path of the URL is not used; `ConnectOptions::path` sets the path"),
        "{path}"
    );
    assert!(path.starts_with("engineio: connecting to http://") && !path.contains("s3cr3t"), "{path}");
    assert_eq!(failed, SERDE);
    assert_eq!(stderr_of("errors only path"), [SERDE]);
    assert_eq!(stderr_of("quiet path"), [""; 0]);
}

#[test]
fn the_first_failure_of_a_connect_that_is_repeated_is_told() {
    let [line] = &stderr_of("first")[..] else { panic!("one line") };
    assert!(line.starts_with("engineio: connecting failed: ") && line.contains("refused"), "{line}");
    assert!(line.ends_with("; the policy connects again"), "{line}");
    assert_eq!(stderr_of("first told"), [""; 0], "the program is told of the failure");
}

#[test]
fn a_panic_is_told_once_and_the_handler_named() {
    let lines = stderr_of("panic");
    let with = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!((with("no way"), with("engineio: the message handler panicked")), (1, 1), "{lines:?}");
}

#[test]
fn wait_in_a_handler_is_told() {
    assert_eq!(stderr_of("wait"), ["engineio: wait was called in a handler: it would wait for itself"]);
}

#[test]
fn the_caller_of_connect_prints_what_it_returns() {
    assert_eq!(stderr_of("connect"), [""; 0]);
}

#[test]
fn a_logger_or_quiet_replaces_it() {
    for part in ["quiet", "own", "unsized", "sized"] {
        assert_eq!(stderr_of(part), [""; 0], "{part}");
    }
}

/// `eprintln!` would panic in these cases.
#[test]
fn stderr_may_be_closed_or_broken() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let status = child_of("default").stderr(writer).status().unwrap();
    assert!(status.success(), "broken: {status}");
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" \"$@\" 2>&-"]).arg(std::env::current_exe().unwrap());
    closed.args(["--exact", "child", "--nocapture"]).env(PART, "default").stdout(Stdio::null());
    let status = closed.status().unwrap();
    assert!(status.success(), "closed: {status}");
}
