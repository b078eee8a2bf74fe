use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use native_tls::TlsConnector;

use crate::error::{Error, Result};

/// What certificates the client accepts, and shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TlsSettings {
    pub(crate) verify: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsSettings { verify: true }
    }
}

impl TlsSettings {
    /// The connector for these settings: one per process, as building one parses the system's roots (40 ms).
    pub(crate) fn connector(&self) -> Result<TlsConnector> {
        static CONNECTORS: OnceLock<Mutex<HashMap<TlsSettings, TlsConnector>>> = OnceLock::new();
        // Held while a connector is built, so that a thousand clients that start at once build one.
        let mut connectors =
            CONNECTORS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connector) = connectors.get(self) {
            return Ok(connector.clone());
        }
        let connector = self.build()?;
        connectors.insert(self.clone(), connector.clone());
        Ok(connector)
    }

    fn build(&self) -> Result<TlsConnector> {
        let mut builder = TlsConnector::builder();
        if !self.verify {
            builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        }
        builder.build().map_err(|e| Error::connection_from("cannot set up TLS", e))
    }
}
