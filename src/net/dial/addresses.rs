use std::net::SocketAddr;
use std::sync::Arc;

use crate::sync::{Mutex, lock};

/// The number of remembered addresses. Redirects can lead to any number of hosts.
const REMEMBERED: usize = 16;

/// The addresses that have answered, by host and port, with the most recent one at the end.
#[derive(Debug, Default)]
pub(crate) struct AnsweredAddresses(Mutex<Vec<(String, u16, SocketAddr)>>);

impl AnsweredAddresses {
    fn find(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let addresses = lock(&self.0);
        addresses.iter().find(|entry| entry.0 == host && entry.1 == port).map(|entry| entry.2)
    }

    fn set(&self, host: &str, port: u16, address: SocketAddr) {
        let mut addresses = lock(&self.0);
        addresses.retain(|entry| (&*entry.0, entry.1) != (host, port));
        if addresses.len() == REMEMBERED {
            addresses.remove(0);
        }
        addresses.push((host.to_owned(), port, address));
    }
}

/// The addresses that a connection knows.
#[derive(Debug, Default)]
pub(crate) struct KnownAddresses {
    /// The addresses that have answered this connection. A session lives on one of the machines behind a
    /// host's name, so later requests go to the same address as long as it answers. They need no name
    /// lookup either.
    own: AnsweredAddresses,
    /// The addresses that have answered the client, over all of its connections. They only come first among
    /// the addresses that a lookup finds, because the name may have moved to other machines.
    client: Arc<AnsweredAddresses>,
}

impl KnownAddresses {
    pub(crate) fn new(client: Arc<AnsweredAddresses>) -> Self {
        KnownAddresses { own: AnsweredAddresses::default(), client }
    }

    /// The address that has answered this connection.
    pub(super) fn own(&self, host: &str, port: u16) -> Option<SocketAddr> {
        self.own.find(host, port)
    }

    pub(super) fn set(&self, host: &str, port: u16, address: SocketAddr) {
        self.own.set(host, port, address);
        self.client.set(host, port, address);
    }

    /// Sorts the addresses that a lookup has found for an attempt after the other.
    pub(super) fn sorted(&self, host: &str, port: u16, found: Vec<SocketAddr>) -> Vec<SocketAddr> {
        interleaved(found, self.client.find(host, port))
    }
}

/// Alternates between the address families, and keeps the system's order within each (RFC 8305, section 4).
/// The `preferred` address comes first, if it is among those found.
fn interleaved(mut found: Vec<SocketAddr>, preferred: Option<SocketAddr>) -> Vec<SocketAddr> {
    if let Some(index) = found.iter().position(|address| Some(*address) == preferred) {
        found[..=index].rotate_right(1);
    }
    let Some(first) = found.first() else { return found };
    let first_is_ipv4 = first.is_ipv4();
    let (firsts, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv4() == first_is_ipv4);
    let (mut firsts, mut others) = (firsts.into_iter(), others.into_iter());
    let mut sorted = Vec::new();
    loop {
        let pair = [firsts.next(), others.next()];
        if pair == [None, None] {
            return sorted;
        }
        sorted.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 80)).collect()
    }

    #[test]
    fn families_are_interleaved_and_the_winner_comes_first() {
        let found = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"];
        let table: [(&[&str], Option<&str>, &[&str]); 7] = [
            (&found, None, &["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"]),
            (
                &found,
                Some("192.0.2.2"),
                &["192.0.2.2", "2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"],
            ),
            (
                &found,
                Some("2001:db8::3"),
                &["2001:db8::3", "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"],
            ),
            // The name does not lead to this address any more.
            (&["192.0.2.1", "::1"], Some("192.0.2.9"), &["192.0.2.1", "::1"]),
            (&["192.0.2.1", "192.0.2.2"], None, &["192.0.2.1", "192.0.2.2"]),
            (&["::1"], Some("::1"), &["::1"]),
            (&[], None, &[]),
        ];
        for (found, preferred, expected) in table {
            let preferred = preferred.map(|ip| addresses(&[ip])[0]);
            assert_eq!(interleaved(addresses(found), preferred), addresses(expected), "{preferred:?}");
        }
    }

    #[test]
    fn a_client_remembers_and_forgets() {
        let client = Arc::new(AnsweredAddresses::default());
        let address = addresses(&["192.0.2.1"])[0];
        for port in 1..=REMEMBERED as u16 + 1 {
            KnownAddresses::new(client.clone()).set("host", port, address);
        }
        assert_eq!((client.find("host", 1), client.find("host", 2)), (None, Some(address)));
        assert_eq!(client.find("other", 2), None);
        // Another connection may go elsewhere.
        assert_eq!(KnownAddresses::new(client).own("host", 2), None);
    }
}
