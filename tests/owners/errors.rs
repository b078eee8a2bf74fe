//! Errors of the user's middleware. They end a connection, and hold a value of the user's.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::{TIMEOUT, each};
use common::process::waiting;
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, Watch, eventually, only};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use engineio::{Client, Reason, State, TransportKind};
use ureq::http::{Request, Response};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::{Agent, Body, SendBody};

use TransportKind::Polling;

/// An error whose destructor calls the client.
#[derive(Debug)]
struct Owning {
    client: Option<Client>,
    tell: Sender<()>,
}

impl fmt::Display for Owning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no token")
    }
}

impl Error for Owning {}

impl Drop for Owning {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let _ = (client.state(), client.stats(), client.last_error());
            let _ = client.disconnect();
        }
        let _ = self.tell.send(());
    }
}

/// A middleware that fails at the first poll, when the test lets it.
struct Fails {
    gets: AtomicUsize,
    client: Arc<Mutex<Option<Client>>>,
    tell: Sender<()>,
    may: Receiver<()>,
}

impl Middleware for Fails {
    fn handle(
        &self,
        request: Request<SendBody>,
        next: MiddlewareNext,
    ) -> Result<Response<Body>, ureq::Error> {
        // The first GET is the handshake.
        if request.method() != "GET" || self.gets.fetch_add(1, Ordering::SeqCst) != 1 {
            return next.handle(request);
        }
        let _ = self.may.recv_timeout(PATIENCE);
        let client = self.client.lock().unwrap().take();
        Err(ureq::Error::Other(Box::new(Owning { client, tell: self.tell.clone() })))
    }
}

/// A client whose first poll fails when `may` is disconnected, and a channel that tells when the error has
/// been dropped.
fn failing(may: Receiver<()>) -> (Client, Receiver<()>) {
    let ((tell, told), slot) = (unbounded(), Arc::new(Mutex::new(None)));
    let middleware = Fails { gets: AtomicUsize::new(0), client: slot.clone(), tell, may };
    let agent: Agent = Agent::config_builder().middleware(middleware).build().into();
    let client = Client::builder().http_agent(agent).request_timeout(TIMEOUT).build().unwrap();
    *slot.lock().unwrap() = Some(client.clone());
    (client, told)
}

/// The next connection drops the error of the former one.
#[test]
fn an_error_of_a_former_connection_may_disconnect() {
    each(&[()], |_, ()| {
        let server = Scripted::silent(OPEN);
        let (client, told) = failing(bounded(0).1);
        let watch = Watch::new(&client);
        client.connect_with(server.url(), only(Polling)).unwrap();
        watch.connected();
        assert_eq!(watch.disconnected(), Reason::TransportError);
        client.wait();
        assert!(told.try_recv().is_err(), "`last_error` has it");
        // The destructor disconnects while this call connects.
        let _ = client.connect_with(server.url(), only(Polling));
        told.recv_timeout(PATIENCE).unwrap();
        client.disconnect().unwrap();
        client.wait();
    });
}

/// The connection is closing when the error comes, so that nobody keeps the error.
#[test]
fn an_error_that_comes_too_late_may_disconnect() {
    each(&[()], |_, ()| {
        let server = Scripted::start(|exchange| match &exchange.request {
            request if request.is_post() || request.is_poll() => exchange.hold(),
            _ => exchange.payload(OPEN),
        });
        let (fail, may) = bounded(0);
        let (client, told) = failing(may);
        client.connect_with(server.url(), only(Polling)).unwrap();
        let closing = client.clone();
        let disconnect = waiting("disconnect", move || closing.disconnect());
        eventually("it closes", || client.state() != State::Connected);
        drop(fail);
        told.recv_timeout(PATIENCE).unwrap();
        disconnect.join().unwrap().unwrap();
        client.wait();
    });
}
