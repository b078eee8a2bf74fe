//! Certificates for the tests. Each test makes its own.

use std::sync::atomic::{AtomicUsize, Ordering};

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
    pub(crate) chain: Vec<Certificate>,
    pub(crate) key: KeyPair,
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

    pub(crate) fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = self.chain.iter().map(|certificate| certificate.der().clone()).collect();
        (chain, PrivateKeyDer::try_from(self.key.serialize_der()).unwrap())
    }
}
