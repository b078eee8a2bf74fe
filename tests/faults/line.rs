//! A line to a server that breaks after a number of bytes, with all of its connections.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No data passes any more, as with a pulled cable.
    Silence,
    Reset,
    /// The line ends with a FIN.
    End,
    /// The line carries bytes without a meaning, and then nothing.
    Garbage,
}

/// A line to a server. Its connections end when it is dropped.
pub(crate) struct Line {
    url: String,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    server: String,
    fault: Fault,
    state: Mutex<State>,
}

struct State {
    /// The number of bytes that may still pass to the client.
    left: usize,
    broken: bool,
    over: bool,
    /// Both ends of each connection, the client's and the server's.
    ends: Vec<[TcpStream; 2]>,
}

impl Line {
    pub(crate) fn to(server: &str, fault: Fault, after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (scheme, address) = server.split_once("://").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let state = State { left: after, broken: false, over: false, ends: Vec::new() };
        let shared = Arc::new(Shared { server: address.into(), fault, state: Mutex::new(state) });
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || shared.accept(&listener)
        });
        Line { url, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let ends = {
            let mut state = self.shared.lock();
            state.over = true;
            std::mem::take(&mut state.ends)
        };
        for end in ends.iter().flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
        drop(ends);
        // This connection wakes the acceptor.
        let _ = TcpStream::connect(self.url.split_once("://").unwrap().1);
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut pumps = Vec::new();
        for client in listener.incoming().map_while(Result::ok) {
            if self.lock().over {
                break;
            }
            let server = TcpStream::connect(&self.server).unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let ends = [client, server];
            let [kept, up, down] =
                std::array::from_fn(|_| ends.each_ref().map(|end| end.try_clone().unwrap()));
            self.add(kept);
            drop(ends);
            let shared = self.clone();
            pumps.push(thread::spawn(move || shared.pump_up(up)));
            let shared = self.clone();
            pumps.push(thread::spawn(move || shared.pump_down(down)));
        }
        for pump in pumps {
            let _ = pump.join();
        }
    }

    /// Adds a connection. If the line is broken already, the connection meets the same fault.
    fn add(&self, ends: [TcpStream; 2]) {
        let mut state = self.lock();
        state.ends.push(ends);
        if state.broken || state.left == 0 {
            self.break_all(&mut state);
        }
    }

    fn pump_up(&self, [mut client, mut server]: [TcpStream; 2]) {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            if self.lock().broken {
                // Bytes to the server are read and dropped.
                continue;
            }
            if server.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Write);
    }

    fn pump_down(&self, [mut client, mut server]: [TcpStream; 2]) {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = server.read(&mut buffer) {
            let passed = {
                let mut state = self.lock();
                let passed = if state.broken { 0 } else { count.min(state.left) };
                state.left -= passed;
                passed
            };
            if client.write_all(&buffer[..passed]).is_err() {
                break;
            }
            let mut state = self.lock();
            if state.left == 0 && !state.broken {
                self.break_all(&mut state);
            }
        }
        if !self.lock().broken {
            let _ = client.shutdown(Shutdown::Write);
        }
    }

    fn break_all(&self, state: &mut State) {
        state.broken = true;
        for [client, _] in &state.ends {
            // An error means that the connection has gone already.
            let _ = self.break_one(client);
        }
    }

    fn break_one(&self, mut client: &TcpStream) -> io::Result<()> {
        match self.fault {
            Fault::Silence => Ok(()),
            Fault::Garbage => client.write_all(&[0xff; 64]),
            Fault::End => client.shutdown(Shutdown::Write),
            Fault::Reset => {
                set_socket_linger(client, Some(Duration::ZERO))?;
                // With a linger time of 0 this sends a RST, without a close.
                rustix::net::connect_unspec(client).map_err(Into::into)
            }
        }
    }
}
