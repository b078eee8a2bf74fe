//! The whole client against a server whose bytes come from a fuzzer. The fuzz package and `tests/corpus.rs`
//! share this file.
//!
//! An input is a byte of options and a script: records with a separator between them. The first byte of a
//! record is its kind. The server answers each request with the next record, whatever the request is, and
//! sends frames without being asked. It closes the connections at the end of the script.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use engineio::{Client, ConnectOptions, Error, TransportKind};
use log::{Level, Log, Metadata, Record};

use super::server::{Server, leads_elsewhere};

/// Stands for passwords and tokens. It is in no line of the log and in no error.
const SECRET: &str = "S3CR3T";

const REQUEST_TIMEOUT: Duration = Duration::from_millis(150);

/// The bound for everything: the requests of three ways to connect, the connection, a disconnect. All of it
/// takes a second, or much longer in a process that is starved. A connection whose end is not noticed would
/// last for the 45 s of an ordinary handshake.
const BOUND: Duration = Duration::from_secs(40);

/// Runs a script. Panics, on whatever thread, abort the process.
pub(crate) fn run(data: &[u8]) {
    static ABORT: Once = Once::new();
    ABORT.call_once(abort_on_panic);
    let Some((options, script)) = data.split_first() else { return };
    // A server that sends the secret by itself has it quoted.
    if leads_elsewhere(script) || String::from_utf8_lossy(script).contains(SECRET) {
        return;
    }
    let start = Instant::now();
    let baseline = (count("task"), count("fd"));
    let server = Server::start(script);
    let story = Story::default();
    let client = visit(*options, server.url(), &story);
    let error = client.last_error().map(|error| in_full(&error)).unwrap_or_default();
    check(&client, script, &story, &error);
    drop(client);
    drop(server);
    eventually(|| count("task") <= baseline.0, "threads");
    eventually(|| count("fd") <= baseline.1, "descriptors");
    assert!(start.elapsed() < BOUND, "it took {:?}", start.elapsed());
    assert!(!story.has_changed(), "something happened after the end");
}

/// Connects, and waits until the connection has ended.
fn visit(options: u8, url: &str, story: &Story) -> Client {
    let builder = Client::builder();
    // Its thread lives as long as the process.
    #[cfg(feature = "sigint")]
    let builder = builder.handle_sigint(false);
    let client = builder
        .request_timeout(REQUEST_TIMEOUT)
        .no_proxy()
        .decode_json(options & 8 != 0)
        .logger(story.clone())
        .build()
        .expect("the options are valid");
    let told = story.clone();
    client.on_connect(move |_| told.tell("connect"));
    let (told, echoes) = (story.clone(), options & 16 != 0);
    client.on_message(move |client, message| {
        told.tell("message");
        if echoes {
            let _ = client.try_send(message);
        }
    });
    let told = story.clone();
    client.on_disconnect(move |_, _| told.tell("disconnect"));
    let connect = ConnectOptions::new()
        .transports(match options & 3 {
            0 => vec![TransportKind::Polling],
            1 => vec![TransportKind::WebSocket],
            2 => vec![TransportKind::WebSocket, TransportKind::Polling],
            _ => vec![TransportKind::Polling, TransportKind::WebSocket],
        })
        .header("Authorization", SECRET)
        .header("Cookie", format!("own={SECRET}"));
    let url = url.replace("http://", &format!("http://user:{SECRET}@"));
    match client.connect_with(format!("{url}?token={SECRET}"), connect) {
        Ok(()) if options & 4 != 0 => _ = client.disconnect(),
        Ok(()) => {
            assert!(client.wait_timeout(BOUND), "the connection does not end");
        }
        Err(error) => story.tell(&format!("error: {}", in_full(&error))),
    }
    client.wait();
    client
}

fn check(client: &Client, script: &[u8], story: &Story, error: &str) {
    let lines = story.take();
    let events: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
    let at = |event| events.iter().position(|line| *line == event);
    let times = |event| events.iter().filter(|line| **line == event).count();
    assert!(times("connect") <= 1 && times("disconnect") == times("connect"), "{events:#?}");
    if let Some(connect) = at("connect") {
        let (first, last) = (at("message"), events.iter().rposition(|line| *line == "message"));
        assert!(first.is_none_or(|first| first > connect), "{events:#?}");
        assert!(last.is_none_or(|last| at("disconnect").is_some_and(|end| end > last)), "{events:#?}");
    } else {
        assert_eq!(times("message"), 0, "{events:#?}");
    }
    let sid = sids(script);
    for (level, line) in lines.iter().map(|(level, line)| (*level, line.as_str())).chain([(None, error)]) {
        assert!(!line.contains(is_control), "{line:?}");
        assert!(!line.contains(SECRET), "{line}");
        let public = level.is_none_or(|level| level <= Level::Info);
        assert!(!public || !sid.iter().any(|sid| line.contains(sid)), "the session id: {line}");
    }
    assert!(!format!("{client:?}").contains(SECRET));
}

/// The session ids of the script that cannot be taken for something else: they stand in it once.
fn sids(script: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(script);
    let values = text.split(r#""sid":""#).skip(1).filter_map(|rest| rest.split('"').next());
    let unique = values.filter(|sid| sid.len() >= 12 && text.matches(sid).count() == 1);
    unique.map(str::to_owned).collect()
}

fn is_control(c: char) -> bool {
    let hidden = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2066}'..='\u{2069}');
    c.is_control() || hidden || matches!(c, '\u{2028}'..='\u{202e}')
}

fn in_full(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// An event, or a line of the log with its level.
type Line = (Option<Level>, String);

/// Everything that the client has told.
#[derive(Clone, Default)]
struct Story {
    lines: Arc<Mutex<Vec<Line>>>,
    changed: Arc<AtomicBool>,
}

impl Story {
    fn tell(&self, event: &str) {
        self.push(None, event.to_owned());
    }

    fn push(&self, level: Option<Level>, line: String) {
        self.changed.store(true, Ordering::SeqCst);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push((level, line));
    }

    fn take(&self) -> Vec<Line> {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.store(false, Ordering::SeqCst);
        lines
    }

    /// True if something was told since the last `take`.
    fn has_changed(&self) -> bool {
        self.changed.load(Ordering::SeqCst)
    }
}

impl Log for Story {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // A trace is made of the contents of messages.
        metadata.level() <= Level::Debug
    }

    fn log(&self, record: &Record) {
        self.push(Some(record.level()), record.args().to_string());
    }

    fn flush(&self) {}
}

/// The entries of a directory in `/proc/self`: threads or descriptors.
fn count(what: &str) -> usize {
    fs::read_dir(format!("/proc/self/{what}")).map_or(0, Iterator::count)
}

fn eventually(condition: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} are left behind");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The crate catches panics, and a fuzzer would not see them.
fn abort_on_panic() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::abort();
    }));
}
