//! The bodies of responses: their encodings, their ends and their limits.

use std::io::{self, Cursor, Read, Write};

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, Decompress, FlushDecompress};
use ureq::Body;
use ureq::http::Response;
use ureq::http::header::CONTENT_ENCODING;
use url::Url;

use crate::net::body::{BodyError, read, read_some};
use crate::net::http_error::{failed, refused};
use crate::net::user_agent::{Answer, Place};
use crate::testing::fuzz::shown;

const ENCODINGS: [&str; 8] =
    ["", "gzip", "deflate", "X-GZip", "gzip, deflate", "deflate,gzip", "identity", "br"];

/// The second byte of an input counts units of this many bytes of the limit.
const UNIT: usize = 16;

/// The options of an input.
struct Case {
    encodings: &'static str,
    max: usize,
    /// Set if the connection breaks behind the data.
    breaks: bool,
}

/// A byte of options, a limit, and either what the server sends or what it encodes.
pub fn body(data: &[u8]) {
    let [options, limit, data @ ..] = data else { return };
    let encodings = ENCODINGS[usize::from(options & 7)];
    let case = Case { encodings, max: usize::from(*limit) * UNIT, breaks: options & 8 != 0 };
    match options & 16 {
        0 => sent(&case, data),
        _ => encoded(&case, data, usize::from(*limit), options & 32 != 0),
    }
}

/// What the server sends, whatever it is.
fn sent(case: &Case, data: &[u8]) {
    let some = read_some(case.response(200, data), case.max);
    assert!(some.len() <= case.max);
    match case.read(data) {
        Ok(body) => {
            assert!(!case.breaks, "a body that was cut short is whole");
            assert_eq!(some, body);
            assert!(data.is_empty() || is_decoded(case.encodings, data, &body));
        }
        Err(BodyError::Encoding(error)) => {
            assert!(!matches!(case.encodings, "" | "identity"), "{error}");
            shown(&error);
        }
        Err(BodyError::Transport(error)) => {
            assert!(case.breaks || some.len() == case.max);
            shown(&failed(error, &[]).error);
        }
    }
    let place = Place { url: Url::parse("http://server/path").expect("it is valid"), redirected: true };
    shown(&refused(Answer { response: case.response(500, data), place }).error);
}

/// What the server encodes comes out again, unless it is too large, or is cut short.
fn encoded(case: &Case, plain: &[u8], cut: usize, halves: bool) {
    let parts = if halves { plain.split_at(plain.len() / 2) } else { (plain, &[][..]) };
    let encodings: Vec<String> = case.encodings.split(',').map(|name| name.trim().to_lowercase()).collect();
    let is_gzip = encodings == ["gzip"];
    let first: Vec<u8> = encodings.iter().fold(parts.0.to_vec(), |data, name| encode(name, data));
    let data = match halves && is_gzip {
        true => [first, encode("gzip", parts.1.to_vec())].concat(),
        false => encodings.iter().fold(plain.to_vec(), |data, name| encode(name, data)),
    };
    let fits = plain.len() <= case.max;
    match case.read(&data) {
        Ok(body) => assert!(fits && !case.breaks && body == plain),
        Err(BodyError::Encoding(error)) => assert_eq!(case.encodings, "br", "{error}"),
        Err(BodyError::Transport(_)) => assert!(case.breaks || !fits),
    }
    let is_encoded = !matches!(case.encodings, "" | "identity");
    // A cut between two members would leave a whole body.
    if is_encoded && !(halves && is_gzip) && cut % data.len().max(1) > 0 {
        assert!(case.read(&data[..cut % data.len()]).is_err(), "a part is taken for the whole");
    }
}

impl Case {
    fn response(&self, status: u16, data: &[u8]) -> Response<Body> {
        let end = if self.breaks { End::Broken } else { End::Clean };
        let body = Body::builder().reader(Cursor::new(data.to_vec()).chain(end));
        let builder = Response::builder().status(status).header(CONTENT_ENCODING, self.encodings);
        builder.body(body).expect("the head is valid")
    }

    fn read(&self, data: &[u8]) -> Result<Vec<u8>, BodyError> {
        let read = read(self.response(200, data), self.max);
        if let Ok(body) = &read {
            assert!(body.len() <= self.max && body.capacity() <= 2 * self.max + 1024);
        }
        read
    }
}

/// The end of a connection.
enum End {
    Clean,
    Broken,
}

impl Read for End {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self {
            End::Clean => Ok(0),
            End::Broken => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

fn encode(name: &str, data: Vec<u8>) -> Vec<u8> {
    let done = match name {
        "gzip" | "x-gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&data).and_then(|()| encoder.finish())
        }
        // Some servers leave the header of zlib out.
        "deflate" if data.len() % 2 == 0 => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&data).and_then(|()| encoder.finish())
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&data).and_then(|()| encoder.finish())
        }
        _ => Ok(data),
    };
    done.expect("a vector takes everything")
}

/// Compares with the result of flate2's decoder without its readers.
fn is_decoded(encodings: &str, data: &[u8], body: &[u8]) -> bool {
    match encodings {
        "" | "identity" => data == body,
        "deflate" => [true, false].iter().any(|header| {
            let mut out = Vec::with_capacity(body.len() + 1);
            let done = Decompress::new(*header).decompress_vec(data, &mut out, FlushDecompress::Finish);
            done.is_ok() && out == body
        }),
        // The other ones have no such decoder.
        _ => true,
    }
}
