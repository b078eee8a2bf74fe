//! Certificates and private keys in PEM (RFC 7468). The errors say what is wrong, and never quote the input.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use der::asn1::AnyRef;
use der::pem::LineEnding;
use der::{Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use pkcs8::{EncryptedPrivateKeyInfoRef, pkcs5};

/// The OIDs 1.2.840.113549.1.1.1 (`rsaEncryption`) and 1.2.840.10045.2.1 (`ecPublicKey`), encoded.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// Base64 with or without its padding, because some tools leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The certificates of a PEM file, in DER.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    for block in blocks(pem)? {
        if matches!(block.label, "CERTIFICATE" | "X509 CERTIFICATE") {
            found.push(block.decode()?);
        }
    }
    if found.is_empty() { Err(not_found(pem, "CERTIFICATE")) } else { Ok(found) }
}

/// The advice for an encrypted key that cannot be read.
const CONVERT_ENCRYPTED: &str = "convert it with `openssl pkcs8 -topk8 -in KEY`";

/// The first private key of a PEM file, in DER as PKCS#8, the only form that native-tls accepts. An encrypted
/// key needs its password.
pub(super) fn private_key(pem: &[u8], password: Option<&[u8]>) -> Result<Vec<u8>, String> {
    const CONVERT: &str = "convert it with `openssl pkcs8 -topk8 -nodes -in KEY`";
    // `openssl ecparam -genkey` writes other blocks in front of the key.
    let Some(block) = blocks(pem)?.into_iter().find(|block| block.label.ends_with("PRIVATE KEY")) else {
        return Err(not_found(pem, "PRIVATE KEY"));
    };
    match (block.label == "ENCRYPTED PRIVATE KEY", block.body.contains("Proc-Type:"), password) {
        (false, false, _) => {}
        (true, _, Some(password)) => return decrypted(&block.decode()?, password),
        (_, _, Some(_)) => {
            return Err(format!("the private key is encrypted in an old format; {CONVERT_ENCRYPTED}"));
        }
        (_, _, None) => {
            let how = "pass its password to `client_certificate_with_password`";
            return Err(format!("the private key is encrypted; {how}, or {CONVERT}"));
        }
    }
    let converted = match block.label {
        "PRIVATE KEY" => return block.decode(),
        "RSA PRIVATE KEY" => pkcs8_from_pkcs1(&block.decode()?),
        "EC PRIVATE KEY" => pkcs8_from_sec1(&block.decode()?),
        other => return Err(format!("a key of the kind {other:?} is not supported; {CONVERT}")),
    };
    converted.ok_or_else(|| format!("the {} is malformed, or names no curve; {CONVERT}", block.label))
}

/// Decrypts a key (RFC 5958, section 3).
fn decrypted(key: &[u8], password: &[u8]) -> Result<Vec<u8>, String> {
    let key = EncryptedPrivateKeyInfoRef::try_from(key).map_err(|_| {
        format!(
            "the private key is malformed, or encrypted in a way that is not supported; {CONVERT_ENCRYPTED}"
        )
    })?;
    match key.decrypt(password) {
        Ok(document) => Ok(document.as_bytes().to_vec()),
        Err(pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::UnsupportedAlgorithm { .. })) => {
            Err(format!("the private key is encrypted in a way that is not supported; {CONVERT_ENCRYPTED}"))
        }
        Err(_) => Err("the password does not decrypt the private key".into()),
    }
}

/// The PEM label of a private key in DER. The kinds of keys differ in the field behind the version number.
pub(super) fn key_label(der: &[u8]) -> &'static str {
    let second = sequence(der).and_then(elements).and_then(|parts| Some(parts.get(1)?.tag()));
    match second {
        Some(Tag::Integer) => "RSA PRIVATE KEY",
        Some(Tag::OctetString) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    }
}

/// Encodes one PEM block.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, LineEnding::LF, der)
        .expect("the label is ASCII, and the input fits in memory")
}

/// False if a PKCS#8 key has another algorithm or curve than the certificate's key, both in DER. OpenSSL
/// would accept such a pair, and then send no certificate at all. The result is true for input that this
/// function does not understand: OpenSSL then decides.
pub(super) fn same_kind(certificate: &[u8], key: &[u8]) -> bool {
    match (certificate_algorithm(certificate), key_algorithm(key)) {
        (Some(certificate), Some(key)) => certificate == key,
        _ => true,
    }
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

impl Block<'_> {
    fn decode(&self) -> Result<Vec<u8>, String> {
        let base64: String = self.body.split_whitespace().collect();
        BASE64.decode(base64).map_err(|_| format!("the block {:?} is not valid base64", self.label))
    }
}

/// The blocks of a file, with any text around them.
fn blocks(pem: &[u8]) -> Result<Vec<Block<'_>>, String> {
    const BEGIN: &str = "-----BEGIN ";
    // The blocks are ASCII, but comments between them may be in any encoding.
    let chunks = pem.utf8_chunks().map(|chunk| chunk.valid());
    let mut found = Vec::new();
    for mut rest in chunks {
        while let Some(begin) = rest.find(BEGIN) {
            rest = &rest[begin + BEGIN.len()..];
            let block = rest.split_once("-----").and_then(|(label, rest)| {
                let (body, rest) = rest.split_once(&format!("-----END {label}-----"))?;
                Some((Block { label, body }, rest))
            });
            let Some((block, after)) = block else { return Err("a block has no end".into()) };
            found.push(block);
            rest = after;
        }
    }
    Ok(found)
}

/// The error for a file without a block of the given label.
fn not_found(pem: &[u8], label: &str) -> String {
    let hint = if pem.starts_with(&[0x30]) {
        "; it looks like DER, which `openssl` converts with `-inform DER`"
    } else if !pem.is_empty() && pem.len() < 256 && !pem.contains(&b'\n') {
        "; give the content of the file, not its name"
    } else {
        ""
    };
    format!("no -----BEGIN {label}----- in it{hint}")
}

/// Wraps the `RSAPrivateKey` of RFC 8017 into the structure of RFC 5208, section 5.
fn pkcs8_from_pkcs1(key: &[u8]) -> Option<Vec<u8>> {
    // The structure has nine numbers, and more for a key with more than two primes.
    if elements(sequence(key)?)?.len() < 9 {
        return None;
    }
    pkcs8(key, &encoded(Tag::ObjectIdentifier, RSA)?, &encoded(Tag::Null, &[])?)
}

/// Wraps the `ECPrivateKey` of RFC 5915 into the structure of RFC 5208, section 5, with the curve that the
/// key names.
fn pkcs8_from_sec1(key: &[u8]) -> Option<Vec<u8>> {
    const PARAMETERS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    let parts = elements(sequence(key)?)?;
    let curve = parts.iter().find(|part| part.tag() == PARAMETERS)?.value();
    // A curve that is spelled out, and not named, is a SEQUENCE.
    if elements(curve)?.first()?.tag() != Tag::ObjectIdentifier {
        return None;
    }
    pkcs8(key, &encoded(Tag::ObjectIdentifier, EC)?, curve)
}

fn pkcs8(key: &[u8], algorithm: &[u8], parameters: &[u8]) -> Option<Vec<u8>> {
    let version = encoded(Tag::Integer, &[0])?;
    let algorithm = encoded(Tag::Sequence, &[algorithm, parameters].concat())?;
    let key = encoded(Tag::OctetString, key)?;
    encoded(Tag::Sequence, &[version, algorithm, key].concat())
}

/// The algorithm of a certificate's key, and its curve if there is one (RFC 5280, section 4.1).
fn certificate_algorithm(certificate: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let fields = elements(elements(sequence(certificate)?)?.first()?.value())?;
    // The first field is the version, with a tag of its own. Version 1 leaves it out.
    let before = 5 + usize::from(fields.first()?.tag().is_context_specific());
    algorithm(elements(fields.get(before)?.value())?.first()?)
}

fn key_algorithm(key: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    algorithm(elements(sequence(key)?)?.get(1)?)
}

fn algorithm<'a>(identifier: &AnyRef<'a>) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let parts = elements(identifier.value())?;
    let name = parts.first()?.value();
    // The parameters of other algorithms say nothing about the key.
    let curve = if name == EC { Some(parts.get(1)?.value()) } else { None };
    Some((name, curve))
}

/// The content of a SEQUENCE that takes up the whole input.
pub(super) fn sequence(der: &[u8]) -> Option<&[u8]> {
    let outer = elements(der)?;
    match outer.as_slice() {
        [only] if only.tag() == Tag::Sequence => Some(only.value()),
        _ => None,
    }
}

pub(super) fn elements(der: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(reader.decode().ok()?);
    }
    Some(found)
}

fn encoded(tag: Tag, value: &[u8]) -> Option<Vec<u8>> {
    AnyRef::new(tag, value).ok()?.to_der().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::KeyPair;

    use super::*;

    #[test]
    fn blocks_are_found_whatever_is_around_them() {
        let der = [0x30, 3, 1, 2, 3].repeat(30);
        let pem = encode("CERTIFICATE", &der);
        assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
        let one_line = format!("-----BEGIN CERTIFICATE-----{}-----END CERTIFICATE-----", BASE64.encode(&der));
        let old = pem.replace("CERTIFICATE", "X509 CERTIFICATE");
        let other = pem.replace("CERTIFICATE", "X509 CRL");
        for (file, expected) in [
            (pem.clone(), 1),
            (pem.replace('\n', "\r\n"), 1),
            (pem.replace('\n', "\n  "), 1),
            (format!("\u{feff}subject=CN ü\n{pem}{other}# {pem}{old}"), 3),
            (one_line, 1),
            (pem.replace('=', ""), 1),
        ] {
            assert_eq!(certificates(file.as_bytes()), Ok(vec![der.clone(); expected]), "{file}");
        }
    }

    #[test]
    fn a_sec1_key_must_name_its_curve() {
        let integer = encoded(Tag::Integer, &[1]).unwrap();
        let secret = encoded(Tag::OctetString, &[7; 32]).unwrap();
        let nameless = encoded(Tag::Sequence, &[integer, secret].concat()).unwrap();
        let error = private_key(encode("EC PRIVATE KEY", &nameless).as_bytes(), None).unwrap_err();
        assert!(error.contains("names no curve; convert it with `openssl pkcs8 -topk8 -nodes"), "{error}");
    }

    #[test]
    fn keys_of_another_kind() {
        use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
        let algorithms = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
        for certified in algorithms {
            let key = KeyPair::generate_for(certified).unwrap();
            let params = rcgen::CertificateParams::new(["a".into()]).unwrap();
            let certificate = params.self_signed(&key).unwrap();
            for algorithm in algorithms {
                let key = KeyPair::generate_for(algorithm).unwrap().serialize_der();
                assert_eq!(same_kind(certificate.der(), &key), certified == algorithm);
            }
        }
        assert!(same_kind(b"what is not understood", b"is left to others"));
    }

    proptest! {
        #[test]
        fn nothing_panics(
            label in "(RSA |EC |ENCRYPTED )?PRIVATE KEY|CERTIFICATE",
            body in proptest::collection::vec(any::<u8>(), 0..64),
            cut in 0..64usize,
        ) {
            let sequence = encoded(Tag::Sequence, &body).unwrap();
            for der in [&body, &sequence] {
                let pem = encode(&label, der);
                for file in [pem.as_bytes(), &pem.as_bytes()[cut.min(pem.len())..], &body] {
                    let _ = (certificates(file), private_key(file, None), private_key(file, Some(b"x")));
                }
                same_kind(der, &sequence);
            }
        }
    }
}
