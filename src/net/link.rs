//! The state that belongs to one client: its settings, and what its connections share.

use std::mem::replace;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderValue, Uri};
use url::Url;

use super::buffers::LongestLine;
use super::dial::{DialSettings, KnownAddresses};
use super::proxy::{Forward, Proxy, Routes};
use super::redirect;
use super::settings::HttpSettings;
use super::socket::{LastActivity, Stream, TimeLeft};
use super::tls::TlsSettings;
use crate::sync::{AtomicBool, Mutex, lock};

/// How long an idle connection is kept for another request. Servers close theirs after 2 s (gunicorn), 5 s
/// (Node, uvicorn) or more: a POST on a connection that is being closed is lost, and must not be sent twice.
pub(super) const IDLE: Duration = Duration::from_millis(1500);

/// The state that the connector, its transports and the client share.
pub(super) struct Link {
    pub(super) activity: Arc<LastActivity>,
    pub(super) addresses: Arc<KnownAddresses>,
    pub(super) dial: DialSettings,
    pub(super) zone: Option<Zone>,
    /// The URL whose host may see the user's client certificate.
    pub(super) home: Url,
    pub(super) tls: TlsSettings,
    /// The settings for TLS to a proxy. The server's settings do not hold for it.
    pub(super) proxy_tls: TlsSettings,
    pub(super) routes: Routes,
    /// The user's own `Proxy-Authorization`.
    pub(super) proxy_authorization: Option<HeaderValue>,
    /// The limit for each step of a request, and for a stall of it.
    pub(super) timeout: Duration,
    pub(super) longest_line: Arc<LongestLine>,
    pub(super) handover: Mutex<Handover>,
    /// Set when the server has closed an idle connection early.
    pub(super) closes_early: AtomicBool,
    /// Tells the reads and writes of polls how long they may wait. Set by each poll.
    pub(super) server: Mutex<Option<Arc<dyn TimeLeft>>>,
}

/// The zone of the server's address. It holds for no other host, such as that of a redirect.
#[derive(Clone)]
pub(super) struct Zone {
    host: String,
    /// The address with its zone, as the system's resolver reads it: `fe80::1%eth0`.
    zoned: String,
}

impl Zone {
    fn new(url: &Url, zone: Option<&str>) -> Option<Self> {
        let zone = zone?;
        let uri: Uri = url.as_str().parse().ok()?;
        let host = host(&uri).to_owned();
        let zoned = format!("{host}%{zone}");
        Some(Zone { host, zoned })
    }

    /// The address with its zone, if this is the zone of that host.
    pub(super) fn zoned(&self, host: &str) -> Option<&str> {
        (self.host == host).then_some(&*self.zoned)
    }
}

/// The host of a URL, without the brackets of an IPv6 address.
pub(super) fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// Marks the reads and writes of a poll, which wait as long as the server lives.
pub(super) const WHILE_ALIVE: Duration = Duration::new(u32::MAX as u64, 1);

/// Marks the reads of a body: the transport does not know by itself where the head of a response ends. No
/// body takes this long.
pub(super) const WHILE_MOVING: Duration = Duration::from_secs(u32::MAX as u64);

/// The place where the stream of a 101 response leaves ureq: ureq drops the transport, which puts its stream
/// here.
#[derive(Debug, Default)]
pub(super) enum Handover {
    /// A dropped transport closes its stream.
    #[default]
    Off,
    Wanted,
    Done {
        stream: Stream,
        /// Bytes that followed the head of the response.
        early: Vec<u8>,
    },
}

impl Link {
    /// Takes the `Proxy-Authorization` out of the settings, as it must not reach the server.
    pub(super) fn new(settings: &mut HttpSettings, home: Url) -> Self {
        Link {
            activity: Arc::new(LastActivity::new()),
            addresses: Arc::new(KnownAddresses::new(settings.answered.clone())),
            dial: settings.dial.clone(),
            zone: Zone::new(&home, settings.zone.as_deref()),
            home,
            tls: settings.tls.clone(),
            proxy_tls: settings.proxy_tls.clone(),
            routes: settings.routes.clone(),
            proxy_authorization: settings.headers.take_proxy_authorization(),
            timeout: settings.timeout,
            longest_line: Arc::default(),
            handover: Mutex::default(),
            closes_early: AtomicBool::new(false),
            server: Mutex::default(),
        }
    }

    /// Creates the state of a fresh client with the same settings, which knows the same addresses.
    pub(super) fn reopened(&self) -> Self {
        Link {
            activity: Arc::new(LastActivity::new()),
            addresses: self.addresses.clone(),
            dial: self.dial.clone(),
            zone: self.zone.clone(),
            home: self.home.clone(),
            tls: self.tls.clone(),
            proxy_tls: self.proxy_tls.clone(),
            routes: self.routes.clone(),
            proxy_authorization: self.proxy_authorization.clone(),
            timeout: self.timeout,
            longest_line: Arc::default(),
            handover: Mutex::default(),
            closes_early: AtomicBool::new(false),
            server: Mutex::default(),
        }
    }

    /// The TLS for a server. A redirect to another host does not show it the user's certificate.
    pub(super) fn tls_for(&self, uri: &Uri) -> TlsSettings {
        let at_home = Url::parse(&uri.to_string()).is_ok_and(|url| redirect::is_at_home(&self.home, &url));
        if at_home { self.tls.clone() } else { self.tls.without_identity() }
    }

    /// Sets the handover and returns the one before.
    pub(super) fn set_handover(&self, handover: Handover) -> Handover {
        replace(&mut lock(&self.handover), handover)
    }

    /// True while a websocket is opened. It needs a connection of its own, or a tunnel.
    fn is_upgrading(&self) -> bool {
        !matches!(*lock(&self.handover), Handover::Off)
    }

    /// True if a request to `target` needs a tunnel through a proxy that forwards other requests: an idle
    /// connection to that proxy is none.
    pub(super) fn needs_tunnel(&self, target: &Uri) -> bool {
        self.is_upgrading() && self.forwarder(target).is_some()
    }

    /// The way of a request to `target` through this proxy, if the proxy forwards it. A websocket needs a
    /// tunnel.
    pub(super) fn forward(&self, proxy: &Proxy, target: &Uri) -> Option<Forward> {
        let forward = proxy.forward(target, self.proxy_authorization.as_ref());
        forward.filter(|_| !self.is_upgrading())
    }

    /// The proxy that forwards plain requests to `target`, if there is one.
    pub(super) fn forwarder(&self, target: &Uri) -> Option<Proxy> {
        self.routes.find(target).ok().flatten().filter(|proxy| proxy.forward(target, None).is_some())
    }

    pub(super) fn hand_over(&self, stream: Stream, early: &[u8]) {
        let mut handover = lock(&self.handover);
        if !matches!(*handover, Handover::Off) {
            *handover = Handover::Done { stream, early: early.to_vec() };
        }
    }
}
