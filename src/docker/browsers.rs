//! Detects requests from web browsers: a page that is open on this machine can make its browser call our
//! listener.
//!
//! Promises: every listener refuses requests with header fields that browsers add and that pages cannot
//! suppress; dockerd never sends them. Over plain TCP, a `Host` that dockerd would not send is refused, too,
//! because a page can have a name that resolves to this host for a moment (DNS rebinding). Does not refuse
//! other requests.

use std::net::{IpAddr, Ipv6Addr};

use crate::server::{HttpRequest, Peer};
use crate::text;

/// How many bytes of a foreign header field a message quotes.
const SHOWN: usize = 100;

/// Names, besides addresses, that dockerd may use to call us over plain TCP; `None` if no foreign name can
/// lead here: a UNIX socket does not have an address, and our certificate is not valid for a foreign name.
pub type HostNames = Option<Vec<String>>;

/// Why a request must be refused; `None` if it is accepted.
pub(super) fn refusal(request: &HttpRequest, names: &HostNames) -> Option<String> {
    let mut signs = request.fields.keys().filter_map(|name| match name.as_str() {
        "origin" | "referer" => {
            let value = request.values(name.as_str()).next().unwrap_or_default();
            Some(format!("{name}: {}", text::cut(&value, SHOWN)))
        }
        name => name.starts_with("sec-").then(|| "a Sec- field".to_owned()),
    });
    if let Some(sign) = signs.next() {
        let text = format!(
            "a web browser sent this request ({sign}); this listener answers Docker Engines only; nothing was changed"
        );
        return Some(text);
    }
    let names = names.as_ref().filter(|_| matches!(request.peer, Peer::Tcp(_)))?;
    let mut hosts = request.values("host");
    let host = hosts.next().unwrap_or_default();
    if hosts.next().is_none() && is_ours(&host, names) {
        return None;
    }
    let host = text::cut(&host, SHOWN);
    let text = format!(
        "this listener does not serve the name {host:?}; nothing was changed; if an Engine uses that name, set advertise"
    );
    Some(text)
}

/// Whether the host is empty (Engine 20.10), an address, or a name that we or dockerd chose.
fn is_ours(host: &str, names: &[String]) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let known = |known: &str| known.eq_ignore_ascii_case(name);
    name.is_empty()
        || name.parse::<IpAddr>().is_ok()
        || ["localhost", "plugin.moby.localhost"].into_iter().any(known)
        || names.iter().any(|name| known(name))
}
