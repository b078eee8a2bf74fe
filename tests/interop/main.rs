//! The client with the official servers, python-engineio (threads and asyncio) and npm's engine.io. The
//! behaviour is the same by long polling, by websocket, and by websocket after the upgrade.
//!
//! The servers and the commands that they understand (`cmd:...`) are described in `tests/servers/README.md`.

#![cfg(unix)]

mod harness;
mod life;
mod messages;
mod servers;

use common::official::Kind;
use harness::{Case, Route};
use life::*;
use messages::*;
use servers::*;

macro_rules! tests {
    ($argument:expr; $($name:ident)*) => {$(
        #[test]
        #[ignore = "needs python3 and node"]
        fn $name() {
            crate::$name($argument);
        }
    )*};
}

macro_rules! routes {
    ($kind:ident; $($module:ident: $route:ident $($more:ident)*;)*) => {$(
        mod $module {
            use crate::{Case, Kind, Route};

            tests! { Case { kind: Kind::$kind, route: Route::$route };
                handshake text json binary large payload_limit
                burst_to_server burst_from_server burst_before_disconnect
                server_disconnects client_disconnects client_aborts reconnects
                ten_pings frozen_server slow_handler interval_of_zero
                $($more)*
            }
        }
    )*};
}

macro_rules! servers {
    ($($module:ident: $kind:ident;)*) => {$(
        mod $module {
            routes! { $kind;
                polling: Polling post_after_idle;
                websocket: WebSocket;
                upgrade: Upgrade;
            }

            use crate::Kind;

            tests! { Kind::$kind; upgrade_refused falls_back transport_refused }
        }
    )*};
}

servers! {
    python_threading: PythonThreading;
    python_asgi: PythonAsgi;
    node: Node;
}
