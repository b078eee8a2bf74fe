//! A TLS front for a server without TLS, with its certificates.

use std::error::Error;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// The front's URL, and the certificates that its operator gives to a client.
pub(crate) struct Front {
    pub(crate) url: String,
    /// The authority that has signed the certificates of both sides.
    pub(crate) ca: String,
    /// The certificate for a client, with its key.
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Front {
    /// Starts a front for the server at that URL. The front requires client certificates, and lives as long
    /// as the process.
    pub(crate) fn start(server: &str) -> Result<Self, Box<dyn Error>> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the example's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let ca = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let signed = |name: &str| -> Result<(Certificate, KeyPair), rcgen::Error> {
            let key = KeyPair::generate()?;
            Ok((CertificateParams::new([name.into()])?.signed_by(&key, &issuer)?, key))
        };
        let (client, client_key) = signed("a client")?;
        let acceptor = acceptor(&ca, signed("localhost")?)?;
        let address = server.trim_start_matches("http://").to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        thread::spawn(move || runtime.block_on(accept(listener, acceptor, address)));
        Ok(Front { url, ca: ca.pem(), certificate: client.pem(), key: client_key.serialize_pem() })
    }
}

fn acceptor(ca: &Certificate, own: (Certificate, KeyPair)) -> Result<TlsAcceptor, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone())?;
    let clients = WebPkiClientVerifier::builder(roots.into()).build()?;
    let (certificate, key) = own;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let config = ServerConfig::builder().with_client_cert_verifier(clients);
    Ok(TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.der().clone()], key)?)))
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, server: String) {
    while let Ok((client, _)) = listener.accept().await {
        let (tls, server) = (tls.clone(), server.clone());
        // The client notices any failure.
        tokio::spawn(async move {
            let mut client = tls.accept(client).await.ok()?;
            let mut server = TcpStream::connect(server).await.ok()?;
            server.set_nodelay(true).ok()?;
            copy_bidirectional(&mut client, &mut server).await.ok()
        });
    }
}
