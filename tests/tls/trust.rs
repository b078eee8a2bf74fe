//! The certificates that are accepted, the hosts for which they are valid, and the client's own certificate.

use std::net::Ipv6Addr;

use engineio::TlsVersion;
use openssl::symm::Cipher;
use rcgen::KeyPair;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::certificates::{Authority, Identity, Validity};
use crate::ends::{head, scripted};
use crate::formats::{ec_key, rsa_key};
use crate::server::{Server, Setup};
use crate::{assert_refused, assert_works, builder};

/// OpenSSL resets the connection behind its alert, so the request often cannot be written.
#[cfg(target_os = "linux")]
#[test]
fn a_missing_certificate_is_named_even_if_the_connection_is_reset() {
    let front = demo_server::Front::start(&demo_server::start().unwrap()).unwrap();
    for _ in 0..30 {
        let client = builder().ca_certificate(&front.ca).build().unwrap();
        assert_refused(&client, &front.url, "the server requires a client certificate; set it with");
    }
}

/// The alert may be lost, so both errors name the option.
#[test]
fn a_connection_that_ends_without_an_answer_may_lack_a_certificate() {
    let authority = Authority::new();
    let (identity, own) = (authority.identity(&["127.0.0.1"]), authority.identity(&["a client"]));
    let port = scripted(&Setup::new(&identity), |_, tls| head(tls).map(drop));
    let trusting = || builder().ca_certificate(authority.pem());
    for (builder, is_asked) in
        [(trusting(), true), (trusting().client_certificate(own.pem(), own.key_pem()), false)]
    {
        let client = builder.build().unwrap();
        let error = client.connect(format!("https://127.0.0.1:{port}")).unwrap_err().to_string();
        assert!(error.contains("without an answer"), "{error}");
        assert_eq!(error.contains("client_certificate"), is_asked, "{error}");
    }
}

#[test]
fn a_private_authority() {
    let authority = Authority::new();
    let server = Server::start(&Setup::new(&authority.identity(&["localhost"])));
    let client = builder().ca_certificate(authority.pem()).build().unwrap();
    assert_works(&client, &server.url("localhost"));
    for name in server.names.try_iter() {
        assert_eq!(name.as_deref(), Some("localhost"), "SNI");
    }
}

#[test]
fn authorities_add_up() {
    let [first, second, third] = [Authority::new(), Authority::new(), Authority::new()];
    // Comments between the certificates may have any encoding.
    let file = [first.pem().as_bytes(), b"\nM\xfcller's:\r\n", second.pem().replace('\n', "\r\n").as_bytes()]
        .concat();
    let client = builder().ca_certificate(file).ca_certificate(third.pem()).build().unwrap();
    for authority in [first, second, third] {
        let server = Server::start(&Setup::new(&authority.identity(&["localhost"])));
        assert_works(&client, &server.url("localhost"));
    }
}

#[test]
fn a_self_signed_certificate_is_its_own_authority() {
    let identity = Identity::self_signed(&["localhost"]);
    let server = Server::start(&Setup::new(&identity));
    assert_refused(&builder().build().unwrap(), &server.url("localhost"), "not signed by a known authority");
    let client = builder().ca_certificate(identity.pem()).build().unwrap();
    assert_works(&client, &server.url("localhost"));
}

#[test]
fn an_intermediate_that_the_server_shows() {
    let root = Authority::new();
    let intermediate = root.intermediate();
    let server = Server::start(&Setup::new(&intermediate.identity(&["localhost"]).with(&intermediate)));
    let client = builder().ca_certificate(root.pem()).build().unwrap();
    assert_works(&client, &server.url("localhost"));
}

#[test]
fn an_unknown_authority() {
    let authority = Authority::new();
    let server = Server::start(&Setup::new(&authority.identity(&["localhost"])));
    let url = server.url("localhost");
    let expected = "the certificate of localhost is not signed by a known authority; \
                    add the authority's certificate with `ca_certificate`";
    assert_refused(&builder().build().unwrap(), &url, expected);
    // Another authority does not help.
    let other = builder().ca_certificate(Authority::new().pem()).build().unwrap();
    assert_refused(&other, &url, expected);
    // Verification is the default.
    assert_refused(&builder().ssl_verify(true).build().unwrap(), &url, expected);
    assert_eq!(server.names.len(), 0, "handshakes that succeeded");
    assert_works(&builder().ssl_verify(false).build().unwrap(), &url);
}

#[test]
fn an_authority_of_the_same_name() {
    let [former, latter] = Authority::namesakes();
    let server = Server::start(&Setup::new(&latter.identity(&["localhost"])));
    let client = builder().ca_certificate(former.pem()).build().unwrap();
    assert_refused(&client, &server.url("localhost"), "is not signed by a known authority");
}

/// The address comes from the option, and the name from the URL.
#[test]
fn the_name_in_a_certificate_is_that_of_the_url() {
    let authority = Authority::new();
    let server = Server::start(&Setup::new(&authority.identity(&["name.invalid"])));
    let url = server.url("name.invalid");
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let builder = || builder().ca_certificate(authority.pem()).resolve("name.invalid", port, [127, 0, 0, 1]);
    assert_works(&builder().build().unwrap(), &url);
    for name in server.names.try_iter() {
        assert_eq!(name.as_deref(), Some("name.invalid"), "SNI");
    }
    let other = builder().resolve("other.invalid", port, [127, 0, 0, 1]).build().unwrap();
    assert_refused(&other, &server.url("other.invalid"), "is not for the host other.invalid");
}

#[test]
fn the_wrong_host() {
    let authority = Authority::new();
    let server = Server::start(&Setup::new(&authority.identity(&["example.org"])));
    let client = builder().ca_certificate(authority.pem()).build().unwrap();
    assert_refused(
        &client,
        &server.url("localhost"),
        "the certificate of localhost is not for the host localhost; it is for example.org",
    );
    assert_refused(
        &client,
        &server.url("127.0.0.1"),
        "the certificate of 127.0.0.1 is not for the host 127.0.0.1; it is for example.org",
    );
    assert_works(&builder().ssl_verify(false).build().unwrap(), &server.url("localhost"));
}

#[test]
fn the_wrong_time() {
    let authority = Authority::new();
    let client = builder().ca_certificate(authority.pem()).build().unwrap();
    for (validity, expected) in [
        (Validity::Past, "a certificate of localhost has expired"),
        (Validity::Future, "a certificate of localhost is not valid yet (is the clock right?)"),
    ] {
        let identity = authority.identity_with(&["localhost"], validity, KeyPair::generate().unwrap());
        let server = Server::start(&Setup::new(&identity));
        assert_refused(&client, &server.url("localhost"), expected);
        assert_works(&builder().ssl_verify(false).build().unwrap(), &server.url("localhost"));
    }
}

#[test]
fn hosts_that_are_addresses() {
    let authority = Authority::new();
    let identity = authority.identity(&["127.0.0.1", "::1"]);
    let client = builder().ca_certificate(authority.pem()).build().unwrap();
    let v4 = Server::start(&Setup::new(&identity));
    let v6 = Server::start(&Setup { ip: Ipv6Addr::LOCALHOST.into(), ..Setup::new(&identity) });
    assert_works(&client, &v4.url("127.0.0.1"));
    assert_works(&client, &v6.url("[::1]"));
    for name in v4.names.try_iter().chain(v6.names.try_iter()) {
        assert_eq!(name, None, "SNI is for names (RFC 6066, section 3)");
    }
    // A certificate for an address is not valid for a name.
    assert_refused(&client, &v4.url("localhost"), "not for the host localhost; it is for 127.0.0.1, ::1");
}

#[test]
fn a_client_certificate_with_every_kind_of_key() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    for versions in [[&TLS12], [&TLS13]] {
        let server =
            Server::start(&Setup { clients: Some(&authority), versions: &versions, ..Setup::new(&identity) });
        let ((rsa, pkcs1), (ec, sec1)) = (rsa_key(), ec_key());
        let pkcs8 = authority.identity(&["a client"]);
        let rsa = authority.identity_with(&["a client"], Validity::Now, rsa);
        let ec = authority.identity_with(&["a client"], Validity::Now, ec);
        // One file may contain both the certificate and the key.
        let both = format!("{}{}", pkcs8.key_pem(), pkcs8.pem());
        for (certificate, key) in [
            (pkcs8.pem(), pkcs8.key_pem()),
            (both.clone(), both),
            (rsa.pem(), rsa.key_pem()),
            (rsa.pem(), pkcs1),
            (ec.pem(), sec1),
        ] {
            let client = builder().ca_certificate(authority.pem()).client_certificate(certificate, key);
            assert_works(&client.build().unwrap(), &server.url("localhost"));
        }
    }
}

#[test]
fn a_client_certificate_whose_key_has_a_password() {
    let root = Authority::new();
    let intermediate = root.intermediate();
    let identity = root.identity(&["localhost"]);
    for versions in [[&TLS12], [&TLS13]] {
        let server =
            Server::start(&Setup { clients: Some(&root), versions: &versions, ..Setup::new(&identity) });
        let builder = || builder().ca_certificate(root.pem());
        let own = intermediate.identity(&["a client"]).with(&intermediate);
        let rsa = intermediate.identity_with(&["a client"], Validity::Now, rsa_key().0).with(&intermediate);
        for (own, cipher, password) in [
            (&own, Cipher::aes_128_cbc(), "x"),
            (&own, Cipher::aes_256_cbc(), "pass \u{e4}\u{1f600} word"),
            (&rsa, Cipher::aes_256_cbc(), "secret"),
            (&own, Cipher::des_ede3_cbc(), "secret"),
        ] {
            let key = own.key_encrypted_by(cipher, password);
            let client = builder().client_certificate_with_password(own.pem(), key, password);
            assert_works(&client.build().unwrap(), &server.url("localhost"));
            let client = builder().client_identity(own.pkcs12(password), password);
            assert_works(&client.build().unwrap(), &server.url("localhost"));
        }
        // A key without encryption needs no password.
        let client = builder().client_certificate_with_password(own.pem(), own.key_pem(), "secret");
        assert_works(&client.build().unwrap(), &server.url("localhost"));
        let client = builder().client_identity(own.pkcs12(""), "");
        assert_works(&client.build().unwrap(), &server.url("localhost"));
    }
}

#[test]
fn the_oldest_version_that_is_accepted() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let builder = || builder().ca_certificate(authority.pem());
    let old = Server::start(&Setup { versions: &[&TLS12], ..Setup::new(&identity) });
    let new = Server::start(&Setup { versions: &[&TLS13], ..Setup::new(&identity) });
    for (client, reaches_old) in [
        (builder(), true),
        (builder().min_tls_version(TlsVersion::V1_0), true),
        (builder().min_tls_version(TlsVersion::V1_2), true),
        (builder().min_tls_version(TlsVersion::V1_3), false),
    ] {
        let client = client.build().unwrap();
        assert_works(&client, &new.url("localhost"));
        if reaches_old {
            assert_works(&client, &old.url("localhost"));
        } else {
            let told = "the server speaks no version of TLS, or no cipher, that this client accepts";
            assert_refused(&client, &old.url("localhost"), told);
        }
    }
}

#[test]
fn a_client_certificate_with_its_chain() {
    let root = Authority::new();
    let intermediate = root.intermediate();
    let identity = root.identity(&["localhost"]);
    let server = Server::start(&Setup { clients: Some(&root), ..Setup::new(&identity) });
    let chain = intermediate.identity(&["a client"]).with(&intermediate);
    let client = builder().ca_certificate(root.pem()).client_certificate(chain.pem(), chain.key_pem());
    assert_works(&client.build().unwrap(), &server.url("localhost"));
}

#[test]
fn a_client_certificate_without_verification_of_the_server() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let server = Server::start(&Setup { clients: Some(&authority), ..Setup::new(&identity) });
    let own = authority.identity(&["a client"]);
    let client = builder().ssl_verify(false).client_certificate(own.pem(), own.key_pem()).build().unwrap();
    assert_works(&client, &server.url("localhost"));
}

#[test]
fn a_server_that_wants_another_client_certificate() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let stranger = Authority::new().identity(&["a client"]);
    let expired = authority.identity_with(&["a client"], Validity::Past, KeyPair::generate().unwrap());
    let trusting = || builder().ca_certificate(authority.pem());
    let showing = |own: &Identity| trusting().client_certificate(own.pem(), own.key_pem()).build().unwrap();
    for versions in [[&TLS12], [&TLS13]] {
        let server =
            Server::start(&Setup { clients: Some(&authority), versions: &versions, ..Setup::new(&identity) });
        let url = server.url("localhost");
        let without = "the server requires a client certificate; set it with `client_certificate`";
        assert_refused(&trusting().build().unwrap(), &url, without);
        let refused = "the server refused the client certificate: ";
        assert_refused(
            &showing(&stranger),
            &url,
            &format!("{refused}it is not signed by an authority that the server knows"),
        );
        assert_refused(&showing(&expired), &url, &format!("{refused}it has expired"));
    }
}
