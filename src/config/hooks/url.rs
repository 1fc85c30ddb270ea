//! The URL of a hook, and the address to connect to.
//!
//! Promises: an unusable URL is refused, and the error says what to write instead; names are never resolved, so a URL with
//! a name also needs `connect`. Opens no connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use hyper::http::uri::PathAndQuery;
use rustls::pki_types::ServerName;

use crate::config::error::{Problem, problem};
use crate::config::origin::Value;

/// Shorter parts of a path or an argument are not treated as passwords.
pub(super) const SECRET: usize = 6;

/// A URL that a webhook can call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The URL as written in the configuration.
    pub text: String,
    /// Whether the scheme is `https://`.
    pub secure: bool,
    /// The value of the `Host` header.
    pub host: String,
    /// The host without its port, which the certificate must name.
    pub name: ServerName<'static>,
    /// The path with the query.
    pub path: String,
    /// The address to connect to; a URL with a name has none before [`Url::at`].
    pub address: Option<SocketAddr>,
    port: u16,
    /// Whether the address was given with `connect`.
    elsewhere: bool,
}

impl std::fmt::Display for Url {
    /// For people: omits the path and the query, which may contain a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.shown())?;
        match self.address.filter(|_| self.elsewhere) {
            Some(address) => write!(formatter, " at {address}"),
            None => Ok(()),
        }
    }
}

impl Url {
    /// The URL without its path and query.
    pub fn shown(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}/{}", self.host, if self.path == "/" { "" } else { "..." })
    }

    /// Removes the secret parts of this URL from a text.
    pub(super) fn hide(&self, text: &str) -> String {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let values = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
        let parts = self.path.split(['/', '?', '&']).chain(values).filter(|part| part.len() >= SECRET);
        let whole = text
            .replace(&self.text, &self.shown())
            .replace(&self.path, if self.path == "/" { "/" } else { "/..." });
        parts.fold(whole, |text, part| text.replace(part, "..."))
    }
}

impl Value for Url {
    type Raw = String;

    /// Parses `http://HOST[:PORT][/PATH]` or `https://HOST[:PORT][/PATH]`.
    fn read(text: String) -> Result<Self, Problem> {
        let (secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(refuse("it must begin with http:// or https://")),
        };
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let graphic = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !graphic || PathAndQuery::try_from(path.as_str()).is_err() {
            return Err(refuse("the path contains spaces, '#' or other bytes that a request cannot carry"));
        }
        let place = HostAndPort::parse(host).ok_or_else(|| {
            refuse("the host must be an IP address (IPv6 in [brackets]) or a name, optionally with :PORT")
        })?;
        let (port, host) = (place.port.unwrap_or(if secure { 443 } else { 80 }), host.to_owned());
        let (address, name) = (place.address(port), place.name);
        Ok(Self { secure, host, name, path, address, port, elsewhere: false, text })
    }
}

impl Url {
    /// With `connect`: the same host at another address, with the URL's port unless `connect` has one.
    pub(super) fn at(&self, connect: Option<&Connect>) -> Result<Self, Problem> {
        let address = match connect {
            None => self.address,
            Some(Connect(place)) => place.address(place.port.unwrap_or(self.port)),
        };
        let unknown = || refuse("gipam does not resolve host names; add the address: connect = \"ADDRESS\"");
        let address = Some(address.ok_or_else(unknown)?);
        Ok(Self { address, elsewhere: connect.is_some(), ..self.clone() })
    }
}

fn refuse(why: &str) -> Problem {
    problem!("this URL cannot be called: {why}")
}

/// Where a URL is reached: an address or `localhost`, optionally with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect(HostAndPort);

impl Value for Connect {
    type Raw = String;

    fn read(text: String) -> Result<Self, Problem> {
        let place = HostAndPort::parse(&text).filter(|place| place.address(0).is_some());
        place.map(Self).ok_or_else(|| {
            problem!(
                "{text:?} is not an address to connect to; write 192.0.2.80, 192.0.2.80:8443, [2001:db8::80]:8443 or localhost:8443"
            )
        })
    }
}

/// A host with an optional port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostAndPort {
    name: ServerName<'static>,
    /// The zone index of a link-local address.
    zone: u32,
    port: Option<u16>,
}

impl HostAndPort {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let digits = port.bytes().all(|byte| byte.is_ascii_digit());
                (host, Some(port.parse().ok().filter(|port| digits && *port != 0)?))
            }
            _ => (text, None),
        };
        if host.starts_with('[') {
            let address: SocketAddrV6 = format!("{host}:0").parse().ok()?;
            return Some(Self { name: IpAddr::V6(*address.ip()).into(), zone: address.scope_id(), port });
        }
        let name = match host.parse::<Ipv4Addr>() {
            Ok(address) => IpAddr::V4(address).into(),
            Err(_) => ServerName::try_from(host).ok()?.to_owned(),
        };
        Some(Self { name, zone: 0, port })
    }

    /// The address, if the host is an address or `localhost`.
    fn address(&self, port: u16) -> Option<SocketAddr> {
        let address = match &self.name {
            ServerName::IpAddress(address) => IpAddr::from(*address),
            ServerName::DnsName(name) if name.as_ref() == "localhost" => Ipv4Addr::LOCALHOST.into(),
            _ => return None,
        };
        Some(match address {
            IpAddr::V4(address) => SocketAddr::from((address, port)),
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, self.zone).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Url, Problem> {
        Url::read(text.to_owned())
    }

    fn read(text: &str, connect: Option<&str>) -> Result<Url, Problem> {
        let connect = connect.map(|text| Connect::read(text.to_owned())).transpose()?;
        parsed(text)?.at(connect.as_ref())
    }

    #[test]
    fn a_url_gives_an_address_and_a_path() {
        for (text, connect, address, path) in [
            ("http://127.0.0.1:8080/hook?x=1", None, "127.0.0.1:8080", "/hook?x=1"),
            ("http://192.0.2.7", None, "192.0.2.7:80", "/"),
            ("https://192.0.2.7", None, "192.0.2.7:443", "/"),
            ("http://[2001:db8::1]:81/", None, "[2001:db8::1]:81", "/"),
            ("https://[2001:db8::1]?a", None, "[2001:db8::1]:443", "/?a"),
            ("http://[fe80::1%2]/", None, "[fe80::1%2]:80", "/"),
            ("http://localhost:9000/a", None, "127.0.0.1:9000", "/a"),
            ("https://inventory.example/a", Some("192.0.2.7"), "192.0.2.7:443", "/a"),
            ("https://inventory.example:8443/a", Some("192.0.2.7"), "192.0.2.7:8443", "/a"),
            ("https://inventory.example/a", Some("[2001:db8::7]:8443"), "[2001:db8::7]:8443", "/a"),
            ("http://inventory.example", Some("localhost:81"), "127.0.0.1:81", "/"),
            ("https://192.0.2.7/", Some("127.0.0.1:8443"), "127.0.0.1:8443", "/"),
        ] {
            let url = read(text, connect).unwrap();
            assert_eq!(
                (url.address.unwrap().to_string().as_str(), url.path.as_str()),
                (address, path),
                "{text}"
            );
        }
        for text in [
            "",
            "192.0.2.7",
            "ftp://192.0.2.7/",
            "http://",
            "https://:443/",
            "http://u@192.0.2.7/",
            "https://u@inventory.example/",
            "http://192.0.2.7:x/",
            "http://192.0.2.7:/",
            "http://192.0.2.7:0/",
            "http://192.0.2.7:+1/",
            "http://192.0.2.300/",
            "http://192.0.2.7/a b",
            "http://192.0.2.7/a#b",
            "http://192.0.2.7/<a>",
            "http://2001:db8::1/",
            "https://[192.0.2.7]/",
            "https://[2001:db8::1/",
            "https://2001:db8::1]/",
            "https://[2001:db8::1]x/",
            "https://[2001:db8::1]:80:80/",
            "http://[fe80::1%eth0]/",
            "https://inventory.example:65536/",
            "https://b\u{fc}ro.example/",
        ] {
            assert!(read(text, Some("192.0.2.7")).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_alone_is_refused_and_the_error_says_what_to_write() {
        let said = read("https://inventory.example/", None).unwrap_err().to_string();
        assert!(said.contains("connect = \"ADDRESS\""), "{said}");
        for connect in ["", "other.example", "2001:db8::1", "192.0.2.7:", "192.0.2.7/24", "https://192.0.2.7"]
        {
            let said = read("https://inventory.example/", Some(connect)).unwrap_err();
            assert!(said.to_string().starts_with(&format!("{connect:?} is not an address to connect to")));
        }
    }

    #[test]
    fn the_certificate_must_name_the_host_of_the_url_even_with_connect() {
        let written = parsed("https://inventory.example:8443/").unwrap();
        assert_eq!(
            (written.name.to_str().as_ref(), written.host.as_str()),
            ("inventory.example", "inventory.example:8443")
        );
        assert_eq!(
            read(&written.text, Some("192.0.2.7")).unwrap().to_string(),
            "https://inventory.example:8443/ at 192.0.2.7:8443"
        );
        let secret = read("https://192.0.2.7/services/T0secret?token=abcdefgh", Some("localhost")).unwrap();
        assert_eq!(secret.to_string(), "https://192.0.2.7/... at 127.0.0.1:443");
        for said in [
            "no route to https://192.0.2.7/services/T0secret?token=abcdefgh here",
            "POST /services/T0secret?token=abcdefgh",
            "bad token abcdefgh",
            "T0secret",
        ] {
            let hidden = secret.hide(said);
            assert!(!hidden.contains("secret") && !hidden.contains("abcdefgh"), "{hidden}");
        }
        assert_eq!(parsed("https://[2001:db8::1]/").unwrap().name.to_str(), "2001:db8::1");
    }
}
