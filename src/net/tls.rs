use std::fmt;
use std::sync::{Arc, Mutex};

use native_tls::{Certificate, Identity, TlsConnector};

use super::pem;
use crate::error::{Error, Result};
use crate::sync::lock;

/// How many connectors are kept. Each holds the system's roots, parsed: some 2 MB. A program that uses more sets
/// of certificates than this by turns pays for building some of them again.
const CACHED: usize = 16;

/// The connectors of this process, the one used last at the end.
static CACHE: Mutex<Vec<(TlsSettings, Arc<Slot>)>> = Mutex::new(Vec::new());

/// A place for a connector. Its lock is held while that is built, so that a thousand clients that start at once
/// build one, and those with other settings need not wait for it.
type Slot = Mutex<Option<TlsConnector>>;

/// What certificates the client accepts, and shows. The certificates and keys are PEM, as the user gave them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    pub(crate) verify: bool,
    /// In addition to the system's.
    pub(crate) authorities: Vec<Arc<[u8]>>,
    /// The certificate, with those that signed it behind it, and its private key.
    pub(crate) identity: Option<(Arc<[u8]>, Arc<[u8]>)>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsSettings { verify: true, authorities: Vec::new(), identity: None }
    }
}

/// Shows no key.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("verify", &self.verify)
            .field("authorities", &self.authorities.len())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl TlsSettings {
    /// Finds what is wrong with the certificates and the key.
    pub(crate) fn check(&self) -> Result<()> {
        self.authorities()?;
        // Whether key and certificate belong together shows only in use.
        if self.identity()?.is_some() { self.connector().map(drop) } else { Ok(()) }
    }

    /// The connector for these settings, kept for all connections of the process: building one parses the
    /// system's roots (40 ms).
    pub(crate) fn connector(&self) -> Result<TlsConnector> {
        let slot = self.slot();
        let mut slot = lock(&slot);
        if let Some(connector) = &*slot {
            return Ok(connector.clone());
        }
        Ok(slot.insert(self.build()?).clone())
    }

    fn slot(&self) -> Arc<Slot> {
        let mut cache = lock(&CACHE);
        let slot = match cache.iter().position(|(settings, _)| settings == self) {
            Some(index) => cache.remove(index).1,
            None => Arc::default(),
        };
        if cache.len() == CACHED {
            cache.remove(0);
        }
        cache.push((self.clone(), slot.clone()));
        slot
    }

    fn build(&self) -> Result<TlsConnector> {
        let mut builder = TlsConnector::builder();
        if !self.verify {
            builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        }
        for authority in self.authorities()? {
            builder.add_root_certificate(authority);
        }
        let identity = self.identity()?;
        let shows_certificate = identity.is_some();
        if let Some(identity) = identity {
            builder.identity(identity);
        }
        builder.build().map_err(|e| match shows_certificate {
            true => {
                Error::option("client_certificate", format!("the private key is not the certificate's ({e})"))
            }
            false => Error::connection_from("cannot set up TLS", e),
        })
    }

    fn authorities(&self) -> Result<Vec<Certificate>> {
        const OPTION: &str = "ca_certificate";
        let mut parsed = Vec::new();
        for file in &self.authorities {
            for der in pem::certificates(file).map_err(|e| Error::option(OPTION, e))? {
                let certificate = Certificate::from_der(&der);
                parsed
                    .push(certificate.map_err(|e| Error::option(OPTION, format!("not a certificate: {e}")))?);
            }
        }
        Ok(parsed)
    }

    fn identity(&self) -> Result<Option<Identity>> {
        let Some((certificates, key)) = &self.identity else { return Ok(None) };
        let invalid = |what: String| Error::option("client_certificate", what);
        let chain = pem::certificates(certificates).map_err(|e| invalid(format!("the certificate: {e}")))?;
        let key = pem::private_key(key).map_err(|e| invalid(format!("the key: {e}")))?;
        if chain.first().is_some_and(|certificate| !pem::same_kind(certificate, &key)) {
            return Err(invalid("the private key is not the certificate's: it is of another kind".into()));
        }
        let chain: String = chain.iter().map(|der| pem::encode("CERTIFICATE", der)).collect();
        let key = pem::encode("PRIVATE KEY", &key);
        let identity = Identity::from_pkcs8(chain.as_bytes(), key.as_bytes());
        identity.map(Some).map_err(|e| invalid(format!("not a certificate and its key: {e}")))
    }
}
