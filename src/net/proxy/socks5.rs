//! SOCKS 5 (RFC 1928) with user name and password (RFC 1929).

use std::io::{Read, Write};
use std::net::IpAddr;

use super::Refusal;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;

/// Asks for a tunnel to `host`. The proxy resolves the name.
pub(super) fn open_tunnel<S: Read + Write>(
    stream: &mut S,
    host: &str,
    port: u16,
    credentials: Option<(&str, &str)>,
) -> Result<(), Refusal> {
    let address = address(host)?;
    log_in(stream, credentials)?;
    let mut request = vec![VERSION, 1 /* CONNECT */, 0];
    request.extend(address);
    request.extend(port.to_be_bytes());
    stream.write_all(&request)?;
    stream.flush()?;
    read_answer(stream)
}

fn address(host: &str) -> Result<Vec<u8>, Refusal> {
    Ok(match host.parse() {
        Ok(IpAddr::V4(ip)) => [&[1], &ip.octets()[..]].concat(),
        Ok(IpAddr::V6(ip)) => [&[4], &ip.octets()[..]].concat(),
        Err(_) => {
            let size = u8::try_from(host.len());
            let size = size.map_err(|_| Refusal::answer("accepts host names of up to 255 bytes only"))?;
            [&[3, size], host.as_bytes()].concat()
        }
    })
}

fn log_in<S: Read + Write>(stream: &mut S, credentials: Option<(&str, &str)>) -> Result<(), Refusal> {
    let greeting: &[u8] = match credentials {
        Some(_) => &[VERSION, 2, NO_LOGIN, PASSWORD],
        None => &[VERSION, 1, NO_LOGIN],
    };
    stream.write_all(greeting)?;
    stream.flush()?;
    // The version is read alone: a proxy of another kind may never send a second byte.
    if read(stream)? != [VERSION] {
        return Err(not_socks());
    }
    match (read::<1, _>(stream)?, credentials) {
        ([NO_LOGIN], _) => Ok(()),
        ([PASSWORD], Some((user, password))) => send_password(stream, user, password),
        ([NONE_ACCEPTABLE], None) => Err(Refusal::answer(
            "requires a user name and a password; put them into its URL, \
             as in socks5://user:password@proxy:1080",
        )),
        ([NONE_ACCEPTABLE], Some(_)) => {
            Err(Refusal::answer("does not accept authentication by user name and password"))
        }
        _ => Err(not_socks()),
    }
}

fn send_password<S: Read + Write>(stream: &mut S, user: &str, password: &str) -> Result<(), Refusal> {
    let mut request = vec![1];
    for text in [user, password] {
        // `Proxy::new` has checked that both fit into 255 bytes.
        request.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        request.extend(text.as_bytes().iter().take(255));
    }
    stream.write_all(&request)?;
    stream.flush()?;
    match read(stream)? {
        [_, 0] => Ok(()),
        [_, _] => Err(Refusal::answer("did not accept the user name and the password in its URL")),
    }
}

fn read_answer(stream: &mut impl Read) -> Result<(), Refusal> {
    let [version, code, _, kind] = read(stream)?;
    if version != VERSION {
        return Err(not_socks());
    }
    if code != 0 {
        return Err(Refusal::answer(format!("opened no tunnel: {}", reason(code))));
    }
    // The address that the proxy connects from has to be skipped.
    let size = match kind {
        1 => 4,
        3 => usize::from(read::<1, _>(stream)?[0]),
        4 => 16,
        _ => return Err(not_socks()),
    };
    stream.read_exact(&mut [0; 255 + 2][..size + 2])?;
    Ok(())
}

/// The meaning of a reply code (RFC 1928, section 6).
fn reason(code: u8) -> String {
    match code {
        1 => "general failure".into(),
        2 => "not allowed by its rules".into(),
        3 => "the network is unreachable".into(),
        4 => "the host is unreachable".into(),
        5 => "the connection was refused".into(),
        6 => "the target did not answer in time".into(),
        7 => "the proxy does not support CONNECT".into(),
        8 => "the proxy does not support this type of address".into(),
        _ => format!("code {code}"),
    }
}

fn read<const N: usize, S: Read>(stream: &mut S) -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn not_socks() -> Refusal {
    Refusal::answer("does not answer in SOCKS5 (is it another kind of proxy?)")
}
