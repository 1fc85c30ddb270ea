//! Whether a web browser sends a request: a page that is open on this machine can make its browser call our listener.
//!
//! Promises: requests with the fields that browsers add and pages cannot leave out are refused at every listener: dockerd never
//! sends them. Over plain TCP, a `Host` that dockerd would not send is refused, too: a page may have a name that points here
//! for a moment (DNS rebinding). Refuses nothing else.

use std::net::{IpAddr, Ipv6Addr};

use crate::server::{HttpRequest, Peer};
use crate::text;

/// The fields that it looks at.
pub(super) const FIELDS: [&str; 4] = ["host", "origin", "referer", "sec-*"];
/// A message quotes this many bytes of a foreign field.
const SHOWN: usize = 100;

/// Names under which dockerd may call us over plain TCP, besides addresses; `None` where no foreign name can lead here: a
/// UNIX socket does not have an address, and our certificate is not valid for a foreign name.
pub type HostNames = Option<Vec<String>>;

/// Why a request is refused, if it must be.
pub(super) fn refusal(request: &HttpRequest, names: &HostNames) -> Option<String> {
    if let Some((name, value)) = request.fields.iter().find(|(name, _)| *name != "host") {
        let sign = match *name {
            "sec-*" => "a Sec- field".to_owned(),
            name => format!("{name}: {}", text::cut(value, SHOWN)),
        };
        let text = format!(
            "a web browser sent this request ({sign}); this listener answers Docker Engines only; nothing was changed"
        );
        return Some(text);
    }
    let names = names.as_ref().filter(|_| matches!(request.peer, Peer::Tcp(_)))?;
    let mut hosts = request.values("host");
    let host = hosts.next().unwrap_or_default();
    if hosts.next().is_none() && is_ours(host, names) {
        return None;
    }
    let host = text::cut(host, SHOWN);
    let text = format!(
        "this listener does not serve the name {host:?}; nothing was changed; if an Engine uses that name, set advertise"
    );
    Some(text)
}

/// Nothing (Engine 20.10), an address, or a name that we or dockerd gave.
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
