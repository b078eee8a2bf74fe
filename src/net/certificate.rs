//! The names in a certificate (RFC 5280, section 4.2.1.6).

use std::net::{Ipv4Addr, Ipv6Addr};

use der::{Tag, TagNumber, Tagged};

use super::excerpt;
use super::pem::{elements, sequence};

/// The most names that an error lists.
const SHOWN: usize = 5;

/// The object identifier of the subject's alternative names, 2.5.29.17, without its tag and length.
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// The names of the hosts that a certificate is for, as a text for an error. They come from the network.
pub(super) fn hosts(certificate: &[u8]) -> Option<String> {
    let names = names(certificate)?;
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(|name| excerpt::quotation(name)).collect();
    if names.len() > SHOWN {
        shown.push(format!("{} more", names.len() - SHOWN));
    }
    (!shown.is_empty()).then(|| shown.join(", "))
}

fn names(certificate: &[u8]) -> Option<Vec<String>> {
    const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
    let signed = elements(sequence(certificate)?)?;
    let fields = elements(signed.first()?.value())?;
    let extensions = fields.iter().find(|field| field.tag() == EXTENSIONS)?.value();
    for extension in elements(sequence(extensions)?)? {
        let parts = elements(extension.value())?;
        if parts.first()?.value() == SUBJECT_ALT_NAME {
            let names = elements(sequence(parts.last()?.value())?)?;
            return Some(names.iter().filter_map(|name| host(name.tag(), name.value())).collect());
        }
    }
    None
}

/// The text of a name, if it is that of a host.
fn host(tag: Tag, value: &[u8]) -> Option<String> {
    match tag {
        Tag::ContextSpecific { number: TagNumber(2), .. } => String::from_utf8(value.to_vec()).ok(),
        Tag::ContextSpecific { number: TagNumber(7), .. } => match value.len() {
            4 => <[u8; 4]>::try_from(value).ok().map(|bytes| Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(value).ok().map(|bytes| Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate(names: &[&str]) -> Vec<u8> {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        rcgen::generate_simple_self_signed(names).unwrap().cert.der().to_vec()
    }

    #[test]
    fn the_names_of_hosts_are_listed() {
        for (names, shown) in [
            (&["a.example"][..], Some("a.example")),
            (&["*.a.example", "127.0.0.1", "::1"], Some("*.a.example, 127.0.0.1, ::1")),
            (&["a", "b", "c", "d", "e", "f", "g"], Some("a, b, c, d, e, 2 more")),
            (&[], None),
        ] {
            assert_eq!(hosts(&certificate(names)).as_deref(), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(at in 0..400usize, byte: u8, cut in 0..400usize) {
            let mut damaged = certificate(&["a.example"]);
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = hosts(&damaged);
            damaged.truncate(cut);
            let _ = hosts(&damaged);
        }
    }
}
