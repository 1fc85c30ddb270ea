//! IPv6 requests that were refused: Docker requests the IPv4 address of an endpoint first, and if IPv6 is
//! refused, it abandons the endpoint and never releases the IPv4 half (P20).
//!
//! Promises: bounded and short-lived, in memory only: repair finds leases that are forgotten here. Records
//! only which requests were refused, and when; the plan decides whether a lease is the other half.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use smol_str::SmolStr;

use crate::plan::request::{AddressRequest, Half, Mac};
use crate::plan::settings::Millis;

/// The maximum number of refused halves remembered.
const MOST: usize = 256;
/// How long a refused half is remembered.
const KEPT: Duration = Duration::from_secs(60);

/// The halves that were refused recently; shared by all listeners.
#[derive(Debug, Default)]
pub struct Halves(Mutex<VecDeque<(Instant, Half)>>);

impl Halves {
    /// The holder to remember if this request is refused. The PoolID of an IPv6 subnet contains the prefix;
    /// one from an old lease file does not, and its requests are not remembered.
    pub fn of_v6(request: &AddressRequest) -> Option<(Option<SmolStr>, Mac)> {
        let is_half = !request.gateway && request.id.contains(':');
        request.mac.filter(|_| is_half).map(|mac| (request.name.clone(), mac))
    }

    /// Records that this half was refused at this time.
    pub fn refused(&self, (name, mac): (Option<SmolStr>, Mac), at: Millis) {
        let Ok(mut halves) = self.0.lock() else { return };
        if halves.len() == MOST {
            halves.pop_front();
        }
        halves.push_back((Instant::now(), Half { name, mac, at }));
    }

    /// The last half that was refused to the container that now requests the other one.
    pub fn of(&self, request: &AddressRequest) -> Option<Half> {
        if request.gateway || request.id.contains(':') {
            return None;
        }
        let halves = self.0.lock().ok()?;
        let fresh = halves.iter().rev().take_while(|(at, _)| at.elapsed() < KEPT);
        fresh.map(|(_, half)| half).find(|half| half.is_of(request)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(id: &str, name: Option<&str>, mac: Option<u8>) -> AddressRequest {
        let mac = mac.map(|mac| Mac([2, 0, 0, 0, 0, mac]));
        AddressRequest { id: id.to_owned(), name: name.map(Into::into), mac, ..AddressRequest::default() }
    }

    #[test]
    fn p20_a_refused_half_is_found_by_its_name_or_if_it_has_none_by_its_mac() {
        let halves = Halves::default();
        let refused = |halves: &Halves, asked: &AddressRequest, at| {
            if let Some(half) = Halves::of_v6(asked) {
                halves.refused(half, at);
            }
        };
        refused(&halves, &asked("local/2001:db8::/64#0", Some("web"), Some(1)), 7);
        refused(&halves, &asked("local/2001:db8::/64#0", None, Some(2)), 8);
        refused(&halves, &asked("local/2001:db8::/64#0", Some("db"), None), 9);
        refused(&halves, &asked("local/10.0.0.0/24#0", Some("cache"), Some(3)), 9);
        let four = "local/10.0.0.0/24#0";
        let at = |name, mac| halves.of(&asked(four, name, mac)).map(|half| half.at);
        assert_eq!(at(Some("web"), Some(9)), Some(7), "Docker generates another MAC for the next attempt");
        assert_eq!(at(None, Some(2)), Some(8));
        assert_eq!(at(None, Some(1)), None, "the refused request had a name");
        assert_eq!(at(Some("db"), None), None, "only a name: the request may be another endpoint's");
        assert_eq!(at(Some("cache"), Some(3)), None, "not IPv6");
        assert_eq!(
            halves.of(&asked("local/2001:db8::/64#0", Some("web"), Some(1))),
            None,
            "IPv6 was not requested either"
        );
        for n in 0..MOST {
            refused(&halves, &asked("local/2001:db8::/64#0", Some(&format!("n{n}")), Some(1)), 10);
        }
        assert_eq!(at(Some("web"), Some(9)), None, "the oldest are forgotten");
    }
}
