//! The options for the way to the server: TLS, the user's HTTP agent, and proxies.

use std::net::IpAddr;
use std::sync::Arc;

use ureq::Agent;

use super::ClientBuilder;
use crate::net::{AgentSource, ClientIdentity, Override, ProxySettings, TlsVersion};

/// The way to the server: TLS, proxies, addresses and the HTTP agent.
impl ClientBuilder {
    /// Sets whether the server's certificate must be valid and match its host, on both transports. Default:
    /// true.
    ///
    /// With `false`, anyone on the network path can read and change the traffic.
    pub fn ssl_verify(mut self, verify: bool) -> Self {
        self.options.tls.verify = verify;
        self
    }

    /// Adds certificate authorities to those that the system trusts, on both transports. The method can be
    /// called more than once. Default: none.
    ///
    /// `pem` is the content of a PEM file with one or more certificates. It may also be a server's
    /// self-signed certificate.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::fs::read;
    ///
    /// use engineio::Client;
    ///
    /// let client = Client::builder().ca_certificate(read("ca.pem")?).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ca_certificate(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.options.tls.authorities.push(pem.as_ref().into());
        self
    }

    /// Sets the client's certificate and its private key, for servers that ask for one, on both transports.
    /// Default: none.
    ///
    /// Both arguments are contents of PEM files; one file may hold both. Certificates of intermediate
    /// authorities may follow the client's own. The key must be in the format PKCS#8 (`PRIVATE KEY`), PKCS#1
    /// (`RSA PRIVATE KEY`) or SEC1 (`EC PRIVATE KEY`), and must not be encrypted.
    /// [`client_certificate_with_password`](Self::client_certificate_with_password) takes an encrypted key.
    /// On Windows, the key must be an RSA key.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::fs::read;
    ///
    /// use engineio::Client;
    ///
    /// let client = Client::builder()
    ///     .client_certificate(read("client.pem")?, read("client.key")?)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_certificate(mut self, cert_pem: impl AsRef<[u8]>, key_pem: impl AsRef<[u8]>) -> Self {
        self.options.tls.identity = Some(ClientIdentity::Pem {
            certificates: cert_pem.as_ref().into(),
            key: key_pem.as_ref().into(),
            password: None,
        });
        self
    }

    /// Works like [`client_certificate`](Self::client_certificate), with a key that is encrypted with a
    /// password. A key that is not encrypted works too.
    ///
    /// The encrypted key must be in the format PKCS#8 (`ENCRYPTED PRIVATE KEY`), as `openssl pkcs8 -topk8`
    /// and `openssl genpkey -aes256` write it. The encryption must be PBES2 (RFC 8018) with AES or triple
    /// DES, and with PBKDF2 or scrypt. With a wrong password, [`build`](Self::build) returns
    /// [`Error::InvalidOption`](crate::Error::InvalidOption). The password appears in no error and no `Debug`
    /// output.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::fs::read;
    ///
    /// use engineio::Client;
    ///
    /// let (cert, key) = (read("client.pem")?, read("client.key")?);
    /// let password = std::env::var("KEY_PASSWORD")?;
    /// let client = Client::builder()
    ///     .client_certificate_with_password(cert, key, password)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_certificate_with_password(
        mut self,
        cert_pem: impl AsRef<[u8]>,
        key_pem: impl AsRef<[u8]>,
        password: impl AsRef<[u8]>,
    ) -> Self {
        self.options.tls.identity = Some(ClientIdentity::Pem {
            certificates: cert_pem.as_ref().into(),
            key: key_pem.as_ref().into(),
            password: Some(password.as_ref().into()),
        });
        self
    }

    /// Sets the client's certificate and its private key from a PKCS#12 archive (a `.p12` or `.pfx` file, in
    /// DER), in place of [`client_certificate`](Self::client_certificate). Default: none.
    ///
    /// The system's TLS library opens the archive. OpenSSL 3 refuses archives with the outdated encryption
    /// RC2. With a wrong password, [`build`](Self::build) returns
    /// [`Error::InvalidOption`](crate::Error::InvalidOption). The password appears in no error and no `Debug`
    /// output.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let archive = std::fs::read("client.p12")?;
    /// let client = engineio::Client::builder()
    ///     .client_identity(archive, "password")
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_identity(mut self, pkcs12_der: impl AsRef<[u8]>, password: impl AsRef<str>) -> Self {
        self.options.tls.identity = Some(ClientIdentity::Pkcs12 {
            der: pkcs12_der.as_ref().into(),
            password: password.as_ref().into(),
        });
        self
    }

    /// Sets the oldest version of TLS that the client speaks with servers. Default: TLS 1.2.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, TlsVersion};
    ///
    /// let client = Client::builder().min_tls_version(TlsVersion::V1_3).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn min_tls_version(mut self, version: TlsVersion) -> Self {
        self.options.tls.min_version = version;
        self
    }

    /// Uses the configuration and the cookies of a ureq agent for all connections, on both transports.
    /// Default: no agent.
    ///
    /// These settings of the agent are used: the proxy, TLS (authorities, client certificate, verification,
    /// SNI), the user agent, the number of redirects (10 at most), middleware, and timeouts that are shorter
    /// than the client's own. Authorities that [`ca_certificate`](Self::ca_certificate) adds are trusted too.
    /// A client certificate, a proxy or a `User-Agent` header of the client overrides that of the agent.
    /// Certificates are not verified if the agent or [`ssl_verify`](Self::ssl_verify) turns verification off.
    ///
    /// The agent's cookies for a host are copied when a connection first sends a request to that host.
    /// Cookies that the server sets are also stored in the agent. Cookies that the server removes, or that
    /// exceed the limits of the client's cookie jar, are also removed from the agent. The agent is not
    /// changed in any other way. An agent has cookies only if your program turns on ureq's feature `cookies`,
    /// for example with `cargo add ureq --features cookies`.
    ///
    /// Connections have their own sockets, so the agent's resolver, IP family and connector are not used.
    ///
    /// If the agent uses ureq's built-in list of authorities, which is its default, the client uses the
    /// system's list instead. The agent's timeouts do not apply to a long poll, which ends when the server
    /// has been silent for too long.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let agent: ureq::Agent = ureq::Agent::config_builder()
    ///     .user_agent("my-app/1.0")
    ///     .timeout_connect(Some(Duration::from_secs(2)))
    ///     .build()
    ///     .into();
    /// let client = engineio::Client::builder().http_agent(agent).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn http_agent(mut self, agent: Agent) -> Self {
        self.options.agent = Some(AgentSource::Shared(agent));
        self
    }

    /// Works like [`http_agent`](Self::http_agent), but calls `factory` for a new agent before each
    /// connection, for example to read new credentials or to start without cookies.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, ureq::Agent};
    ///
    /// let client = Client::builder()
    ///     .http_agent_factory(Agent::new_with_defaults)
    ///     .build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn http_agent_factory<F>(mut self, factory: F) -> Self
    where
        F: Fn() -> Agent + Send + Sync + 'static,
    {
        self.options.agent = Some(AgentSource::Factory(Arc::new(factory)));
        self
    }

    /// Connects through a proxy, on both transports. Default: the proxy that the environment names, if any.
    ///
    /// | URL | proxy |
    /// |---|---|
    /// | `http://proxy:3128`, `proxy:3128` | HTTP; port 80 if none is given |
    /// | `https://proxy:3129` | HTTP, reached by TLS; port 443 if none is given |
    /// | `socks5://proxy:1080`, `socks5h://proxy:1080` | SOCKS5; port 1080 if none is given |
    ///
    /// The URL may contain credentials, as in `http://user:password@proxy:3128`, with special characters
    /// percent-encoded. HTTP proxies get the credentials as Basic authorization.
    ///
    /// An HTTP proxy forwards the requests of long polling to an `http://` server, and can read them.
    /// Everything else goes through a tunnel: websockets, TLS, and all connections through a SOCKS proxy.
    /// Many HTTP proxies open tunnels (`CONNECT`) to port 443 only. A websocket to an `http://` or `ws://`
    /// server then fails, and the connection stays on polling. The proxy resolves the names of servers, with
    /// `socks5://` too.
    ///
    /// The certificate of an `https://` proxy must be signed by one of the system's authorities, or by one of
    /// [`proxy_ca_certificate`](Self::proxy_ca_certificate). The other TLS options of the client, or of its
    /// [agent](Self::http_agent), apply to the server alone. The client never presents a client certificate
    /// to a proxy.
    ///
    /// In the environment, `https_proxy` names the proxy for `https://` and `wss://` servers, and
    /// `http_proxy` the proxy for `http://` and `ws://` servers. If the variable for a server is missing,
    /// `all_proxy` is used. The names of the variables may also be in capitals. A lowercase variable that is
    /// set but empty means no proxy, whatever the others contain.
    ///
    /// `no_proxy` lists the servers to connect to directly, separated by commas. An entry is one of these:
    ///
    /// - a name such as `example.org`, which also matches its subdomains,
    /// - a name with a leading dot such as `.example.org`, which matches the subdomains only,
    /// - an IP address, or a network such as `10.0.0.0/8`,
    /// - `*` for all servers.
    ///
    /// An entry may have a port, as in `example.org:8080`. Servers on the same machine need an entry too.
    ///
    /// The environment is read for each connection. An [agent](Self::http_agent) that has a proxy, or is set
    /// to have none, takes precedence over the environment. This option takes precedence over both, and the
    /// variable `no_proxy` does not apply to it.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::builder()
    ///     .proxy("http://user:password@proxy.example:3128")
    ///     .build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.options.proxy = ProxySettings::Url(url.into());
        self
    }

    /// Adds certificate authorities to those that the system trusts, for `https://` proxies only. The method
    /// can be called more than once. Default: none.
    ///
    /// `pem` is the content of a PEM file with one or more certificates.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let client = engineio::Client::builder()
    ///     .proxy("https://proxy.example.org:3129")
    ///     .proxy_ca_certificate(std::fs::read("proxy-ca.pem")?)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn proxy_ca_certificate(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.options.proxy_tls.authorities.push(pem.as_ref().into());
        self
    }

    /// Sets the client's own address for all connections, to servers and to proxies. Default: the system
    /// chooses.
    ///
    /// The client tries only those addresses of a server that are of the same family, IPv4 or IPv6. If there
    /// are none, or if `address` does not belong to this machine, `connect` returns
    /// [`Error::Connection`](crate::Error::Connection). Connections to Unix sockets have no such address.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::builder().local_address([192, 0, 2, 7]).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn local_address(mut self, address: impl Into<IpAddr>) -> Self {
        self.options.dial.local_address = Some(address.into());
        self
    }

    /// Connects to `address` instead of the addresses that a lookup of the name `host` would find, as curl's
    /// `--resolve` does. Default: none.
    ///
    /// The method can be called more than once. Several addresses for the same host and port are tried in the
    /// order of the calls. The option applies to the server, to hosts that a redirect leads to, and to
    /// proxies. `port` is the port of the connection, which is 80 or 443 if the URL has none. Nothing else
    /// changes: the `Host` header, the cookies and the name in the certificate are still those of `host`. A
    /// proxy resolves the names of servers itself, so the option has no effect on servers behind a proxy.
    ///
    /// # Examples
    ///
    /// ```
    /// // Tests a new machine before the name points to it.
    /// let client = engineio::Client::builder()
    ///     .resolve("example.org", 443, [192, 0, 2, 7])
    ///     .build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn resolve(mut self, host: impl Into<String>, port: u16, address: impl Into<IpAddr>) -> Self {
        self.options.dial.overrides.push(Override { host: host.into(), port, address: address.into() });
        self
    }

    /// Connects to servers directly, and ignores the proxies of the environment and of the
    /// [agent](Self::http_agent). Default: these proxies are used, as described at [`proxy`](Self::proxy).
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::builder().no_proxy().build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn no_proxy(mut self) -> Self {
        self.options.proxy = ProxySettings::Off;
        self
    }
}
