//! An Engine.IO server in this process, engineioxide's, for the examples to talk to: it echoes every message.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::{DisconnectReason, Socket, Str};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[derive(Debug)]
struct Echo;

impl EngineIoHandler for Echo {
    type Data = ();

    fn on_connect(self: Arc<Self>, _: Arc<Socket<()>>) {}

    fn on_disconnect(&self, _: Arc<Socket<()>>, _: DisconnectReason) {}

    fn on_message(self: &Arc<Self>, text: Str, socket: Arc<Socket<()>>) {
        // The client has gone, if that fails.
        let _ = socket.emit(text);
    }

    fn on_binary(self: &Arc<Self>, bytes: Bytes, socket: Arc<Socket<()>>) {
        let _ = socket.emit_binary(bytes);
    }
}

/// Starts the server on a free port of the loopback interface, for as long as the process lives, and returns
/// its URL.
pub(crate) fn start() -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address: SocketAddr = listener.local_addr()?;
    thread::Builder::new().name("server".into()).spawn(move || runtime.block_on(serve(listener)))?;
    Ok(format!("http://{address}"))
}

async fn serve(listener: TcpListener) {
    let service = EngineIoService::new(Arc::new(Echo));
    while let Ok((stream, _)) = listener.accept().await {
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone()).with_upgrades();
        // A connection that breaks is the client's to notice.
        tokio::spawn(async move { connection.await.ok() });
    }
}
