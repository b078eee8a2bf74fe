//! engineioxide behind TLS, in this process. The TLS is rustls, another implementation than the client's.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::{DisconnectReason, Socket, Str};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ALL_VERSIONS, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::certificates::{Authority, Identity};

/// The size of a message in a flood, in bytes.
const CHUNK: usize = 64 * 1024;

/// The settings of a server.
pub(crate) struct Setup<'a> {
    pub(crate) identity: &'a Identity,
    /// The authority that must have signed the clients' certificates. With `None` clients need no
    /// certificate.
    pub(crate) clients: Option<&'a Authority>,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) ip: IpAddr,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(identity: &'a Identity) -> Self {
        Setup { identity, clients: None, versions: ALL_VERSIONS, ip: Ipv4Addr::LOCALHOST.into() }
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_protocol_versions(self.versions);
        let builder = match self.clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der()).unwrap();
                builder
                    .with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let (chain, key) = self.identity.der();
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

/// A running server, which lives as long as the process.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// The number of accepted TCP connections.
    connections: Arc<AtomicUsize>,
    /// The SNI of each handshake that succeeded.
    pub(crate) names: Receiver<Option<String>>,
    /// The reason for the end of each Engine.IO session.
    pub(crate) ends: Receiver<DisconnectReason>,
}

impl Server {
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        Self::start_on(setup.ip, Some(TlsAcceptor::from(setup.config())))
    }

    /// A server without TLS.
    pub(crate) fn plain() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), None)
    }

    fn start_on(ip: IpAddr, tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(SocketAddr::new(ip, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (names_tx, names) = unbounded();
        let (ends_tx, ends) = unbounded();
        let serving = serve(listener, tls, connections.clone(), names_tx, ends_tx);
        thread::spawn(move || runtime.block_on(serving));
        Server { port, connections, names, ends }
    }

    pub(crate) fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.port)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: Arc<AtomicUsize>,
    names: Sender<Option<String>>,
    ends: Sender<DisconnectReason>,
) {
    let config = EngineIoConfig::builder().max_payload(1 << 20).build();
    let service = EngineIoService::with_config(Arc::new(Peer { ends }), config);
    while let Ok((tcp, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let (service, tls, names) = (service.clone(), tls.clone(), names.clone());
        // The client notices any failure.
        tokio::spawn(async move {
            let http = http1::Builder::new();
            match tls {
                Some(tls) => {
                    let stream = accept(&tls, tcp).await?;
                    names.send(stream.get_ref().1.server_name().map(Into::into)).ok()?;
                    http.serve_connection(TokioIo::new(stream), service).with_upgrades().await.ok()
                }
                None => http.serve_connection(TokioIo::new(tcp), service).with_upgrades().await.ok(),
            }
        });
    }
}

async fn accept(tls: &TlsAcceptor, tcp: TcpStream) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    tls.accept(tcp).await.ok()
}

/// Echoes every text except for two commands. `flood N` is answered with N binary messages and the text
/// `flooded`, and `digest` with the digest of the binary messages that have arrived.
#[derive(Debug)]
struct Peer {
    ends: Sender<DisconnectReason>,
}

impl EngineIoHandler for Peer {
    type Data = Mutex<Digest>;

    fn on_connect(self: Arc<Self>, _: Arc<Socket<Self::Data>>) {}

    fn on_disconnect(&self, _: Arc<Socket<Self::Data>>, reason: DisconnectReason) {
        // The send fails if the test is over.
        let _ = self.ends.send(reason);
    }

    fn on_message(self: &Arc<Self>, text: Str, socket: Arc<Socket<Self::Data>>) {
        if let Some(count) = text.strip_prefix("flood ") {
            tokio::spawn(flood(socket, count.parse().unwrap()));
        } else if &*text == "digest" {
            let digest = socket.data.lock().unwrap().to_string();
            tokio::spawn(async move { emit(|| socket.emit(digest.clone())).await });
        } else {
            let _ = socket.emit(text);
        }
    }

    fn on_binary(self: &Arc<Self>, bytes: Bytes, socket: Arc<Socket<Self::Data>>) {
        socket.data.lock().unwrap().add(&bytes);
    }
}

async fn flood(socket: Arc<Socket<Mutex<Digest>>>, count: usize) {
    for index in 0..count {
        let bytes = Bytes::from(chunk(index));
        if !emit(|| socket.emit_binary(bytes.clone())).await {
            return;
        }
    }
    emit(|| socket.emit("flooded")).await;
}

/// Emits a message as soon as the socket's queue has room.
async fn emit<T>(emit: impl Fn() -> Result<(), TrySendError<T>>) -> bool {
    loop {
        match emit() {
            Ok(()) => return true,
            Err(TrySendError::Full(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(TrySendError::Closed(_)) => return false,
        }
    }
}

/// The message at position `index` of a flood.
pub(crate) fn chunk(index: usize) -> Vec<u8> {
    let mut state = index as u64 + 1;
    let mut bytes = Vec::with_capacity(CHUNK);
    while bytes.len() < CHUNK {
        // The bytes come from xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_ne_bytes());
    }
    bytes
}

/// A digest of messages: their sizes, contents and order.
#[derive(Debug, Default)]
pub(crate) struct Digest {
    count: usize,
    hasher: DefaultHasher,
}

impl Digest {
    pub(crate) fn of_flood(count: usize) -> Self {
        let mut digest = Digest::default();
        (0..count).for_each(|index| digest.add(&chunk(index)));
        digest
    }

    pub(crate) fn add(&mut self, message: &[u8]) {
        self.count += 1;
        message.hash(&mut self.hasher);
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} messages, {:016x}", self.count, self.hasher.finish())
    }
}
