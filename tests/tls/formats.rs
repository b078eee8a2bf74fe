//! Keys and archives in the formats that only OpenSSL writes.

use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::X509;
use rcgen::{Certificate, KeyPair};

use crate::certificates::Identity;

impl Identity {
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
