//! Clients that end with their thread or with the process. Each case is a program of its own: this one, started again to
//! play one part. None may abort.

#![cfg(target_os = "linux")]

mod common;

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

/// A part of a child process; the parent has none to play.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.as_str() {
        "exit" => {
            connect_in_thread_local(&Client::new());
            println!("[done]");
            // An exit drops the variables of its thread, as the end of `main` does.
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

/// Puts the client into the variable and connects then: whatever the connection keeps in variables of this thread is
/// dropped before the client.
fn connect_in_thread_local(client: &Client) {
    CLIENT.with(|slot| *slot.borrow_mut() = Some(client.clone()));
    connect(client);
    client.send("x").unwrap();
}

/// Bytes whose destructor panics.
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

/// Gives several messages up whose destructors panic: a panic while another one is unwound ends the process.
fn panicking_destructors() {
    let client = Client::new();
    connect(&client);
    // The server takes no POST, so that all but the first one wait.
    client.send("first").unwrap();
    eventually("a POST", || client.flush(Duration::from_millis(50)).is_err());
    (0..3).for_each(|_| client.send(Bytes::from_owner(Panics)).unwrap());
    let abort = Disconnect::new().abort(true);
    // The panics may reach the caller.
    let aborted = thread::spawn({
        let client = client.clone();
        move || client.disconnect_with(abort)
    });
    drop(aborted.join());
    client.wait();
}

/// A program that runs a part, and is killed if that does not end.
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
