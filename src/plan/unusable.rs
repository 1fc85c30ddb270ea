//! Whether the host's own use leaves anything of a pool. For views only: a choice looks at each place by itself (see `place`).
//!
//! Promises: pure; returns `None` for a pool with something left.

use super::Plan;
use super::intervals::Intervals;
use super::prefix::Prefix;
use super::request::{InUse, InUseKind};

impl Plan {
    /// Why nothing of this base can be given on a host with these prefixes in use, if so.
    pub fn unusable(base: Prefix, in_use: &[InUse]) -> Option<String> {
        let (mut taken, mut first) = (Intervals::default(), None);
        for used in in_use.iter().filter(|used| used.prefix.overlaps(base)) {
            let over_all = used.prefix.contains(base);
            if over_all && used.kind == InUseKind::OnLinkV4Route {
                return Some(format!(
                    "lies in the on-link route {}, so Docker would refuse all of it",
                    used.text
                ));
            }
            // A route over the whole pool is how pools are routed here.
            if !over_all || matches!(used.kind, InUseKind::InterfaceAddress | InUseKind::Nameserver) {
                taken.insert(used.prefix.first(), used.prefix.last());
                first.get_or_insert(used);
            }
        }
        let whole = taken.around(base.first()).is_some_and(|(_, end)| end >= base.last());
        first.filter(|_| whole).map(|used| format!("this host uses all of it: {}", used.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(prefix: &str, kind: InUseKind) -> InUse {
        InUse { prefix: Prefix::parse(prefix).unwrap(), kind, text: format!("{prefix} dev x") }
    }

    #[test]
    fn a_base_is_unusable_only_where_nothing_of_it_is_left() {
        let base = Prefix::parse("198.51.100.0/24").unwrap();
        let why = |in_use: &[InUse]| Plan::unusable(base, in_use);
        let (route, link) = (InUseKind::Route, InUseKind::OnLinkV4Route);
        let address = InUseKind::InterfaceAddress;
        for in_use in [
            vec![],
            vec![used("198.51.0.0/16", route)],
            vec![used("198.51.100.0/25", address)],
            vec![used("198.51.100.0/25", link), used("198.51.100.128/26", route)],
            vec![used("203.0.113.0/24", link)],
        ] {
            assert_eq!(why(&in_use), None, "{in_use:?}");
        }
        for in_use in [
            vec![used("198.51.0.0/16", link)],
            vec![used("198.51.100.0/24", address)],
            vec![used("198.51.100.0/25", link), used("198.51.100.128/25", route)],
        ] {
            assert!(why(&in_use).is_some_and(|why| why.contains("dev x")), "{in_use:?}");
        }
    }
}
