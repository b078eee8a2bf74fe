use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{Register, Waiter};
use crate::error::{Error, Result};
use crate::net::TimeLeft;

/// A name lookup in progress, or another wait that has no socket of its own.
pub(in crate::net) struct Lookup(Sender<Outcome>);

pub(super) enum Outcome {
    Resolved(io::Result<Vec<SocketAddr>>),
    Interrupted,
}

impl Lookup {
    /// The receiver of `outcomes` is told of an interruption.
    pub(super) fn new(outcomes: Sender<Outcome>) -> Self {
        Lookup(outcomes)
    }

    /// Ends the wait for the lookup at once.
    pub(in crate::net) fn interrupt(&self) {
        // The send fails if the lookup is over.
        let _ = self.0.try_send(Outcome::Interrupted);
    }
}

/// Looks up the addresses of a host, while there is time.
pub(super) fn resolve(
    host: &str,
    port: u16,
    time: &dyn TimeLeft,
    register: Register<'_>,
) -> Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    // There is room for the answer and for an interruption, so that no sender waits.
    let (sender, outcomes) = bounded(2);
    let lookup = Arc::new(Lookup::new(sender.clone()));
    register(Waiter::Lookup(Arc::downgrade(&lookup)))?;
    // The system's resolver cannot be interrupted, so it runs in a thread of its own. After a timeout of ours
    // the thread lives on until the resolver's own limit.
    let name = host.to_owned();
    thread::Builder::new()
        .name("eio-resolver".into())
        .spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // The send fails if the caller has given up.
            let _ = sender.send(Outcome::Resolved(found));
        })
        .map_err(|e| Error::connection_from("cannot start a thread to resolve the host's name", e))?;
    match wait(&outcomes, time) {
        Ok(Outcome::Resolved(Ok(addresses))) => Ok(addresses),
        Ok(Outcome::Resolved(Err(e))) => {
            Err(Error::connection_from(format!("cannot resolve the host name {host}"), e))
        }
        Ok(Outcome::Interrupted) => Err(super::closed(ErrorKind::Interrupted.into())),
        Err(_) => Err(Error::Timeout { what: "resolving the host's name" }),
    }
}

fn wait(outcomes: &Receiver<Outcome>, time: &dyn TimeLeft) -> Result<Outcome, RecvTimeoutError> {
    loop {
        match outcomes.recv_timeout(time.time_left()) {
            Err(RecvTimeoutError::Timeout) if !time.time_left().is_zero() => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sync::{Mutex, lock};

    /// The wait ends although the resolver's thread goes on.
    #[test]
    fn a_lookup_can_be_interrupted_from_its_first_instant() {
        let registered = Mutex::new(None::<Weak<Lookup>>);
        let register = |waiter: Waiter| {
            let Waiter::Lookup(lookup) = waiter else { panic!("a lookup is waited for") };
            lookup.upgrade().unwrap().interrupt();
            *lock(&registered) = Some(lookup);
            Ok(())
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        let error = resolve("name.invalid", 80, &deadline, &register).unwrap_err();
        assert!(error.to_string().contains("was closed"), "{error}");
        // An interruption that comes too late does nothing.
        assert!(lock(&registered).take().unwrap().upgrade().is_none());
    }

    #[test]
    fn a_closed_client_looks_nothing_up() {
        let refuse = |_| Err(super::super::closed(ErrorKind::NotConnected.into()));
        let deadline = Instant::now() + Duration::from_secs(60);
        resolve("localhost", 80, &deadline, &refuse).unwrap_err();
        // An address needs no lookup.
        assert_eq!(
            resolve("::1", 80, &deadline, &refuse).unwrap(),
            ["[::1]:80".parse::<SocketAddr>().unwrap()]
        );
    }
}
