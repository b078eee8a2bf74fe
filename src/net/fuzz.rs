//! The targets of `testing/fuzz.rs` that need private parts of this module.

mod body;
mod redirects;

use std::io::{self, Cursor, Read, Write};

use ureq::http::Uri;

use super::pem as file;
use super::proxy::{ProxySettings, Routes};
use crate::testing::fuzz::{secret, shown};

pub use super::cookies::fuzz::cookies;
pub use body::body;
pub use redirects::redirects;

/// Certificates and keys of the user.
pub fn pem(data: &[u8]) {
    for result in
        [file::certificates(data).map(|all| all.concat()), file::private_key(data, Some(b"password"))]
    {
        match result {
            Ok(der) => _ = file::key_label(&der),
            Err(e) => assert!(e.len() < 300, "{e}"),
        }
    }
    file::key_label(data);
}

/// The URL of a proxy, and the URL of a server, one a line.
pub fn proxy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let (proxy, target) = (lines.next().unwrap_or_default(), lines.last().unwrap_or_default());
    let settings = ProxySettings::Url(proxy.to_owned());
    // The host is public, and the rest of the URL is not.
    let authority = proxy.split("://").last().and_then(|rest| rest.split(['/', '?', '#']).next());
    let host = authority.and_then(|authority| authority.rsplit('@').next()).unwrap_or_default();
    secret(&format!("{settings:?}"), host);
    let (Ok(routes), Ok(target)) = (Routes::new(&settings, None), target.parse::<Uri>()) else {
        return settings.check().err().iter().for_each(shown);
    };
    settings.check().expect("it has routes");
    secret(&format!("{routes:?}"), host);
    let _ = routes.find(&target).map(|proxy| proxy.map(|proxy| secret(&proxy.to_string(), host)));
}

/// A stream with the proxy's answer. It takes whatever is written.
struct Script(Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The answer of a proxy. The first byte selects the kind of proxy.
pub fn tunnel(data: &[u8]) {
    let Some((kind, answer)) = data.split_first() else { return };
    let url = ["http://proxy", "http://u:S3CR3T@proxy", "socks5://proxy", "socks5://u:S3CR3T@proxy"]
        [usize::from(kind & 3)];
    let target = Uri::from_static("http://server/");
    let routes = Routes::new(&ProxySettings::Url(url.into()), None).expect("it is valid");
    let proxy = routes.find(&target).expect("it is valid").expect("all targets have it");
    let mut stream = Script(Cursor::new(answer.to_vec()));
    match proxy.open_tunnel(&mut stream, "server", 80, None) {
        // What follows comes from the target.
        Ok(()) => assert!(stream.0.position() <= 16 * 1024 + 1),
        Err(e) => {
            shown(&e);
            secret(&format!("{e} {e:?}"), "");
        }
    }
}
