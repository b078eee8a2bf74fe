//! Clients that end with their thread or with the process. Each case runs in a child process, which is this
//! program started again. No case may abort the process.

#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, eventually, only};
use engineio::{Client, Disconnect, Reason, TransportKind};

use TransportKind::{Polling, WebSocket};

const PART: &str = "ENGINEIO_TEST_PART";
const URL: &str = "ENGINEIO_TEST_URL";
const TRANSPORT: &str = "ENGINEIO_TEST_TRANSPORT";

thread_local! {
    static CLIENT: RefCell<Option<Client>> = const { RefCell::new(None) };
}

/// The entry point of the child processes. The parent process has no part to run.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.as_str() {
        "exit" => {
            connect_in_thread_local(&Client::new());
            println!("[done]");
            // An exit drops the thread-local variables of this thread, like the end of `main`.
            std::process::exit(0);
        }
        "thread" => {
            let client = Client::new();
            let (tell, told) = channel();
            client.on_disconnect(move |_, reason| tell.send(reason));
            thread::spawn(move || connect_in_thread_local(&client)).join().unwrap();
            assert_eq!(told.recv_timeout(PATIENCE), Ok(Reason::ClientDisconnect));
        }
        "panics" => panicking_destructors(),
        other => panic!("{other}"),
    }
    println!("[done]");
}

fn connect(client: &Client) {
    let transport: TransportKind = std::env::var(TRANSPORT).unwrap().parse().unwrap();
    client.connect_with(std::env::var(URL).unwrap(), only(transport)).unwrap();
}

/// Stores the client in the thread-local variable before it connects. Thread-local variables of the
/// connection are then dropped before the client.
fn connect_in_thread_local(client: &Client) {
    CLIENT.with(|slot| *slot.borrow_mut() = Some(client.clone()));
    connect(client);
    client.send("x").unwrap();
}

/// Bytes with a destructor that panics.
struct Panics;

impl AsRef<[u8]> for Panics {
    fn as_ref(&self) -> &[u8] {
        b"x"
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

/// Ends a connection while several messages are queued whose destructors panic. A second panic during the
/// first one would abort the process.
fn panicking_destructors() {
    let client = Client::new();
    connect(&client);
    // The server answers no POST, so all messages but the first one wait.
    client.send("first").unwrap();
    eventually("a POST", || client.flush(Duration::from_millis(50)).is_err());
    (0..3).for_each(|_| client.send(Bytes::from_owner(Panics)).unwrap());
    let abort = Disconnect::new().abort(true);
    // A panic may reach the caller.
    let aborted = thread::spawn({
        let client = client.clone();
        move || client.disconnect_with(abort)
    });
    drop(aborted.join());
    client.wait();
}

/// A child process, which is killed when it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // The child has ended already, unless the test has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn succeeds(part: &str, server: &Scripted, transport: TransportKind) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .envs([(PART, part), (URL, server.url()), (TRANSPORT, transport.as_str()), ("RUST_BACKTRACE", "0")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut program = Program(child.unwrap());
    let mut status = None;
    eventually("the child ends", || {
        status = program.0.try_wait().unwrap();
        status.is_some()
    });
    let mut said = String::new();
    program.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    program.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.unwrap().success() && said.contains("[done]"), "{part}, {transport}: {status:?}: {said}");
}

#[test]
fn a_thread_ends_with_a_client_in_a_variable_of_its_own() {
    for transport in [WebSocket, Polling] {
        succeeds("thread", &Scripted::silent(OPEN), transport);
    }
}

#[test]
fn the_process_ends_with_a_client_in_a_variable_of_a_thread() {
    for transport in [WebSocket, Polling] {
        succeeds("exit", &Scripted::silent(OPEN), transport);
    }
}

#[test]
fn many_messages_are_given_up_whose_destructors_panic() {
    let server = Scripted::start(|exchange| match exchange.request.query.contains_key("sid") {
        true => exchange.hold(),
        false => exchange.payload(OPEN),
    });
    succeeds("panics", &server, Polling);
}
