//! The reactions of the server to its clients.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use engineioxide::handler::EngineIoHandler;
use engineioxide::{DisconnectReason, Socket, Str};

use super::Kind;

type Client = Arc<Socket<()>>;

#[derive(Debug)]
pub(crate) struct Handler {
    kind: Kind,
    clients: Mutex<Vec<Client>>,
}

impl Handler {
    pub(crate) fn new(kind: Kind) -> Self {
        Handler { kind, clients: Mutex::default() }
    }

    pub(crate) fn kick(&self) {
        // `close` calls `on_disconnect`, which takes the lock too.
        let clients = std::mem::take(&mut *self.clients());
        clients.iter().for_each(|client| client.close(DisconnectReason::ClosingServer));
    }

    fn clients(&self) -> MutexGuard<'_, Vec<Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self, client: &Client) -> Vec<Client> {
        self.clients().iter().filter(|other| other.id != client.id).cloned().collect()
    }
}

// An error of `emit` means that the client has gone. The handler ignores it.
impl EngineIoHandler for Handler {
    type Data = ();

    fn on_connect(self: Arc<Self>, client: Client) {
        self.clients().push(client.clone());
        if let Some(user) = client.req_parts.headers.get("x-user").and_then(|name| name.to_str().ok()) {
            client.emit(format!("welcome, {user}")).ok();
        }
    }

    fn on_disconnect(&self, client: Client, _: DisconnectReason) {
        self.clients().retain(|other| other.id != client.id);
    }

    fn on_message(self: &Arc<Self>, text: Str, client: Client) {
        match self.kind {
            Kind::Echo => {
                client.emit(text).ok();
            }
            Kind::Room => self.others(&client).iter().for_each(|other| {
                other.emit(text.clone()).ok();
            }),
            Kind::SocketIo => socketio(&text, |packet| {
                client.emit(packet).ok();
            }),
        }
    }

    fn on_binary(self: &Arc<Self>, bytes: Bytes, client: Client) {
        match self.kind {
            Kind::Echo | Kind::SocketIo => {
                client.emit_binary(bytes).ok();
            }
            Kind::Room => self.others(&client).iter().for_each(|other| {
                other.emit_binary(bytes.clone()).ok();
            }),
        }
    }
}

/// The server for the example `socketio_echo`, with the main namespace only. It accepts every client, echoes
/// each event, acknowledges the event on request, and then sends a question of its own. The attachment of an
/// event follows by itself: the server echoes every binary message.
fn socketio(packet: &str, emit: impl Fn(String)) {
    let acknowledge = |id: &str| {
        if !id.is_empty() {
            emit(format!(r#"3{id}["thank you"]"#));
        }
    };
    if packet.starts_with('0') {
        emit(r#"0{"sid":"embedded"}"#.to_owned());
    } else if let Some(event) = packet.strip_prefix('2') {
        let (id, arguments) = split_id(event);
        emit(format!("2{arguments}"));
        acknowledge(id);
        emit(r#"20["question","how are you?"]"#.to_owned());
    } else if let Some(event) = packet.strip_prefix("51-") {
        let (id, arguments) = split_id(event);
        acknowledge(id);
        emit(format!("51-{arguments}"));
    }
}

fn split_id(event: &str) -> (&str, &str) {
    event.split_at(event.find(|c: char| !c.is_ascii_digit()).unwrap_or(event.len()))
}
