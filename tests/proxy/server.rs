//! A proxy in this process, for HTTP CONNECT and SOCKS 5, which records its requests; and a TLS front for a
//! plain server.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::{WantsServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::{ConfigBuilder, RootCertStore, ServerConfig};

use crate::certificates::{Authority, Identity};
use common::PATIENCE;

/// The behaviour of a proxy.
#[derive(Clone)]
pub(crate) enum Kind {
    Http,
    Socks5,
    /// Sends these bytes in answer to any request, and closes the connection.
    Answers(&'static [u8]),
    /// Reads and never answers.
    Silent,
}

/// A request for a tunnel, or a request to forward.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// False for a request in absolute form, which the proxy forwards.
    pub(crate) tunnel: bool,
    /// The target, as `host:port`.
    pub(crate) target: String,
    /// The value of the header, or `user:password` with SOCKS.
    pub(crate) credentials: Option<String>,
}

struct Setup {
    kind: Kind,
    /// The required value of [`Asked::credentials`].
    credentials: Option<String>,
    /// The address that all tunnels lead to, in place of their targets.
    leads_to: Option<String>,
}

/// A proxy that lives as long as the process.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// The bytes that clients have sent through tunnels, and the requests that were forwarded, as they were
    /// sent on.
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    pub(crate) fn start(kind: Kind) -> Self {
        Self::with(Setup { kind, credentials: None, leads_to: None })
    }

    pub(crate) fn with_credentials(kind: Kind, credentials: &str) -> Self {
        Self::with(Setup { kind, credentials: Some(credentials.into()), leads_to: None })
    }

    /// A proxy that resolves every name to the address of `url`.
    pub(crate) fn resolving(kind: Kind, url: &str) -> Self {
        Self::with(Setup { kind, credentials: None, leads_to: Some(address(url).into()) })
    }

    fn with(setup: Setup) -> Self {
        let (asked, sent) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (setup, log, bytes) = (Arc::new(setup), asked.clone(), sent.clone());
        let port = listen(move |client| {
            if let Some((server, head)) = open(&client, &setup, &log)? {
                let bytes = bytes.clone();
                let seen = move |chunk: &[u8]| bytes.lock().unwrap().extend(chunk);
                client.set_read_timeout(None)?;
                relay_answers(&client, &server)?;
                // A tunnel has no head of a request.
                let relayed = if head.is_empty() {
                    relay(&client, &server, seen)
                } else {
                    relay_requests(&client, &server, head, seen, &log)
                };
                let _ = server.shutdown(Shutdown::Write);
                return relayed;
            }
            Ok(())
        });
        Proxy { port, asked, sent }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent.lock().unwrap()).into_owned()
    }
}

/// The `host:port` of a URL.
pub(crate) fn address(url: &str) -> &str {
    url.split("://").nth(1).unwrap()
}

/// Serves each connection on a thread of its own, and returns the port.
fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            // The client notices a broken connection.
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Opens the connection that the client asks for, if the proxy allows it, and returns the bytes to send on
/// it first. The request is in the log before it is answered.
fn open(
    mut client: &TcpStream,
    setup: &Setup,
    log: &Mutex<Vec<Asked>>,
) -> io::Result<Option<(TcpStream, Vec<u8>)>> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_nodelay(true)?;
    let mut forwarded = Vec::new();
    let asked = match setup.kind {
        Kind::Http => read_http(client, &mut forwarded)?,
        Kind::Socks5 => read_socks(client, setup)?,
        Kind::Answers(answer) => {
            assert!(client.read(&mut [0; 1024])? > 0);
            client.write_all(answer)?;
            return Ok(None);
        }
        Kind::Silent => {
            // The read ends when the client has gone.
            client.read_to_end(&mut Vec::new())?;
            return Ok(None);
        }
    };
    let http = matches!(setup.kind, Kind::Http);
    if asked.credentials != setup.credentials {
        log.lock().unwrap().push(asked);
        let answer: &[u8] = if http {
            b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 2\r\n\r\nno"
        } else {
            b"\x01\x01"
        };
        client.write_all(answer)?;
        return Ok(None);
    }
    if !http && setup.credentials.is_some() {
        client.write_all(b"\x01\x00")?;
    }
    let asked = if http { asked } else { Asked { target: read_socks_target(client)?, ..asked } };
    log.lock().unwrap().push(asked.clone());
    let server = TcpStream::connect(setup.leads_to.as_ref().unwrap_or(&asked.target))?;
    server.set_nodelay(true)?;
    if !asked.tunnel {
        return Ok(Some((server, forwarded)));
    }
    let answer: &[u8] = if http {
        b"HTTP/1.1 200 Connection established\r\nProxy-Agent: a test\r\n\r\n"
    } else {
        b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    };
    client.write_all(answer)?;
    Ok(Some((server, Vec::new())))
}

/// Reads a CONNECT, or else the head of a request to forward. Its form for servers goes into `forwarded`.
fn read_http(mut client: &TcpStream, forwarded: &mut Vec<u8>) -> io::Result<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let header = |line: &str| line.strip_prefix("Proxy-Authorization: ").map(Into::into);
    let credentials = head.lines().find_map(header);
    let Some(target) = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) else {
        let target = forward(&head, forwarded);
        return Ok(Asked { tunnel: false, target, credentials });
    };
    assert!(head.contains(&format!("\r\nHost: {target}\r\n")), "{head}");
    Ok(Asked { tunnel: true, target: target.into(), credentials })
}

/// Turns the head of a request in absolute form into the one for the server, and returns the target. The
/// connection may carry more requests, to the same target.
fn forward(head: &str, forwarded: &mut Vec<u8>) -> String {
    let (method, rest) =
        head.split_once(" http://").unwrap_or_else(|| panic!("not in absolute form: {head}"));
    let (host, rest) = rest.split_once('/').unwrap();
    let (line, headers) = rest.split_once("\r\n").unwrap();
    assert!(headers.to_ascii_lowercase().contains(&format!("host: {host}\r\n")), "{head}");
    let headers: String = headers
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Proxy-"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    forwarded.extend(format!("{method} /{line}\r\n{headers}\r\n").into_bytes());
    if host.contains(':') { host.into() } else { format!("{host}:80") }
}

/// Forwards the requests of a client until its end. The first one has this head.
fn relay_requests(
    client: &TcpStream,
    server: &TcpStream,
    mut head: Vec<u8>,
    seen: impl Fn(&[u8]),
    log: &Mutex<Vec<Asked>>,
) -> io::Result<()> {
    loop {
        seen(&head);
        relay_request(client, server, &head)?;
        head.clear();
        let asked = read_http(client, &mut head)?;
        log.lock().unwrap().push(asked);
    }
}

fn relay_request(client: &TcpStream, mut server: &TcpStream, head: &[u8]) -> io::Result<()> {
    server.write_all(head)?;
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    io::copy(&mut client.take(length.parse().unwrap()), &mut server).map(drop)
}

fn read_socks(mut client: &TcpStream, setup: &Setup) -> io::Result<Asked> {
    let mut byte = [0];
    let mut text = |mut client: &TcpStream| {
        client.read_exact(&mut byte)?;
        let mut text = vec![0; usize::from(byte[0])];
        client.read_exact(&mut text)?;
        io::Result::Ok(text)
    };
    let mut version = [0];
    client.read_exact(&mut version)?;
    assert_eq!(version, [5]);
    let methods = text(client)?;
    let wanted = if setup.credentials.is_some() { 2 } else { 0 };
    if !methods.contains(&wanted) {
        client.write_all(&[5, 0xff])?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    client.write_all(&[5, wanted])?;
    let mut credentials = None;
    if wanted == 2 {
        client.read_exact(&mut version)?;
        let (user, password) = (text(client)?, text(client)?);
        credentials =
            Some(format!("{}:{}", String::from_utf8_lossy(&user), String::from_utf8_lossy(&password)));
    }
    Ok(Asked { tunnel: true, target: String::new(), credentials })
}

fn read_socks_target(mut client: &TcpStream) -> io::Result<String> {
    let mut head = [0; 4];
    client.read_exact(&mut head)?;
    assert_eq!(head[..3], [5, 1, 0]);
    let mut size = [4];
    if head[3] == 3 {
        client.read_exact(&mut size)?;
    }
    let mut host = vec![0; usize::from(size[0])];
    client.read_exact(&mut host)?;
    let host = match head[3] {
        1 => host.iter().map(ToString::to_string).collect::<Vec<_>>().join("."),
        3 => String::from_utf8(host).unwrap(),
        kind => panic!("an address of kind {kind}"),
    };
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    Ok(format!("{host}:{}", u16::from_be_bytes(port)))
}

/// Copies from the server to the client, on a thread of its own.
fn relay_answers(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    let (mut server, mut client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut server, &mut client);
        let _ = client.shutdown(Shutdown::Write);
    });
    Ok(())
}

/// Copies from the client to the server until the end.
fn relay(mut client: &TcpStream, mut server: &TcpStream, seen: impl Fn(&[u8])) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        seen(&buffer[..count]);
        server.write_all(&buffer[..count])?;
    }
    Ok(())
}

/// Starts a TLS front for a plain server or proxy, and returns its port.
pub(crate) fn tls_front(identity: &Identity, backend: String) -> u16 {
    tls_front_with(ServerConfig::builder().with_no_client_auth(), identity, backend)
}

/// Starts a TLS front that accepts only clients with a certificate of this authority, and returns its port.
pub(crate) fn tls_front_for(clients: &Authority, identity: &Identity, backend: String) -> u16 {
    let mut roots = RootCertStore::empty();
    roots.add(clients.der()).unwrap();
    let verifier = WebPkiClientVerifier::builder(roots.into()).build().unwrap();
    tls_front_with(ServerConfig::builder().with_client_cert_verifier(verifier), identity, backend)
}

fn tls_front_with(
    config: ConfigBuilder<ServerConfig, WantsServerCert>,
    identity: &Identity,
    backend: String,
) -> u16 {
    let (chain, key) = identity.der();
    let config = config.with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        runtime.block_on(async {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, backend) = (acceptor.clone(), backend.clone());
                tokio::spawn(async move {
                    let mut tls = acceptor.accept(tcp).await?;
                    let mut plain = tokio::net::TcpStream::connect(backend).await?;
                    tokio::io::copy_bidirectional(&mut tls, &mut plain).await
                });
            }
        });
    });
    port
}
