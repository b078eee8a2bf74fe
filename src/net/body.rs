//! The bodies of responses: their encodings, their ends and their limits.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use ureq::Body;
use ureq::http::header::CONTENT_ENCODING;
use ureq::http::{HeaderValue, Response};

use crate::error::Error;
use crate::printable::start_of;

/// The encodings that this file decodes, for `Accept-Encoding`.
pub(super) static ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, deflate");

/// The most encodings that one body may have, one around the other.
const MOST: usize = 3;

/// How much longer than its content an encoded body may be: one part in this many, and some bytes.
const LONGER: usize = 8;
const AT_LEAST: usize = 16 * 1024;

/// The most bytes that are read behind an encoded body, to use its connection again.
const REST: u64 = 16 * 1024;

/// A body that could not be read.
pub(super) enum BodyError {
    /// The connection failed, or the limit was exceeded.
    Transport(ureq::Error),
    /// The encoding is unknown or broken.
    Encoding(Error),
}

/// Reads and decodes a body, which may have `max` bytes then.
pub(super) fn read(response: Response<Body>, max: usize) -> Result<Vec<u8>, BodyError> {
    let encodings = encodings(&response);
    let raw = Raw { reader: response.into_body().into_with_config().reader(), failure: None };
    let (mut raw, mut body) = (BufReader::new(raw), Vec::new());
    let decoded = decode(&mut raw, &encodings, max, &mut body);
    match (decoded, raw.into_inner().failure.map(ureq::Error::from)) {
        (_, Some(e)) => of_ureqs_decoder(&e, &body).unwrap_or(Err(BodyError::Transport(e))),
        (Err(error), None) => Err(BodyError::Encoding(error)),
        (Ok(()), None) if body.len() > max => {
            Err(BodyError::Transport(ureq::Error::BodyExceedsLimit(max as u64)))
        }
        (Ok(()), None) => Ok(body),
    }
}

/// The result for an error of ureq's own decoder, which decodes gzip where another crate has asked for ureq's
/// feature of that name. It refuses an empty body, and does not tell it from one that is cut in gzip's
/// header. Its variant has no name without that feature.
fn of_ureqs_decoder(error: &ureq::Error, body: &[u8]) -> Option<Result<Vec<u8>, BodyError>> {
    let text = error.to_string();
    let what = text.strip_prefix("gzip decompression failed: ")?;
    Some(match body.is_empty() && what == "unexpected end of file" {
        true => Ok(Vec::new()),
        false => Err(BodyError::Encoding(broken("gzip", what))),
    })
}

fn broken(encodings: &str, what: impl std::fmt::Display) -> Error {
    Error::protocol(format!("the server's response is not {encodings}, although its header says so: {what}"))
}

/// Reads at most `max` bytes of the body of a refusal, which may be broken.
pub(super) fn read_some(response: Response<Body>, max: usize) -> Vec<u8> {
    let encodings = encodings(&response);
    let mut raw = BufReader::new(response.into_body().into_with_config().reader());
    let mut body = Vec::new();
    if let Ok(decoder) = decoder(&mut raw, &encodings, max) {
        // What was read before a failure is kept.
        let _ = decoder.take(max as u64).read_to_end(&mut body);
    }
    body
}

/// The encodings of a body, in the order in which they were applied.
fn encodings(response: &Response<Body>) -> Vec<String> {
    let values = response.headers().get_all(CONTENT_ENCODING).iter();
    let text = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(",");
    let names = text.split(',').map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty() && name != "identity").collect()
}

/// Decodes to the end of the body, or until it is larger than `max`.
fn decode(raw: &mut impl BufRead, encodings: &[String], max: usize, body: &mut Vec<u8>) -> Result<(), Error> {
    // An empty body is empty whatever its encoding. A failure to read is kept by `Raw`, and told in place of
    // any error of this function.
    if raw.fill_buf().is_ok_and(<[u8]>::is_empty) {
        return Ok(());
    }
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let decoder = decoder(raw, encodings, max)?;
    decoder.take(limit).read_to_end(body).map_err(|e| broken(&encodings.join(", "), e))?;
    if body.len() <= max && !encodings.is_empty() {
        let _ = io::copy(&mut raw.take(REST), &mut io::sink());
    }
    Ok(())
}

/// Builds the decoder of a body that may have `max` bytes.
///
/// Each encoded form is limited too. Otherwise a few KiB could be inflated to terabytes that decode to
/// nothing.
///
/// # Errors
///
/// An encoding is not known, or an outer one is broken.
fn decoder<'a>(
    raw: &'a mut dyn BufRead,
    encodings: &[String],
    max: usize,
) -> Result<Box<dyn Read + 'a>, Error> {
    let longest = max.saturating_add(max / LONGER).saturating_add(AT_LEAST);
    let longest = u64::try_from(longest).unwrap_or(u64::MAX);
    check_known(encodings)?;
    let mut input: Box<dyn BufRead + 'a> = Box::new(raw.take(longest));
    let Some((innermost, outer)) = encodings.split_first() else { return Ok(Box::new(input)) };
    for name in outer.iter().rev() {
        // To the end of this layer: only there its decoder sees that nothing is missing.
        let mut inflated = Vec::new();
        let read = layer(name, input).take(longest).read_to_end(&mut inflated);
        read.map_err(|e| broken(&encodings.join(", "), e))?;
        input = Box::new(Cursor::new(inflated));
    }
    Ok(layer(innermost, input))
}

fn check_known(encodings: &[String]) -> Result<(), Error> {
    const KNOWN: [&str; 3] = ["gzip", "x-gzip", "deflate"];
    let unknown = if encodings.len() > MOST {
        encodings.join(", ")
    } else {
        let Some(name) = encodings.iter().find(|name| !KNOWN.contains(&name.as_str())) else { return Ok(()) };
        name.clone()
    };
    let unknown = start_of(&unknown, 50);
    Err(Error::protocol(format!(
        "the server's response is encoded as {unknown:?}, which this client cannot read"
    )))
}

fn layer<'a>(encoding: &str, input: Box<dyn BufRead + 'a>) -> Box<dyn Read + 'a> {
    if encoding == "deflate" { inflate(input) } else { Box::new(MultiGzDecoder::new(input)) }
}

/// The encoding "deflate" has a header of zlib (RFC 9110, section 8.4.1.2). Some servers leave that out.
fn inflate<'a>(mut reader: Box<dyn BufRead + 'a>) -> Box<dyn Read + 'a> {
    let first = reader.fill_buf().ok().and_then(|buffer| buffer.first().copied());
    // The method 8 and a window of up to 32 KiB (RFC 1950, section 2.2).
    match first.is_none_or(|byte| byte & 0x0f == 8 && byte >> 4 <= 7) {
        true => Box::new(ZlibDecoder::new(reader)),
        false => Box::new(DeflateDecoder::new(reader)),
    }
}

/// A body as it comes from the connection. It keeps a failure to read, which decoders do not tell from one of
/// their own.
struct Raw<R> {
    reader: R,
    failure: Option<io::Error>,
}

impl<R: Read> Read for Raw<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf).map_err(|e| {
            self.failure = Some(e);
            io::Error::other("the body cannot be read")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn raw_deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(mut body: &[u8], encodings: &[&str], max: usize) -> Result<Option<Vec<u8>>, String> {
        let encodings: Vec<_> = encodings.iter().map(|name| (*name).to_owned()).collect();
        let mut decoded = Vec::new();
        decode(&mut body, &encodings, max, &mut decoded).map_err(|e| e.to_string())?;
        Ok(Some(decoded).filter(|decoded| decoded.len() <= max))
    }

    #[test]
    fn encodings_are_decoded() {
        let text = b"4hello".as_slice();
        for (body, encodings) in [
            (text.to_vec(), &[][..]),
            (gzip(text), &["gzip"]),
            (gzip(text), &["x-gzip"]),
            ([gzip(b"4he"), gzip(b""), gzip(b"llo")].concat(), &["gzip"]),
            (zlib(text), &["deflate"]),
            (raw_deflate(text), &["deflate"]),
            (gzip(&zlib(text)), &["deflate", "gzip"]),
        ] {
            assert_eq!(decoded(&body, encodings, 6).unwrap().unwrap(), text, "{encodings:?}");
            assert_eq!(decoded(&body, encodings, 5).unwrap(), None, "{encodings:?}");
            assert_eq!(decoded(b"", encodings, 6).unwrap().unwrap(), b"");
            if !encodings.is_empty() {
                let error = decoded(&body[..body.len() - 1], encodings, 6).unwrap_err();
                assert!(error.contains(&encodings.join(", ")), "{error}");
            }
        }
        for (unknown, shown) in
            [(&["br"][..], "\"br\""), (&["a\u{9b}b"], r#""a\u{9b}b""#), (&["gzip"; 9], "gzip, gzip")]
        {
            let error = decoded(b"x", unknown, 6).unwrap_err();
            assert!(error.contains(shown), "{error}");
            assert_eq!(decoded(b"", unknown, 6).unwrap().unwrap(), b"");
        }
    }

    #[test]
    fn every_layer_is_read_to_its_end() {
        let body = gzip(&raw_deflate(b"4hello"));
        assert_eq!(decoded(&body, &["deflate", "gzip"], 100).unwrap().unwrap(), b"4hello");
        for cut in 1..body.len() {
            decoded(&body[..cut], &["deflate", "gzip"], 100).unwrap_err();
        }
    }

    /// A small body could otherwise be inflated to any size on its way to nothing.
    #[test]
    fn each_layer_is_limited() {
        let blocks = [b"\x00\x00\x00\xff\xff".repeat(1_000_000), b"\x03\x00".to_vec()].concat();
        for (body, encodings) in
            [(gzip(&blocks), &["deflate", "gzip"][..]), (gzip(&gzip(&blocks)), &["deflate", "gzip", "gzip"])]
        {
            assert!(body.len() < 50_000);
            let error = decoded(&body, encodings, 100).unwrap_err();
            assert!(error.contains("is not deflate, gzip"), "{error}");
            assert_eq!(decoded(&body, encodings, 5_000_000).unwrap().unwrap(), b"");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_decoded_or_refused(body in any::<Vec<u8>>(), deflate in any::<bool>()) {
            let _ = decoded(&body, &[if deflate { "deflate" } else { "gzip" }], 100);
        }
    }
}
