//! Certificates for the tests. Each test makes its own.

use std::sync::atomic::{AtomicUsize, Ordering};

use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::X509;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

static CREATED: AtomicUsize = AtomicUsize::new(0);

/// An authority that signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

/// A certificate with its chain of authorities and its key.
pub(crate) struct Identity {
    chain: Vec<Certificate>,
    key: KeyPair,
}

/// The time in which a certificate is valid.
#[derive(Clone, Copy)]
pub(crate) enum Validity {
    Now,
    Past,
    Future,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Each authority has a name of its own, because OpenSSL looks authorities up by name.
    let name = format!("{name} {}", CREATED.fetch_add(1, Ordering::Relaxed));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn leaf_params(names: &[&str], validity: Validity) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    // Names that are IP addresses become IP SANs.
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a leaf");
    let (from, to) = match validity {
        Validity::Now => (2020, 2200),
        Validity::Past => (2020, 2021),
        Validity::Future => (2199, 2200),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::from_params(authority_params("a root of the tests"))
    }

    fn from_params(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// Two authorities with the same name, as after the renewal of an authority.
    pub(crate) fn namesakes() -> [Self; 2] {
        let params = authority_params("a root of the tests");
        [Self::from_params(params.clone()), Self::from_params(params)]
    }

    /// An authority that is signed by this one.
    pub(crate) fn intermediate(&self) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params("an intermediate of the tests");
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub(crate) fn identity(&self, names: &[&str]) -> Identity {
        self.identity_with(names, Validity::Now, KeyPair::generate().unwrap())
    }

    pub(crate) fn identity_with(&self, names: &[&str], validity: Validity, key: KeyPair) -> Identity {
        let certificate = leaf_params(names, validity).signed_by(&key, &self.issuer).unwrap();
        Identity { chain: vec![certificate], key }
    }
}

impl Identity {
    pub(crate) fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf_params(names, Validity::Now).self_signed(&key).unwrap();
        Identity { chain: vec![certificate], key }
    }

    /// Adds the certificate of the authority to the chain.
    pub(crate) fn with(mut self, authority: &Authority) -> Self {
        self.chain.push(authority.certificate.clone());
        self
    }

    pub(crate) fn pem(&self) -> String {
        self.chain.iter().map(Certificate::pem).collect()
    }

    /// The key as PKCS#8.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    fn openssl_key(&self) -> PKey<Private> {
        PKey::private_key_from_der(&self.key.serialize_der()).unwrap()
    }

    /// The key as encrypted PKCS#8, in PEM.
    pub(crate) fn encrypted_key(&self, password: &str) -> Vec<u8> {
        self.key_encrypted_by(Cipher::aes_256_cbc(), password)
    }

    pub(crate) fn key_encrypted_by(&self, cipher: Cipher, password: &str) -> Vec<u8> {
        self.openssl_key().private_key_to_pem_pkcs8_passphrase(cipher, password.as_bytes()).unwrap()
    }

    /// The certificate, its chain and the key as a PKCS#12 archive.
    pub(crate) fn pkcs12(&self, password: &str) -> Vec<u8> {
        let x509 = |certificate: &Certificate| X509::from_der(certificate.der()).unwrap();
        let mut chain = Stack::new().unwrap();
        self.chain[1..].iter().for_each(|certificate| chain.push(x509(certificate)).unwrap());
        let (key, own) = (self.openssl_key(), x509(&self.chain[0]));
        let archive = Pkcs12::builder().name("a client").pkey(&key).cert(&own).ca(chain).build2(password);
        archive.unwrap().to_der().unwrap()
    }

    pub(crate) fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = self.chain.iter().map(|certificate| certificate.der().clone()).collect();
        (chain, PrivateKeyDer::try_from(self.key.serialize_der()).unwrap())
    }
}

/// An RSA key, and its PEM in the older form PKCS#1.
pub(crate) fn rsa_key() -> (KeyPair, String) {
    let rsa = Rsa::generate(2048).unwrap();
    let pkcs1 = String::from_utf8(rsa.private_key_to_pem().unwrap()).unwrap();
    let pkcs8 = PKey::from_rsa(rsa).unwrap().private_key_to_pem_pkcs8().unwrap();
    (KeyPair::from_pem(&String::from_utf8(pkcs8).unwrap()).unwrap(), pkcs1)
}

/// An EC key, and its PEM in the older form SEC1, behind the parameters that `openssl ecparam` writes.
pub(crate) fn ec_key() -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let ec = PKey::private_key_from_der(&key.serialize_der()).unwrap().ec_key().unwrap();
    let sec1 = String::from_utf8(ec.private_key_to_pem().unwrap()).unwrap();
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    (key, format!("{parameters}{sec1}"))
}
