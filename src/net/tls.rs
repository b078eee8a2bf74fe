use std::fmt;
use std::sync::Arc;

use native_tls::{Certificate, Identity, Protocol, TlsConnector};
use ureq::tls::{RootCerts, TlsConfig};

use super::pem;
use crate::error::{Error, Result};
use crate::sync::{Mutex, lock};

/// The number of connectors that are kept. Each one holds the parsed roots of the system, some 2 MB. A
/// program that alternates between more sets of certificates than this has to build some of them again.
const CACHED: usize = 16;

/// The connectors of this process.
static CACHE: Mutex<Cache> = Mutex::new(Cache(Vec::new()));

/// Connectors by their settings, with the most recently used one at the end.
struct Cache(Vec<(TlsSettings, Arc<Slot>)>);

/// The place for one connector. Its lock is held while the connector is built: a thousand clients that start
/// at once build it only once, and clients with other settings do not wait for it.
type Slot = Mutex<Option<TlsConnector>>;

impl Cache {
    fn slot(&mut self, settings: &TlsSettings) -> Arc<Slot> {
        let slot = match self.0.iter().position(|(known, _)| known == settings) {
            Some(index) => self.0.remove(index).1,
            None => Arc::default(),
        };
        if self.0.len() == CACHED {
            self.0.remove(0);
        }
        self.0.push((settings.clone(), slot.clone()));
        slot
    }
}

/// The content of a PEM file.
type Pem = Arc<[u8]>;

/// The client's certificate and its key, as the user gave them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum ClientIdentity {
    Pem {
        /// The certificate, followed by its chain of authorities.
        certificates: Pem,
        key: Pem,
        /// The password of an encrypted key.
        password: Option<Arc<[u8]>>,
    },
    Pkcs12 {
        der: Arc<[u8]>,
        password: Arc<str>,
    },
}

/// A version of TLS, for [`ClientBuilder::min_tls_version`](crate::ClientBuilder::min_tls_version).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.0, which is insecure (RFC 8996). The system's library may refuse it.
    V1_0,
    /// TLS 1.1, which is insecure (RFC 8996). The system's library may refuse it.
    V1_1,
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446). The system's library does not support it on Apple's systems.
    V1_3,
}

impl From<TlsVersion> for Protocol {
    fn from(version: TlsVersion) -> Self {
        match version {
            TlsVersion::V1_0 => Protocol::Tlsv10,
            TlsVersion::V1_1 => Protocol::Tlsv11,
            TlsVersion::V1_2 => Protocol::Tlsv12,
            TlsVersion::V1_3 => Protocol::Tlsv13,
        }
    }
}

/// The certificates that the client accepts, and the one that it presents, as the user gave them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    pub(crate) verify: bool,
    /// True if the system's authorities are accepted.
    pub(crate) system_authorities: bool,
    pub(crate) authorities: Vec<Pem>,
    pub(crate) identity: Option<ClientIdentity>,
    pub(crate) min_version: TlsVersion,
    /// True if the server is told which host name the client asks for (SNI; RFC 6066, section 3).
    pub(crate) sni: bool,
    /// True if a certificate for another host is accepted. Nothing may be sent on such a connection.
    pub(super) any_host: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsSettings {
            verify: true,
            system_authorities: true,
            authorities: Vec::new(),
            identity: None,
            min_version: TlsVersion::V1_2,
            sni: true,
            any_host: false,
        }
    }
}

/// Hides certificates and keys.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("verify", &self.verify)
            .field("system_authorities", &self.system_authorities)
            .field("authorities", &self.authorities.len())
            .field("identity", &self.identity.is_some())
            .field("min_version", &self.min_version)
            .finish()
    }
}

impl TlsSettings {
    /// Checks the certificates and the key.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] says what is wrong with them.
    pub(crate) fn check(&self) -> Result<()> {
        self.authorities()?;
        // A key that does not belong to its certificate is found only when a connector is built.
        if self.identity()?.is_some() { self.connector().map(drop) } else { Ok(()) }
    }

    /// The settings for a server that must not see the user's certificate.
    pub(super) fn without_identity(&self) -> Self {
        TlsSettings { identity: None, ..self.clone() }
    }

    /// The settings for a connection that only reads the certificate of a server with another name.
    pub(super) fn for_any_host(&self) -> Self {
        TlsSettings { any_host: true, ..self.without_identity() }
    }

    /// The connector for these settings. All connections of the process share it, because building one takes
    /// 40 ms: it parses the system's roots.
    pub(crate) fn connector(&self) -> Result<TlsConnector> {
        let slot = lock(&CACHE).slot(self);
        let mut slot = lock(&slot);
        if let Some(connector) = &*slot {
            return Ok(connector.clone());
        }
        Ok(slot.insert(self.build()?).clone())
    }

    /// Combines these settings with the TLS settings of the user's ureq agent.
    pub(super) fn with_agent(mut self, agent: &TlsConfig) -> Self {
        self.verify &= !agent.disable_verification();
        self.sni &= agent.use_sni();
        // ureq's own list of authorities is not accessible: the system's authorities take its place.
        if let RootCerts::Specific(roots) = agent.root_certs() {
            self.system_authorities = false;
            self.authorities.extend(roots.iter().map(|root| as_pem("CERTIFICATE", root.der())));
        }
        if let (Some(identity), None) = (agent.client_cert(), &self.identity) {
            let chain: String =
                identity.certs().iter().map(|der| pem::encode("CERTIFICATE", der.der())).collect();
            let key = identity.private_key().der();
            self.identity = Some(ClientIdentity::Pem {
                certificates: chain.into_bytes().into(),
                key: as_pem(pem::key_label(key), key),
                password: None,
            });
        }
        self
    }

    fn build(&self) -> Result<TlsConnector> {
        let mut builder = TlsConnector::builder();
        builder.disable_built_in_roots(!self.system_authorities).use_sni(self.sni);
        builder.min_protocol_version(Some(self.min_version.into()));
        if !self.verify {
            builder.danger_accept_invalid_certs(true);
        }
        builder.danger_accept_invalid_hostnames(self.any_host || !self.verify);
        for authority in self.authorities()? {
            builder.add_root_certificate(authority);
        }
        if let Some(identity) = self.identity()? {
            builder.identity(identity);
        }
        builder.build().map_err(|e| match &self.identity {
            Some(identity) => Error::option(
                identity.option(),
                format!("the private key does not belong to the certificate ({e})"),
            ),
            None => Error::connection_from("cannot set up TLS", e),
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
        self.identity.as_ref().map(ClientIdentity::identity).transpose()
    }
}

impl ClientIdentity {
    /// The option of the builder that has set it.
    fn option(&self) -> &'static str {
        match self {
            ClientIdentity::Pem { password: None, .. } => "client_certificate",
            ClientIdentity::Pem { .. } => "client_certificate_with_password",
            ClientIdentity::Pkcs12 { .. } => "client_identity",
        }
    }

    fn identity(&self) -> Result<Identity> {
        let invalid = |what: String| Error::option(self.option(), what);
        match self {
            ClientIdentity::Pem { certificates, key, password } => {
                from_pem(certificates, key, password.as_deref()).map_err(invalid)
            }
            ClientIdentity::Pkcs12 { der, password } => Identity::from_pkcs12(der, password).map_err(|e| {
                let what = pkcs12_refusal(der, &e.to_string());
                invalid(format!("{what} ({e})"))
            }),
        }
    }
}

/// Says why an archive cannot be used, from the text of the system's library.
fn pkcs12_refusal(der: &[u8], text: &str) -> &'static str {
    let text = text.to_ascii_lowercase();
    if der.starts_with(b"-----BEGIN") {
        "it is PEM, and not PKCS#12 in DER; `client_certificate` takes PEM"
    } else if text.contains("mac verify") || text.contains("password") {
        "the password is wrong"
    } else if text.contains("unsupported") {
        "it is encrypted in a way that the system's library does not support; \
         `openssl pkcs12 -legacy` can open it, and write its parts"
    } else {
        "it is not a PKCS#12 archive with a certificate and its key"
    }
}

fn from_pem(certificates: &[u8], key: &[u8], password: Option<&[u8]>) -> Result<Identity, String> {
    let chain = pem::certificates(certificates).map_err(|e| format!("the certificate: {e}"))?;
    let key = pem::private_key(key, password).map_err(|e| format!("the key: {e}"))?;
    if chain.first().is_some_and(|certificate| !pem::same_kind(certificate, &key)) {
        return Err("the private key does not belong to the certificate: they are of different kinds".into());
    }
    let chain: String = chain.iter().map(|der| pem::encode("CERTIFICATE", der)).collect();
    let key = pem::encode("PRIVATE KEY", &key);
    Identity::from_pkcs8(chain.as_bytes(), key.as_bytes())
        .map_err(|e| format!("not a certificate and its key: {e}"))
}

fn as_pem(label: &str, der: &[u8]) -> Pem {
    pem::encode(label, der).into_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::logger::Logger;
    use crate::net::{Headers, HttpClient, HttpSettings, Routes};

    /// Settings that no other test uses.
    fn settings() -> TlsSettings {
        let authority = rcgen::generate_simple_self_signed(["example.org".into()]).unwrap().cert.pem();
        TlsSettings { authorities: vec![authority.into_bytes().into()], ..TlsSettings::default() }
    }

    fn is_built(settings: &TlsSettings) -> bool {
        let cache = lock(&CACHE);
        cache.0.iter().any(|(known, slot)| known == settings && lock(slot).is_some())
    }

    /// A plain connection builds no connector, and so reads no certificates.
    #[test]
    fn plain_connections_build_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for _ in 0..2 {
                let (mut tcp, _) = listener.accept().unwrap();
                assert!(tcp.read(&mut [0; 1024]).unwrap() > 0);
                tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                    .unwrap();
            }
        });
        let tls = settings();
        let timeout = Duration::from_secs(10);
        tls.check().unwrap();
        let url = format!("{address}/");
        let headers = Headers::default();
        let http = HttpSettings {
            tls: tls.clone(),
            timeout,
            headers,
            agent: None,
            routes: Routes::Direct,
            logger: Logger::default(),
            answered: Arc::default(),
            zone: None,
            dial: Default::default(),
            proxy_tls: TlsSettings::default(),
            known: false,
        };
        let url = |scheme| url::Url::parse(&format!("{scheme}://{url}")).unwrap();
        let client = HttpClient::new(http, &url("http")).unwrap();
        assert_eq!(client.get(&url("http"), 100).unwrap().body, b"ok");
        assert!(!is_built(&tls));
        client.get(&url("https"), 100).unwrap_err();
        assert!(is_built(&tls), "the test looks at the wrong place");
        server.join().unwrap();
    }

    #[test]
    fn the_same_settings_share_a_connector() {
        let mut cache = Cache(Vec::new());
        let settings = settings();
        let other = TlsSettings { verify: false, ..settings.clone() };
        let slot = cache.slot(&settings);
        // Equal content counts, not the same allocation.
        let copy = TlsSettings { authorities: vec![settings.authorities[0].to_vec().into()], ..settings };
        assert!(Arc::ptr_eq(&slot, &cache.slot(&copy)));
        assert!(!Arc::ptr_eq(&slot, &cache.slot(&other)));
    }

    #[test]
    fn the_cache_forgets_what_was_not_used_for_the_longest_time() {
        let mut cache = Cache(Vec::new());
        let numbered = |n: u8| TlsSettings { authorities: vec![[n].into()], ..TlsSettings::default() };
        let first = cache.slot(&numbered(0));
        let second = cache.slot(&numbered(1));
        for n in 2..=CACHED as u8 {
            cache.slot(&numbered(n));
            assert!(Arc::ptr_eq(&first, &cache.slot(&numbered(0))), "{n}");
        }
        assert_eq!(cache.0.len(), CACHED);
        assert!(!Arc::ptr_eq(&second, &cache.slot(&numbered(1))));
    }
}
