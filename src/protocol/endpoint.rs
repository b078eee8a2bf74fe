use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use ureq::http::Uri;
use url::{Url, form_urlencoded};

use super::user_url::{credentials, own_query, read_scheme, redacted, split_socket, split_zone};

/// The address of the server, from which the URL of each request is made.
///
/// The path comes from the path option alone, as in python-engineio. The path of the user's URL is dropped.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The origin and the path, and nothing else. The user or a redirect chooses whether the path ends with a
    /// slash.
    base: Url,
    /// The query of the user's URL. It is empty or ends in `&`.
    query: String,
    credentials: Option<(String, String)>,
    /// The zone of a link-local IPv6 address.
    zone: Option<String>,
    /// The path of the Unix socket of the server.
    socket: Option<PathBuf>,
    drops_path: bool,
}

/// The URL or the path option is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("invalid URL {url:?}: {reason}")]
    Url {
        /// The URL without its user, password and query, which may be secret.
        url: String,
        reason: String,
    },
    #[error("invalid path: {reason}")]
    Path { reason: String },
}

impl Endpoint {
    /// Parses the user's URL. The schemes are `http` and `https`, their synonyms `ws` and `wss`, and `unix`,
    /// `http+unix` and `ws+unix` for Unix sockets. With `slash`, the path of every request ends with a slash.
    /// Without it, only the root path does.
    pub(crate) fn parse(url: &str, engineio_path: &str, slash: bool) -> Result<Endpoint, EndpointError> {
        let path = clean_path(engineio_path, slash)
            .map_err(|reason| EndpointError::Path { reason: reason.into() })?;
        Endpoint::from_parts(url.trim(), &path)
            .map_err(|reason| EndpointError::Url { url: redacted(url.trim()), reason })
    }

    fn from_parts(url: &str, path: &str) -> Result<Endpoint, String> {
        // The url crate would skip control characters, and would find a host in `http:///host`.
        let has_control = url.contains(char::is_control);
        let (socket, url) = match split_socket(url)? {
            Some((socket, url)) => (Some(socket), Cow::Owned(url)),
            None => (None, Cow::Borrowed(url)),
        };
        let (secure, rest) = read_scheme(&url)?;
        if has_control {
            return Err("it has a control character".into());
        }
        if rest.starts_with(['/', '\\']) {
            return Err("it has no host".into());
        }
        let scheme = if secure { "https" } else { "http" };
        let (rest, zone) = split_zone(rest)?;
        let mut url = Url::parse(&format!("{scheme}://{rest}")).map_err(|e| e.to_string())?;
        let own_path = url.path().trim_matches('/').to_owned();
        url.set_path(path);
        if url.host().is_none() {
            return Err("it has no host".into());
        }
        let endpoint = Endpoint {
            query: own_query(&url),
            credentials: credentials(&url)?,
            zone,
            socket,
            drops_path: !own_path.is_empty() && own_path != url.path().trim_matches('/'),
            base: bare(url),
        };
        endpoint.check()?;
        Ok(endpoint)
    }

    /// Checks that ureq accepts the URLs of requests. The url crate accepts hosts such as `a{b`, and URLs of
    /// any length, and ureq refuses both.
    fn check(&self) -> Result<(), String> {
        let checked = self.request_url("", None, None).as_str().parse::<Uri>();
        checked.map(drop).map_err(|e| match self.base.origin().ascii_serialization().parse::<Uri>() {
            Ok(_) => e.to_string(),
            Err(_) => "its host has a character that is not allowed in a host name".into(),
        })
    }

    /// The endpoint of a session whose handshake a redirect led to `place`: its path, and its query without
    /// the parameters that every request sets by itself. With `timestamps` the parameter `t` is one of those.
    pub(crate) fn moved_to(&self, place: &Url, timestamps: bool) -> Endpoint {
        let query = own_query(place);
        let is_kept = |pair: &&str| !timestamps || (*pair != "t" && !pair.starts_with("t="));
        Endpoint {
            base: bare(place.clone()),
            query: query.split_terminator('&').filter(is_kept).flat_map(|pair| [pair, "&"]).collect(),
            ..self.clone()
        }
    }

    /// The URL of a request of either transport, with the scheme `http` or `https`.
    pub(crate) fn request_url(&self, transport: &str, sid: Option<&str>, timestamp: Option<&str>) -> Url {
        let mut query = format!("{}EIO=4", self.query);
        let parameters = [("transport", Some(transport)), ("sid", sid), ("t", timestamp)];
        for (name, value) in parameters {
            if let Some(value) = value {
                query.push('&');
                query.push_str(name);
                query.push('=');
                // A space becomes `%20`, because not every server reads `+` as a space.
                let encoded = form_urlencoded::byte_serialize(value.as_bytes());
                query.extend(encoded.map(|part| if part == "+" { "%20" } else { part }));
            }
        }
        let mut url = self.base.clone();
        url.set_query(Some(&query));
        url
    }

    /// The user and the password of the URL, percent-decoded.
    pub(crate) fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// The zone of the URL's IPv6 address: the name or the number of a network interface.
    pub(crate) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The path of the Unix socket of the server. The host in the URLs of requests is then `localhost`.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// The URL without a query.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// True if the user's URL has a path that is dropped.
    pub(crate) fn drops_path(&self) -> bool {
        self.drops_path
    }
}

/// Shows the origin and the path, which hold no secrets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(socket) => write!(f, "unix://{} ({})", socket.display(), self.base.path()),
            None => self.base.fmt(f),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// The origin and the path of a URL.
fn bare(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    // These fail only for a URL without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Checks the path option. Returns the path of requests, whatever slashes are around the option.
fn clean_path(path: &str, slash: bool) -> Result<String, &'static str> {
    let forbidden = |c: char| matches!(c, '?' | '#' | '\\') || c.is_control() || c.is_whitespace();
    // The URL standard treats `%2e` like a dot.
    let is_dots =
        |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if path.is_empty() {
        return Err("it is empty; the root path is \"/\"");
    }
    let path = path.trim_matches('/');
    if path.contains("://") {
        Err("it is a URL; the URL of the server is the first argument of `connect`")
    } else if path.contains(forbidden) {
        Err("it has a '?', '#', '\\', space or control character")
    } else if path.split('/').any(is_dots) {
        Err("it has a '.' or '..' segment")
    } else if path.is_empty() {
        Ok("/".into())
    } else {
        Ok(format!("/{path}{}", if slash { "/" } else { "" }))
    }
}

#[cfg(test)]
mod tests;
