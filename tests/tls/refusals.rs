//! Unusable certificates and keys are refused before any connection.

use engineio::{ClientBuilder, Error};
use openssl::pkey::PKey;
use openssl::symm::Cipher;
use rcgen::KeyPair;

use crate::builder;
use crate::certificates::{Authority, Validity};
use crate::formats::rsa_key;

fn assert_invalid(builder: ClientBuilder, expected_option: &str, expected: &str) {
    match builder.build() {
        Err(Error::InvalidOption { option, reason, .. }) => {
            assert_eq!(option, expected_option);
            assert!(reason.contains(expected), "{reason}");
        }
        other => panic!("{expected_option} should be refused ({expected}): {other:?}"),
    }
}

#[test]
fn authorities() {
    let pem = Authority::new().pem();
    let der = Authority::new().der();
    let key = KeyPair::generate().unwrap().serialize_pem();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (file, expected) in [
        (&b""[..], "no -----BEGIN CERTIFICATE----- in it"),
        (b"/etc/ssl/ca.pem", "give the content of the file, not its name"),
        (der.as_ref(), "it looks like DER"),
        (key.as_bytes(), "no -----BEGIN CERTIFICATE----- in it"),
        (&pem.as_bytes()[..pem.len() - 9], "a block has no end"),
        (pem.replacen('M', "!", 1).as_bytes(), "is not valid base64"),
        (garbage.as_bytes(), "not a certificate"),
        // All certificates of a file are checked, not only the first one.
        (format!("{pem}{garbage}").as_bytes(), "not a certificate"),
    ] {
        assert_invalid(builder().ca_certificate(file), "ca_certificate", expected);
        assert_invalid(builder().ca_certificate(&pem).ca_certificate(file), "ca_certificate", expected);
    }
}

#[test]
fn client_certificates() {
    let own = Authority::new().identity(&["a client"]);
    let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let rsa = KeyPair::serialize_pem(&rsa_key().0);
    for (certificate, key, expected) in [
        (own.key_pem(), own.key_pem(), "the certificate: no -----BEGIN CERTIFICATE-----"),
        (own.pem(), own.pem(), "the key: no -----BEGIN PRIVATE KEY-----"),
        ("client.pem".into(), own.key_pem(), "not its name"),
        (own.pem(), "client.key".into(), "not its name"),
        (own.pem(), garbage.into(), "not a certificate and its key"),
        (own.pem(), garbage.replace("PRIVATE", "RSA PRIVATE"), "the RSA PRIVATE KEY is malformed"),
        (own.pem(), garbage.replace("PRIVATE", "EC PRIVATE"), "the EC PRIVATE KEY is malformed"),
        (own.pem(), garbage.replace("PRIVATE", "DSA PRIVATE"), "\"DSA PRIVATE KEY\" is not supported"),
        (
            own.pem(),
            KeyPair::generate().unwrap().serialize_pem(),
            "the private key does not belong to the certificate",
        ),
        (own.pem(), rsa, "does not belong to the certificate: they are of different kinds"),
    ] {
        let builder = builder().client_certificate(certificate, key);
        assert_invalid(builder, "client_certificate", expected);
    }
}

#[test]
fn encrypted_keys() {
    let (key, pkcs1) = rsa_key();
    let own = Authority::new().identity_with(&["a client"], Validity::Now, key);
    let key = PKey::private_key_from_pem(pkcs1.as_bytes()).unwrap();
    let pkcs8 = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret").unwrap();
    let pkcs1 = key.rsa().unwrap().private_key_to_pem_passphrase(Cipher::aes_128_cbc(), b"secret").unwrap();
    for encrypted in [pkcs8, pkcs1] {
        let builder = builder().client_certificate(own.pem(), encrypted);
        assert_invalid(
            builder,
            "client_certificate",
            "the private key is encrypted; pass its password to `client_certificate_with_password`, or convert",
        );
    }
}

/// The password of a test, as text and as `Debug` shows its bytes.
const PASSWORD: &str = "pass secret";
const PASSWORD_BYTES: &str = "112, 97, 115, 115";

#[test]
fn passwords_that_do_not_fit() {
    let own = Authority::new().identity(&["a client"]);
    let key = own.encrypted_key(PASSWORD);
    let archive = own.pkcs12(PASSWORD);
    const KEY: &str = "client_certificate_with_password";
    const ARCHIVE: &str = "client_identity";
    let with_key =
        |key: &[u8], password: &str| builder().client_certificate_with_password(own.pem(), key, password);
    let old = PKey::private_key_from_pem(rsa_key().1.as_bytes()).unwrap();
    let old = old.rsa().unwrap().private_key_to_pem_passphrase(Cipher::aes_128_cbc(), b"x").unwrap();
    let broken = key.iter().copied().filter(|byte| !byte.is_ascii_digit()).collect::<Vec<_>>();
    for (builder, option, expected) in [
        (with_key(&key, "wrong"), KEY, "the password does not decrypt the private key"),
        (with_key(&key, ""), KEY, "the password does not decrypt the private key"),
        (with_key(&old, "x"), KEY, "encrypted in an old format; convert it with `openssl pkcs8 -topk8"),
        (with_key(&broken, PASSWORD), KEY, "the key: "),
        (with_key(b"", PASSWORD), KEY, "no -----BEGIN PRIVATE KEY----- in it"),
        (builder().client_identity(&archive, "wrong"), ARCHIVE, "the password is wrong"),
        (builder().client_identity(&archive, ""), ARCHIVE, "the password is wrong"),
        (builder().client_identity(own.pem(), PASSWORD), ARCHIVE, "it is PEM, and not PKCS#12"),
        (builder().client_identity(&archive[..100], PASSWORD), ARCHIVE, "it is not a PKCS#12 archive"),
        (builder().client_identity(b"", PASSWORD), ARCHIVE, "it is not a PKCS#12 archive"),
    ] {
        let shown = format!("{builder:?}");
        let error = builder.build().unwrap_err();
        assert!(matches!(error, Error::InvalidOption { option: of, .. } if of == option), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        for text in [shown, error.to_string(), format!("{error:?}")] {
            assert!(!text.contains(PASSWORD) && !text.contains("wrong\""), "{text}");
        }
    }
}

#[test]
fn debug_shows_no_key() {
    let own = Authority::new().identity(&["a client"]);
    let plain = builder().ca_certificate(own.pem()).client_certificate(own.pem(), own.key_pem());
    let key = own.encrypted_key(PASSWORD);
    let encrypted = builder().client_certificate_with_password(own.pem(), key, PASSWORD);
    let archive = builder().client_identity(own.pkcs12(PASSWORD), PASSWORD);
    for builder in [plain, encrypted, archive] {
        for shown in [format!("{builder:?}"), format!("{:?}", builder.build().unwrap())] {
            assert!(!shown.contains("BEGIN") && !shown.contains("45, 45, 45"), "{shown}");
            assert!(!shown.contains(PASSWORD) && !shown.contains(PASSWORD_BYTES), "{shown}");
        }
    }
}
