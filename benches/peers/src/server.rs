//! An engineioxide server on one thread, plain and behind TLS. It echoes every message except for three
//! commands: `count` makes it count messages instead, `total` makes it send the count, and `flood N SIZE`
//! makes it send N messages.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::{DisconnectReason, Socket, Str};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

#[derive(Debug)]
struct Handler;

#[derive(Debug, Default)]
struct Data {
    counting: AtomicBool,
    count: AtomicUsize,
}

impl EngineIoHandler for Handler {
    type Data = Data;

    fn on_connect(self: Arc<Self>, _: Arc<Socket<Data>>) {}

    fn on_disconnect(&self, _: Arc<Socket<Data>>, _: DisconnectReason) {}

    fn on_message(self: &Arc<Self>, text: Str, socket: Arc<Socket<Data>>) {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["count"] => socket.data.counting.store(true, Ordering::Relaxed),
            ["total"] => emit(&socket, socket.data.count.load(Ordering::Relaxed).to_string()),
            ["flood", count, size] => {
                let (count, size) = (count.parse().expect("a number"), size.parse().expect("a number"));
                tokio::spawn(flood(socket, count, size));
            }
            _ if socket.data.counting.load(Ordering::Relaxed) => {
                socket.data.count.fetch_add(1, Ordering::Relaxed);
            }
            _ => emit(&socket, text),
        }
    }

    fn on_binary(self: &Arc<Self>, bytes: Bytes, socket: Arc<Socket<Data>>) {
        if socket.data.counting.load(Ordering::Relaxed) {
            socket.data.count.fetch_add(1, Ordering::Relaxed);
        } else {
            socket.emit_binary(bytes).expect("the queue is longer than a window");
        }
    }
}

fn emit(socket: &Socket<Data>, text: impl Into<Str>) {
    socket.emit(text).expect("the queue is longer than a window");
}

async fn flood(socket: Arc<Socket<Data>>, count: usize, size: usize) {
    // engineioxide sends its first ping at this moment, and ends the session if the queue is full.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let text = "x".repeat(size);
    let bytes = Bytes::from(text.clone());
    for _ in 0..count {
        let sent = || {
            if size >= 64 * 1024 {
                socket.emit_binary(bytes.clone()).is_ok()
            } else {
                socket.emit(text.clone()).is_ok()
            }
        };
        while !sent() {
            if socket.is_closed() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let tls = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("http://{}", plain.local_addr().expect("bound"));
        println!("https://{}", tls.local_addr().expect("bound"));
        let config =
            EngineIoConfig::builder().max_payload(1 << 20).max_buffer_size(2 * crate::WINDOW).build();
        let service = EngineIoService::with_config(Arc::new(Handler), config);
        tokio::spawn(accept(plain, None, service.clone()));
        tokio::spawn(accept(tls, Some(acceptor()), service));
        // Stdin ends with the process that has started this one.
        let _ = tokio::task::spawn_blocking(|| io::stdin().read(&mut [0])).await;
    });
}

fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".into()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("a configuration");
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, service: EngineIoService<Handler>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("a socket");
        let (tls, service) = (tls.clone(), service.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, service).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, service).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: EngineIoService<Handler>,
) {
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    // An error means that the client has gone, which is no failure.
    connection.await.ok();
}
