//! Whether the host's own use leaves anything of a pool. For views only: a choice looks at each place by itself (see `place`).
//!
//! Promises: pure; returns `None` for a pool with something left.

use super::Plan;
use super::host_use::HostUse;
use super::prefix::Prefix;
use super::request::InUseKind;

impl Plan {
    /// Why no part of this base can be given on a host with these prefixes in use, if so.
    pub fn unusable(base: Prefix, in_use: &HostUse) -> Option<String> {
        if let Some(used) = in_use.over(base).find(|used| used.kind == InUseKind::OnLinkV4Route) {
            return Some(format!(
                "lies in the on-link route {}, so Docker would refuse all of it",
                used.text
            ));
        }
        let whole = in_use.blocked(base).around(base.first()).is_some_and(|(_, end)| end >= base.last());
        let used = in_use.first_in(base).filter(|_| whole)?;
        Some(format!("this host uses all of it: {}", used.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::request::InUse;

    fn used(prefix: &str, kind: InUseKind) -> InUse {
        InUse { prefix: Prefix::parse(prefix).unwrap(), kind, text: format!("{prefix} dev x") }
    }

    #[test]
    fn a_base_is_unusable_only_where_nothing_of_it_is_left() {
        let base = Prefix::parse("198.51.100.0/24").unwrap();
        let why = |in_use: &[InUse]| Plan::unusable(base, &in_use.iter().cloned().collect());
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
