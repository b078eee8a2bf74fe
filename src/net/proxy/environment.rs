//! The variables that other programs read too: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`.

use std::env;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::ProxyProtocol;
use ureq::http::Uri;

use super::Proxy;
use crate::error::Result;

/// The names for a target's scheme, the first one that is set counts. ureq itself takes one proxy for all schemes.
const HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// What the environment says about proxies.
#[derive(Clone)]
pub(crate) struct Environment {
    http: Option<Variable>,
    https: Option<Variable>,
    exceptions: Exceptions,
}

#[derive(Clone)]
struct Variable {
    name: &'static str,
    value: String,
}

impl Environment {
    pub(super) fn read() -> Self {
        // What is not UTF-8 is no URL either: the error is the same.
        Self::from(|name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    pub(super) fn from(get: impl Fn(&str) -> Option<String>) -> Self {
        // In a CGI program that variable is what a request's header `Proxy` says.
        let trusted = |name: &str| name != "HTTP_PROXY" || get("REQUEST_METHOD").is_none();
        let first = |names: &[&'static str]| {
            let set = |name: &&'static str| {
                let value = get(name).filter(|value| trusted(name) && !value.trim().is_empty());
                value.map(|value| Variable { name, value })
            };
            names.iter().find_map(set)
        };
        let exceptions = first(&EXCEPTIONS).map(|variable| variable.value);
        Environment {
            http: first(&HTTP),
            https: first(&HTTPS),
            exceptions: Exceptions::parse(exceptions.as_deref().unwrap_or_default()),
        }
    }

    pub(super) fn find(&self, target: &Uri) -> Result<Option<Proxy>> {
        let variable = if target.scheme_str() == Some("https") { &self.https } else { &self.http };
        match variable {
            Some(variable) if !self.exceptions.contain(target) => {
                Proxy::parse(&variable.value, variable.name).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The values may hold passwords.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |variable: &Option<Variable>| variable.as_ref().map(|variable| variable.name);
        f.debug_struct("Environment")
            .field("http", &name(&self.http))
            .field("https", &name(&self.https))
            .finish_non_exhaustive()
    }
}

/// The targets in `no_proxy`.
#[derive(Clone)]
struct Exceptions {
    /// It is there for its list: ureq matches names only as a part of a proxy.
    names: Option<ureq::Proxy>,
    /// Addresses, each with the number of bits that count.
    networks: Vec<(IpAddr, u8)>,
}

impl Exceptions {
    fn parse(list: &str) -> Self {
        let mut names = ureq::Proxy::builder(ProxyProtocol::Http);
        let mut networks = Vec::new();
        for entry in list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()) {
            if let Some(network) = network(entry) {
                networks.push(network);
                continue;
            }
            names = names.no_proxy(entry);
            if !entry.starts_with(['.', '*']) {
                // ureq matches the name alone; to users of curl, Go and Python it means those below it too.
                names = names.no_proxy(&format!(".{entry}"));
            }
        }
        Exceptions { names: names.build().ok(), networks }
    }

    fn contain(&self, target: &Uri) -> bool {
        let host = target.host().unwrap_or_default();
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let listed = |ip| self.networks.iter().any(|(network, bits)| within(ip, *network, *bits));
        ip.is_ok_and(listed) || self.names.as_ref().is_some_and(|names| names.is_no_proxy(target))
    }
}

/// `10.0.0.0/8`, `10.1.2.3`, `::1`, `[::1]`.
fn network(entry: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = entry.split_once('/').map_or((entry, None), |(ip, bits)| (ip, Some(bits)));
    let ip: IpAddr = ip.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    let all = if ip.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS } as u8;
    let bits = bits.map_or(Some(all), |bits| bits.parse().ok().filter(|bits| *bits <= all))?;
    Some((ip, bits))
}

fn within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(u32::BITS - u32::from(bits)).unwrap_or(0);
            (ip.to_bits() ^ network.to_bits()) & mask == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(u128::BITS - u32::from(bits)).unwrap_or(0);
            (ip.to_bits() ^ network.to_bits()) & mask == 0
        }
        _ => false,
    }
}
