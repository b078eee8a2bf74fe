//! The user's settings for the way to a server.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use url::Host;

use crate::error::{Error, Result};

/// The settings for every connection of a client, to servers and to proxies.
#[derive(Debug, Clone, Default)]
pub(crate) struct DialSettings {
    /// The path of the Unix socket that all connections go to.
    pub(crate) socket: Option<Arc<Path>>,
    /// The address of this machine that connections come from.
    pub(crate) local_address: Option<IpAddr>,
    /// The addresses that take the place of a name lookup.
    pub(crate) overrides: Vec<Override>,
}

/// An address for a host and a port.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) address: IpAddr,
}

impl DialSettings {
    /// Brings the hosts into the form that they have in a parsed URL.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] names the text that is not a host.
    pub(crate) fn normalize(&mut self) -> Result<()> {
        for entry in &mut self.overrides {
            let host = match entry.host.parse::<IpAddr>() {
                Ok(ip) => ip.to_string(),
                Err(_) => match Host::parse(&entry.host) {
                    Ok(Host::Ipv6(ip)) => ip.to_string(),
                    Ok(host) => host.to_string(),
                    Err(e) => return Err(Error::option("resolve", format!("{:?}: {e}", entry.host))),
                },
            };
            entry.host = host;
        }
        Ok(())
    }

    /// The addresses that the user has given for that host and port, in the user's order.
    pub(super) fn addresses(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        let is_same = |entry: &&Override| entry.port == port && without_dot(&entry.host) == without_dot(host);
        let entries = self.overrides.iter().filter(is_same);
        entries.map(|entry| SocketAddr::new(entry.address, port)).collect()
    }

    /// Removes the addresses that a connection from the local address cannot reach.
    pub(super) fn reachable(
        &self,
        host: &str,
        port: u16,
        mut found: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>> {
        let Some(local) = self.local_address else { return Ok(found) };
        let any = !found.is_empty();
        found.retain(|address| address.is_ipv4() == local.is_ipv4());
        if any && found.is_empty() {
            let family = if local.is_ipv4() { "IPv4" } else { "IPv6" };
            let what = format!("from the local address {local}: it has no {family} address");
            return Err(Error::connection(format!("cannot connect to {host} port {port} {what}")));
        }
        Ok(found)
    }
}

/// A name without the dot at its end, which only says that the name is complete.
fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(entries: &[(&str, u16, &str)]) -> DialSettings {
        let entry = |(host, port, address): &(&str, u16, &str)| Override {
            host: (*host).into(),
            port: *port,
            address: address.parse().unwrap(),
        };
        DialSettings { overrides: entries.iter().map(entry).collect(), ..DialSettings::default() }
    }

    #[test]
    fn the_users_addresses_are_those_of_the_host_and_the_port() {
        let mut settings = settings(&[
            ("Example.org", 80, "192.0.2.1"),
            ("example.org.", 80, "::1"),
            ("example.org", 81, "192.0.2.2"),
            ("bücher.example", 80, "192.0.2.3"),
            ("[2001:DB8::1]", 80, "192.0.2.4"),
            ("2001:db8::2", 80, "192.0.2.5"),
        ]);
        settings.normalize().unwrap();
        let addresses = |host: &str, port| {
            settings.addresses(host, port).iter().map(|address| address.ip().to_string()).collect::<Vec<_>>()
        };
        for host in ["example.org", "example.org."] {
            assert_eq!(addresses(host, 80), ["192.0.2.1", "::1"], "{host}");
        }
        assert_eq!(addresses("example.org", 81), ["192.0.2.2"]);
        assert_eq!(addresses("xn--bcher-kva.example", 80), ["192.0.2.3"]);
        assert_eq!(addresses("2001:db8::1", 80), ["192.0.2.4"]);
        assert_eq!(addresses("2001:db8::2", 80), ["192.0.2.5"]);
        assert!(addresses("a.example.org", 80).is_empty());
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["", "a b", "a/b", "[::1", "h:80"] {
            let error = settings(&[(host, 80, "::1")]).normalize().unwrap_err();
            assert!(matches!(error, Error::InvalidOption { option: "resolve", .. }), "{host:?}: {error}");
        }
    }

    #[test]
    fn a_local_address_reaches_its_own_family() {
        let found: Vec<SocketAddr> = ["192.0.2.1:1", "[::1]:1"].map(|text| text.parse().unwrap()).into();
        let from =
            |local: &str| DialSettings { local_address: local.parse().ok(), ..DialSettings::default() };
        assert_eq!(from("").reachable("h", 1, found.clone()).unwrap(), found);
        assert_eq!(from("127.0.0.1").reachable("h", 1, found.clone()).unwrap(), found[..1]);
        assert_eq!(from("::1").reachable("h", 1, found.clone()).unwrap(), found[1..]);
        let error = from("::1").reachable("h", 1, found[..1].to_vec()).unwrap_err();
        assert!(error.to_string().ends_with("from the local address ::1: it has no IPv6 address"), "{error}");
        assert!(from("::1").reachable("h", 1, Vec::new()).unwrap().is_empty());
    }
}
