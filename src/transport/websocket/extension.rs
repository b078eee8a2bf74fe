//! The negotiation of permessage-deflate (RFC 7692, section 7.1).

use tungstenite::http::HeaderMap;
use tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use super::deflate::{Deflater, Inflater, WINDOW_BITS};
use super::writer::Compressor;
use crate::error::{Error, Result};
use crate::printable::{printable, start_of};

const NAME: &str = "permessage-deflate";
const SERVER_FORGETS: &str = "server_no_context_takeover";
const CLIENT_FORGETS: &str = "client_no_context_takeover";
const SERVER_BITS: &str = "server_max_window_bits";
const CLIENT_BITS: &str = "client_max_window_bits";

/// The windows that the extension knows, as powers of two.
const KNOWN_BITS: std::ops::RangeInclusive<u8> = 8..=15;

/// The settings of the compression of messages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CompressionSettings {
    /// The level of zlib, from 1 to 9.
    pub(crate) level: u32,
    /// The size in bytes from which a message is compressed.
    pub(crate) threshold: usize,
    pub(crate) server_no_context_takeover: bool,
    pub(crate) client_no_context_takeover: bool,
    /// The largest window of each side, as a power of two.
    pub(crate) server_max_window_bits: Option<u8>,
    pub(crate) client_max_window_bits: Option<u8>,
}

impl Default for CompressionSettings {
    fn default() -> Self {
        CompressionSettings {
            level: 6,
            threshold: 1024,
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: None,
            client_max_window_bits: None,
        }
    }
}

/// The parameters that both sides have agreed on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Agreement {
    server_forgets: bool,
    client_forgets: bool,
    server_bits: u8,
    client_bits: u8,
}

impl CompressionSettings {
    /// The value of `Sec-WebSocket-Extensions` in the request.
    pub(super) fn offer(&self) -> HeaderValue {
        let flag = |set: bool, name: &str| if set { format!("; {name}") } else { String::new() };
        let mut offer = [NAME, &flag(self.server_no_context_takeover, SERVER_FORGETS)].concat();
        offer.push_str(&flag(self.client_no_context_takeover, CLIENT_FORGETS));
        if let Some(bits) = self.server_max_window_bits {
            offer.push_str(&format!("; {SERVER_BITS}={bits}"));
        }
        // The server may set this parameter in its response only if the offer has it.
        offer.push_str(&format!("; {CLIENT_BITS}"));
        if let Some(bits) = self.client_max_window_bits {
            offer.push_str(&format!("={bits}"));
        }
        HeaderValue::try_from(offer).unwrap_or(HeaderValue::from_static(NAME))
    }

    /// Makes the two ends of the compression. A client window that is too small for zlib is honoured by
    /// sending messages as they are.
    pub(super) fn make(&self, agreed: &Agreement) -> (Option<Compressor>, Inflater) {
        let least = *WINDOW_BITS.start();
        let compressor = WINDOW_BITS.contains(&agreed.client_bits).then(|| Compressor {
            threshold: self.threshold,
            deflater: Deflater::new(self.level, agreed.client_bits, agreed.client_forgets),
            output: Vec::new(),
        });
        (compressor, Inflater::new(agreed.server_bits.max(least), agreed.server_forgets))
    }

    /// The agreement for the parameters of the server's response.
    fn agree(&self, response: &Parameters) -> Result<Agreement, String> {
        let missing = |name: &str| format!("it lacks {name}, which was asked for");
        if self.server_no_context_takeover && !response.server_forgets {
            return Err(missing(SERVER_FORGETS));
        }
        let server_bits = match (self.server_max_window_bits, response.server_bits) {
            (Some(_), None) => return Err(missing(SERVER_BITS)),
            (Some(max), Some(bits)) if bits > max => {
                return Err(format!("{SERVER_BITS} is {bits}, and at most {max} was asked for"));
            }
            (_, bits) => bits.unwrap_or(*KNOWN_BITS.end()),
        };
        let max = self.client_max_window_bits.unwrap_or(*KNOWN_BITS.end());
        let client_bits = match response.client_bits {
            Some(bits) if bits > max => {
                return Err(format!("{CLIENT_BITS} is {bits}, and at most {max} was offered"));
            }
            bits => bits.unwrap_or(max),
        };
        let client_forgets = self.client_no_context_takeover || response.client_forgets;
        Ok(Agreement { server_forgets: response.server_forgets, client_forgets, server_bits, client_bits })
    }
}

/// The agreement that the server's response makes; `None` if the server does not want to compress.
pub(super) fn agreed(
    headers: &HeaderMap,
    offered: Option<&CompressionSettings>,
) -> Result<Option<Agreement>> {
    let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS);
    let values: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let response = values.join(",");
    // Lists may have empty elements (RFC 9110, section 5.6.1).
    let mut extensions = split(&response, ',').into_iter().map(str::trim).filter(|one| !one.is_empty());
    let Some(extension) = extensions.next() else { return Ok(None) };
    let agreement = match offered {
        None => Err("it was not asked for".into()),
        Some(_) if extensions.next().is_some() => Err("there is more than one".into()),
        Some(settings) => Parameters::parse(extension).and_then(|response| settings.agree(&response)),
    };
    agreement.map(Some).map_err(|what| {
        let shown = printable(start_of(&response, 100).to_owned());
        Error::protocol(format!(
            "over websocket: the extension in the server's 101 response is refused: {what} ({shown:?})"
        ))
    })
}

/// The parameters of a response.
#[derive(Default)]
struct Parameters {
    server_forgets: bool,
    client_forgets: bool,
    server_bits: Option<u8>,
    client_bits: Option<u8>,
}

impl Parameters {
    fn parse(extension: &str) -> Result<Self, String> {
        let mut parts = split(extension, ';').into_iter().map(str::trim);
        if parts.next() != Some(NAME) {
            return Err("it was not asked for".into());
        }
        let (mut parameters, mut seen) = (Parameters::default(), Vec::new());
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
                None => (part, None),
            };
            if seen.contains(&name) {
                return Err(format!("{name} is given twice"));
            }
            seen.push(name);
            match (name, value) {
                (SERVER_FORGETS, None) => parameters.server_forgets = true,
                (CLIENT_FORGETS, None) => parameters.client_forgets = true,
                (SERVER_BITS, Some(value)) => parameters.server_bits = Some(bits(name, value)?),
                (CLIENT_BITS, Some(value)) => parameters.client_bits = Some(bits(name, value)?),
                (SERVER_FORGETS | CLIENT_FORGETS, Some(_)) => return Err(format!("{name} has a value")),
                (SERVER_BITS | CLIENT_BITS, None) => return Err(format!("{name} has no value")),
                _ => return Err("it has an unknown parameter".into()),
            }
        }
        Ok(parameters)
    }
}

/// Splits a list. A separator inside of quotes is none.
fn split(list: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    list.split(|c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .collect()
}

/// The value of a parameter. It may be in quotes (RFC 6455, section 9.1).
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// Parses the size of a window: a decimal number without a leading zero.
fn bits(name: &str, value: &str) -> Result<u8, String> {
    let bits = value.parse().ok().filter(|bits| KNOWN_BITS.contains(bits) && bits.to_string() == value);
    bits.ok_or_else(|| format!("{name} is not a number from 8 to 15"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: CompressionSettings = CompressionSettings {
        level: 6,
        threshold: 1024,
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: None,
        client_max_window_bits: None,
    };

    const ALL: CompressionSettings = CompressionSettings {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_max_window_bits: Some(10),
        client_max_window_bits: Some(11),
        ..PLAIN
    };

    fn agree(settings: Option<CompressionSettings>, responses: &[&str]) -> Result<Option<Agreement>> {
        let mut headers = HeaderMap::new();
        for response in responses {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, response.parse().unwrap());
        }
        agreed(&headers, settings.as_ref())
    }

    #[test]
    fn offers() {
        assert_eq!(CompressionSettings::default(), PLAIN);
        assert_eq!(PLAIN.offer(), "permessage-deflate; client_max_window_bits");
        assert_eq!(
            ALL.offer(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=10; client_max_window_bits=11"
        );
    }

    #[test]
    fn responses_within_the_offer() {
        let agreement = |server_forgets, client_forgets, server_bits, client_bits| Agreement {
            server_forgets,
            client_forgets,
            server_bits,
            client_bits,
        };
        let all = "permessage-deflate; server_no_context_takeover; server_max_window_bits=10";
        let table = [
            (PLAIN, "permessage-deflate", agreement(false, false, 15, 15)),
            (PLAIN, "permessage-deflate;client_max_window_bits=9", agreement(false, false, 15, 9)),
            (PLAIN, "permessage-deflate; client_max_window_bits=\"12\"", agreement(false, false, 15, 12)),
            (PLAIN, ", permessage-deflate ; client_max_window_bits = 8 ,", agreement(false, false, 15, 8)),
            // A server may restrict itself, and ask the client to forget, without an offer.
            (PLAIN, "permessage-deflate; server_max_window_bits=8", agreement(false, false, 8, 15)),
            (PLAIN, "permessage-deflate; server_no_context_takeover", agreement(true, false, 15, 15)),
            (PLAIN, "permessage-deflate; client_no_context_takeover", agreement(false, true, 15, 15)),
            (ALL, all, agreement(true, true, 10, 11)),
            (ALL, &format!("{all}; client_max_window_bits=10"), agreement(true, true, 10, 10)),
        ];
        for (settings, response, expected) in table {
            assert_eq!(agree(Some(settings), &[response]).unwrap(), Some(expected), "{response}");
        }
        for silent in [&[][..], &[""], &[" , "]] {
            assert_eq!(agree(Some(PLAIN), silent).unwrap(), None);
            assert_eq!(agree(None, silent).unwrap(), None);
        }
    }

    #[test]
    fn responses_outside_of_the_offer() {
        let all = "permessage-deflate; server_no_context_takeover; server_max_window_bits=10";
        let table: [(Option<CompressionSettings>, &[&str], &str); 24] = [
            (None, &["permessage-deflate"], "not asked for"),
            (Some(PLAIN), &["x-webkit-deflate-frame"], "not asked for"),
            (Some(PLAIN), &["Permessage-Deflate"], "not asked for"),
            (Some(PLAIN), &["permessage-deflate, permessage-deflate"], "more than one"),
            (Some(PLAIN), &["permessage-deflate", "other"], "more than one"),
            (Some(PLAIN), &["permessage-deflate; unknown"], "unknown parameter"),
            (Some(PLAIN), &["permessage-deflate; "], "unknown parameter"),
            (Some(PLAIN), &["permessage-deflate; SERVER_NO_CONTEXT_TAKEOVER"], "unknown parameter"),
            (Some(PLAIN), &["permessage-deflate; server_no_context_takeover=1"], "has a value"),
            (Some(PLAIN), &["permessage-deflate; client_no_context_takeover=\"\""], "has a value"),
            (Some(PLAIN), &["permessage-deflate; server_max_window_bits"], "no value"),
            (Some(PLAIN), &["permessage-deflate; client_max_window_bits"], "no value"),
            (Some(PLAIN), &["permessage-deflate; client_max_window_bits=7"], "from 8 to 15"),
            (Some(PLAIN), &["permessage-deflate; client_max_window_bits=16"], "from 8 to 15"),
            (Some(PLAIN), &["permessage-deflate; client_max_window_bits=09"], "from 8 to 15"),
            (Some(PLAIN), &["permessage-deflate; client_max_window_bits=+9"], "from 8 to 15"),
            (Some(PLAIN), &["permessage-deflate; server_max_window_bits=\"1,2\""], "from 8 to 15"),
            (Some(PLAIN), &["permessage-deflate; server_max_window_bits="], "from 8 to 15"),
            (
                Some(PLAIN),
                &["permessage-deflate; server_max_window_bits=9; server_max_window_bits=9"],
                "twice",
            ),
            (Some(ALL), &["permessage-deflate"], "lacks server_no_context_takeover"),
            (Some(ALL), &["permessage-deflate; server_no_context_takeover"], "lacks server_max_window_bits"),
            (
                Some(ALL),
                &["permessage-deflate; server_max_window_bits=10"],
                "lacks server_no_context_takeover",
            ),
            (Some(ALL), &[&format!("{all}; client_max_window_bits=12")], "at most 11"),
            (Some(ALL), &[&all.replace("10", "11")], "at most 10"),
        ];
        for (settings, responses, told) in table {
            let error = agree(settings, responses).unwrap_err();
            assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
            assert!(error.to_string().contains(told), "{responses:?}: {error}");
        }
    }
}
