//! Plain requests through an HTTP proxy, in absolute form (RFC 9112, section 3.2.2).

use ureq::http::{HeaderValue, Uri};

/// The part of a request that is only for the proxy that forwards it.
#[derive(Clone)]
pub(in crate::net) struct Forward {
    /// The scheme, host and port of the target, such as `http://host:port`.
    origin: String,
    authorization: Option<HeaderValue>,
}

impl Forward {
    pub(in crate::net) fn new(target: &Uri, authorization: Option<HeaderValue>) -> Self {
        // The credentials of a URL are no part of a request's target.
        let authority = target.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit('@').next().unwrap_or_default();
        Forward { origin: format!("http://{host}"), authorization }
    }

    /// Puts the target of a request into absolute form, and adds the credentials for the proxy. `head`
    /// begins with the request's first line.
    pub(in crate::net) fn rewrite(&self, head: &[u8]) -> Vec<u8> {
        let mut rewritten = Vec::with_capacity(head.len() + self.origin.len() + 128);
        let target = head.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
        let line = head.windows(2).position(|end| end == b"\r\n").map_or(head.len(), |end| end + 2);
        rewritten.extend_from_slice(&head[..target]);
        rewritten.extend_from_slice(self.origin.as_bytes());
        rewritten.extend_from_slice(&head[target..line]);
        if let Some(authorization) = &self.authorization {
            rewritten.extend([b"Proxy-Authorization: ", authorization.as_bytes(), b"\r\n"].concat());
        }
        rewritten.extend_from_slice(&head[line..]);
        rewritten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_gets_its_origin() {
        let head = b"GET /engine.io/?EIO=4 HTTP/1.1\r\nHost: h:81\r\nA: b c\r\n\r\nbody";
        let forward = |url: &str, authorization| {
            let forward = Forward::new(&url.parse().unwrap(), authorization);
            String::from_utf8(forward.rewrite(head)).unwrap()
        };
        assert_eq!(
            forward("http://h:81/other", None),
            "GET http://h:81/engine.io/?EIO=4 HTTP/1.1\r\nHost: h:81\r\nA: b c\r\n\r\nbody"
        );
        assert_eq!(
            forward("http://user:password@[::1]/", Some(HeaderValue::from_static("Basic x"))),
            "GET http://[::1]/engine.io/?EIO=4 HTTP/1.1\r\nProxy-Authorization: Basic x\r\nHost: h:81\r\n\
             A: b c\r\n\r\nbody"
        );
    }
}
