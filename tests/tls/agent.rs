//! The TLS settings of a user's ureq agent apply to both transports.

use rcgen::KeyPair;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsConfigBuilder};

use crate::certificates::{Authority, Identity, Validity};
use crate::formats::{ec_key, rsa_key};
use crate::server::{Server, Setup};
use crate::{assert_refused, assert_works, builder};

fn client(tls: impl FnOnce(TlsConfigBuilder) -> TlsConfigBuilder) -> engineio::Client {
    let agent: Agent = Agent::config_builder().tls_config(tls(TlsConfig::builder()).build()).build().into();
    builder().http_agent(agent).build().unwrap()
}

fn roots(authority: &Authority) -> RootCerts {
    RootCerts::new_with_certs(&[Certificate::from_pem(authority.pem().as_bytes()).unwrap()])
}

#[test]
fn its_authorities() {
    let [known, unknown, added] = [Authority::new(), Authority::new(), Authority::new()];
    let server = |authority: &Authority| Server::start(&Setup::new(&authority.identity(&["localhost"])));
    assert_works(&client(|tls| tls.root_certs(roots(&known))), &server(&known).url("localhost"));
    let other = client(|tls| tls.root_certs(roots(&known)));
    assert_refused(&other, &server(&unknown).url("localhost"), "is not signed by a known authority");
    // The client's own authorities are added.
    let agent: Agent = Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots(&known)).build())
        .build()
        .into();
    let both = builder().http_agent(agent).ca_certificate(added.pem()).build().unwrap();
    assert_works(&both, &server(&known).url("localhost"));
    assert_works(&both, &server(&added).url("localhost"));
}

#[test]
fn its_verification_setting() {
    let server = Server::start(&Setup::new(&Identity::self_signed(&["elsewhere"])));
    assert_works(&client(|tls| tls.disable_verification(true)), &server.url("localhost"));
}

#[test]
fn its_client_certificate_whatever_the_key() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let server = Server::start(&Setup { clients: Some(&authority), ..Setup::new(&identity) });
    let pkcs8 = KeyPair::generate().unwrap();
    let pkcs8_pem = pkcs8.serialize_pem();
    for (key, pem) in [(pkcs8, pkcs8_pem), rsa_key(), ec_key()] {
        let shown = authority.identity_with(&["a client"], Validity::Now, key);
        let chain = [Certificate::from_pem(shown.pem().as_bytes()).unwrap()];
        let shown = ClientCert::new_with_certs(&chain, PrivateKey::from_pem(pem.as_bytes()).unwrap());
        let client = client(|tls| tls.root_certs(roots(&authority)).client_cert(Some(shown)));
        assert_works(&client, &server.url("localhost"));
    }
}

#[test]
fn its_sni_setting() {
    let authority = Authority::new();
    let server = Server::start(&Setup::new(&authority.identity(&["localhost"])));
    assert_works(&client(|tls| tls.root_certs(roots(&authority)).use_sni(false)), &server.url("localhost"));
    assert!(server.names.try_iter().all(|name| name.is_none()));
}
