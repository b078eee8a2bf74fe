//! A TLS front for a server without TLS, with its certificates.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Builder, X509Name};

use super::Front;

/// A certificate with its key.
struct Identity {
    certificate: X509,
    key: PKey<Private>,
}

pub(super) fn start(server: &str) -> Result<Front, Box<dyn Error>> {
    let authority = identity("the example's authority", None)?;
    let acceptor = acceptor(&authority, &identity("localhost", Some(&authority))?)?;
    let client = identity("a client", Some(&authority))?;
    let server = server.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://localhost:{}", listener.local_addr()?.port());
    thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            // The client notices any failure.
            thread::spawn(move || relay(acceptor.accept(tcp).ok()?, &server).ok());
        }
    });
    Ok(Front {
        url,
        ca: pem(authority.certificate.to_pem()?),
        certificate: pem(client.certificate.to_pem()?),
        key: pem(client.key.private_key_to_pem_pkcs8()?),
    })
}

fn pem(text: Vec<u8>) -> String {
    String::from_utf8_lossy(&text).into_owned()
}

/// Makes a certificate that `issuer` signs, or else the certificate of an authority.
fn identity(name: &str, issuer: Option<&Identity>) -> Result<Identity, ErrorStack> {
    let key = PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?;
    let mut subject = X509Name::builder()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, name)?;
    let subject = subject.build();
    let mut builder = X509Builder::new()?;
    // X.509 counts versions from 0, so this is version 3.
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(7)?)?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name()))?;
    builder.set_pubkey(&key)?;
    if let Some(issuer) = issuer {
        let names = SubjectAlternativeName::new().dns(name).build(&builder.x509v3_context(None, None))?;
        builder.append_extension(names)?;
        builder.sign(&issuer.key, MessageDigest::sha256())?;
    } else {
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.sign(&key, MessageDigest::sha256())?;
    }
    Ok(Identity { certificate: builder.build(), key })
}

/// Accepts only clients with a certificate that the authority has signed.
fn acceptor(authority: &Identity, own: &Identity) -> Result<SslAcceptor, ErrorStack> {
    let mut trusted = X509StoreBuilder::new()?;
    trusted.add_cert(authority.certificate.clone())?;
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_verify_cert_store(trusted.build())?;
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    builder.set_certificate(&own.certificate)?;
    builder.set_private_key(&own.key)?;
    // Resumption needs an id, because clients are verified.
    builder.set_session_id_context(b"example")?;
    Ok(builder.build())
}

/// The longest wait for one side before the other side is looked at.
const TURN: Duration = Duration::from_millis(5);

/// Copies in both directions until one of them ends. An `SslStream` belongs to one thread, so the
/// directions take turns.
fn relay(mut client: SslStream<TcpStream>, server: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    client.get_ref().set_nodelay(true)?;
    server.set_nodelay(true)?;
    client.get_ref().set_read_timeout(Some(TURN))?;
    server.set_read_timeout(Some(TURN))?;
    while copy(&mut client, &mut server)? && copy(&mut server, &mut client)? {}
    client.shutdown().ok();
    server.shutdown(Shutdown::Both)
}

/// Copies what arrives within a turn. Returns false at the end.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<bool> {
    use io::ErrorKind::{TimedOut, WouldBlock};

    let mut buffer = [0; 16 * 1024];
    match from.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(size) => to.write_all(&buffer[..size]).and_then(|()| to.flush()).map(|()| true),
        Err(e) if matches!(e.kind(), WouldBlock | TimedOut) => Ok(true),
        Err(e) => Err(e),
    }
}
