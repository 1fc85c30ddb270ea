//! The page and the metrics: the address where they are served, and the accepted host names.
//!
//! Promises: off unless configured; a port alone means loopback; an address that others can reach causes a warning.
//! Does not bind.

use super::door::TcpAddress;
use super::error::{ConfigError, Problem, problem};
use super::keys::Values;
use super::options;
use super::origin::Origin;
use super::resolve::Resolver;

/// Where the page and the metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where to listen.
    pub address: TcpAddress,
    /// Accepted host names, in addition to addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The number of subnets for which the metrics count addresses individually.
    pub subnets: usize,
}

/// Reads `PORT`, `:PORT` (both loopback) or `HOST:PORT`.
fn address(text: &str) -> Result<TcpAddress, Problem> {
    let port = text.strip_prefix(':').unwrap_or(text);
    let refuse = || {
        problem!(
            "{text:?} is not an address for the page; write PORT (on loopback), HOST:PORT or [IPV6]:PORT"
        )
    };
    if port.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = port.parse().map_err(|_| refuse())?;
        return Ok(TcpAddress { host: "127.0.0.1".to_owned(), port });
    }
    TcpAddress::parse(text).map_err(|_| refuse())
}

/// Whether only this machine can reach the address, judging by its text (names are not resolved).
fn is_loopback(address: &TcpAddress) -> bool {
    let parsed = address.host.parse::<std::net::IpAddr>();
    address.host == "localhost" || parsed.is_ok_and(|address| address.is_loopback())
}

/// Reads the settings from the configuration.
pub(super) fn resolve(resolver: &mut Resolver<'_>, values: &Values) -> Result<Option<Http>, ConfigError> {
    let mut hosts = Vec::new();
    for written in &resolver.document.top.http_hosts {
        let good = |text: &String| {
            let letters =
                text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
            if letters && !text.is_empty() {
                Ok(text.to_ascii_lowercase())
            } else {
                Err(problem!(
                    "{text:?} is not a host name; write letters, digits, '-' and '.', without a port"
                ))
            }
        };
        hosts.push(resolver.document.value(written, good)?);
    }
    let origin = resolver.document_origin(resolver.document.top.http_hosts.first());
    resolver.show("http_hosts", hosts.join(", "), origin);
    let Some(written) = resolver.text(options::HTTP, resolver.document.top.http.as_ref()) else {
        resolver.show("http", "-", Origin::Default);
        return Ok(None);
    };
    let address = resolver.read(&written, address)?;
    if !is_loopback(&address) {
        resolver.warnings.push(format!(
            "the page and the metrics at {address} do not ask for a password: everybody who can reach that address sees every subnet, \
             lease and holder"
        ));
        if hosts.is_empty() {
            resolver.warnings.push(format!(
                "the page at {address} answers only to IP addresses and localhost, because any other name could be made to \
                 point here (DNS rebinding); add its name to http_hosts"
            ));
        }
    }
    resolver.show("http", &address, written.origin);
    Ok(Some(Http { address, hosts, subnets: values.metrics_subnets.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_loopback() {
        for text in ["9468", ":9468", "127.0.0.1:9468"] {
            assert_eq!(
                address(text).map(|found| found.to_string()),
                Ok("127.0.0.1:9468".to_owned()),
                "{text}"
            );
        }
        assert_eq!(address("[::1]:80").map(|found| found.to_string()), Ok("[::1]:80".to_owned()));
        for text in ["", "host", "host:", "65536", ":-1", "http://x:1", "0x1"] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn loopback_differs_from_what_others_reach() {
        for (text, inside) in [
            (":1", true),
            ("localhost:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("host:1", false),
        ] {
            assert_eq!(address(text).map(|found| is_loopback(&found)), Ok(inside), "{text}");
        }
    }
}
