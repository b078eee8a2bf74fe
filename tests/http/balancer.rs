//! A load balancer with a sticky cookie. A request without the cookie goes to the next node in turn, and the
//! response names the node in the cookie.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub(crate) struct Balancer {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    nodes: Vec<String>,
    next: AtomicUsize,
    requests: AtomicUsize,
}

impl Balancer {
    /// Starts a balancer that runs until the process ends. Its connections end with the nodes.
    pub(crate) fn start(nodes: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let nodes = nodes.iter().map(|url| url.trim_start_matches("http://").to_owned()).collect();
        let shared = Arc::new(Shared { nodes, next: AtomicUsize::new(0), requests: AtomicUsize::new(0) });
        thread::spawn({
            let shared = shared.clone();
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    let shared = shared.clone();
                    // An error means that the client or the node has gone.
                    thread::spawn(move || forward(client, &shared).ok());
                }
            }
        });
        Balancer { url, shared }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

fn forward(client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut head = read_head(&mut from_client)?;
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let sticky =
        head.iter().find_map(|line| Some(line.split_once("node=")?.1[..1].parse::<usize>().unwrap()));
    let node = sticky.unwrap_or_else(|| shared.next.fetch_add(1, Ordering::SeqCst) % shared.nodes.len());
    // Each connection carries only one request, so every request is balanced.
    if !head.iter().any(|line| line.to_ascii_lowercase().starts_with("upgrade:")) {
        head.insert(1, "Connection: close\r\n".into());
    }
    let mut to_node = TcpStream::connect(&shared.nodes[node])?;
    to_node.set_nodelay(true)?;
    to_node.write_all((head.concat() + "\r\n").as_bytes())?;
    let mut from_node = BufReader::new(to_node.try_clone()?);
    thread::spawn(move || pump(&mut from_client, to_node));
    let mut answer = read_head(&mut from_node)?;
    if sticky.is_none() {
        answer.insert(1, format!("Set-Cookie: node={node}; Path=/; HttpOnly\r\n"));
    }
    let mut client = client;
    client.write_all((answer.concat() + "\r\n").as_bytes())?;
    pump(&mut from_node, client);
    Ok(())
}

fn read_head(from: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            return Ok(lines);
        }
        lines.push(line);
    }
}

/// Copies until the end of the input, and passes the end on.
fn pump(from: &mut impl Read, mut to: TcpStream) {
    let _ = io::copy(from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
