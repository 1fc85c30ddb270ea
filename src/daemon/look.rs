//! What this host uses, in the plan's words.
//!
//! Promises: a look that fails is logged and does not stop a choice. Asks the kernel each time: routes come and go.

use std::sync::Arc;

use crate::host::{self, InUseKind as HostKind};
use crate::plan::prefix::Prefix;
use crate::plan::request::{InUse, InUseKind};

/// Looks now.
pub(super) fn look() -> Arc<[InUse]> {
    let survey = host::survey();
    for error in &survey.errors {
        tracing::warn!("{error}; subnets are chosen without it");
    }
    let in_use = survey.in_use.into_iter().map(|used| InUse {
        prefix: Prefix::from_net(used.prefix),
        kind: match used.kind {
            HostKind::InterfaceAddress => InUseKind::InterfaceAddress,
            HostKind::Nameserver => InUseKind::Nameserver,
            HostKind::OnLinkV4Route => InUseKind::OnLinkV4Route,
            HostKind::Route => InUseKind::Route,
        },
        text: used.text,
    });
    in_use.collect()
}
