//! The environment variables for proxies that other programs read too: `http_proxy`, `https_proxy`,
//! `all_proxy` and `no_proxy`.

use std::env;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::http::Uri;

use super::Proxy;
use crate::error::Result;

/// The variables for each scheme of a target. The first one that is set counts. ureq itself has one proxy for
/// all schemes.
const HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The environment's settings for proxies.
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
        // A value that is not UTF-8 is not a URL either, so the error is the same.
        let get = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self::from(get, cfg!(windows))
    }

    /// Reads the variables with `get`, which finds a variable of any case on systems that ignore it.
    pub(super) fn from(get: impl Fn(&str) -> Option<String>, ignores_case: bool) -> Self {
        // In a CGI program a request's header `Proxy` sets this variable.
        let from_request =
            |name: &str| name == "HTTP_PROXY" || ignores_case && name.eq_ignore_ascii_case("HTTP_PROXY");
        let trusted = |name: &str| !from_request(name) || get("REQUEST_METHOD").is_none();
        // An empty lower-case variable turns the proxy off for one command, whatever the upper-case one says.
        let counts =
            |name: &str, value: &str| name.starts_with(char::is_lowercase) || !value.trim().is_empty();
        let first = |names: &[&'static str]| {
            let set = |name: &&'static str| {
                let value = get(name).filter(|value| trusted(name) && counts(name, value));
                value.map(|value| Variable { name, value })
            };
            names.iter().find_map(set).filter(|variable| !variable.value.trim().is_empty())
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

/// Hides the values, which may contain passwords.
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
struct Exceptions(Vec<Exception>);

#[derive(Clone)]
struct Exception {
    hosts: Hosts,
    /// `None` means any port.
    port: Option<u16>,
}

/// The hosts of an entry. Names are in lower case, without the dot at the end of a fully qualified name.
#[derive(Clone)]
enum Hosts {
    All,
    /// A network's address and the length of its prefix in bits.
    Network(IpAddr, u8),
    /// A name and all names below it, as in curl, Go and Python.
    Name(String),
    EndingIn(String),
    StartingWith(String),
}

impl Exceptions {
    fn parse(list: &str) -> Self {
        let entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        Exceptions(entries.filter_map(Exception::parse).collect())
    }

    fn contain(&self, target: &Uri) -> bool {
        let host = target.host().unwrap_or_default().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let secure = target.scheme_str() == Some("https");
        let port = target.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let on_port = |exception: &&Exception| exception.port.is_none_or(|other| other == port);
        self.0.iter().filter(on_port).any(|exception| exception.hosts.contain(host))
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        if let Some(hosts) = Hosts::parse(entry) {
            return Some(Exception { hosts, port: None });
        }
        let (host, port) = entry.rsplit_once(':')?;
        Some(Exception { hosts: Hosts::parse(host)?, port: Some(port.parse().ok()?) })
    }
}

impl Hosts {
    /// `None` if the entry has a port, or makes no sense.
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Hosts::All);
        }
        if let Some((network, bits)) = network(entry) {
            return Some(Hosts::Network(network, bits));
        }
        let name = entry.strip_suffix('.').unwrap_or(entry).to_ascii_lowercase();
        if name.trim_matches(['*', '.']).is_empty() || name.contains(':') {
            return None;
        }
        Some(if let Some(end) = name.strip_prefix('*') {
            Hosts::EndingIn(end.into())
        } else if name.starts_with('.') {
            Hosts::EndingIn(name)
        } else if let Some(start) = name.strip_suffix('*') {
            Hosts::StartingWith(start.into())
        } else {
            Hosts::Name(name)
        })
    }

    fn contain(&self, host: &str) -> bool {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match self {
            Hosts::All => true,
            Hosts::Network(network, bits) => ip.is_ok_and(|ip| within(ip, *network, *bits)),
            Hosts::StartingWith(start) => host.starts_with(start),
            // An address has no parent domains.
            _ if ip.is_ok() => false,
            Hosts::EndingIn(end) => host.ends_with(end),
            Hosts::Name(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
        }
    }
}

/// Parses a network or an address: `10.0.0.0/8`, `10.1.2.3`, `::1`, `[::1]`.
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
