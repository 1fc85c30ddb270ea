//! `proxy_ndp` of the uplinks: the kernel uses IPv6 proxy entries only on interfaces where this setting is on.
//!
//! Promises: gipam switches it on only where it is off, writes into the books that it will, and switches it off again when no pool needs
//! it, also after a crash. A setting that was on already is not gipam's and stays. Forwarding is Docker's matter.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::places::record;
use crate::ledger::Ledger;

/// Under which key the books keep what gipam has switched on.
pub const SYSCTLS: &str = "edge_sysctls";

/// An interface on which gipam switched `proxy_ndp` on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct OwnSysctl {
    interface: String,
    /// Another interface of the same name has another index, and its own settings.
    index: u32,
    /// The boot of the machine in which it was switched on.
    boot: String,
}

/// The settings that gipam has switched on.
#[derive(Debug)]
pub(super) struct Sysctls {
    ledger: Ledger,
    boot: String,
    own: BTreeSet<OwnSysctl>,
    /// Switching one on failed for a reason that may pass without a notification of the kernel: the books could not be written.
    must_retry: bool,
}

impl Sysctls {
    /// `kept` is what the books contain under [`SYSCTLS`].
    pub(super) fn new(ledger: Ledger, boot: String, kept: Option<&str>) -> Self {
        let own: Vec<OwnSysctl> = kept.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let own = own.into_iter().filter(|own| own.boot == boot).collect();
        Self { ledger, boot, own, must_retry: false }
    }

    /// Whether to call `keep` again by itself after a while.
    pub(super) const fn must_retry(&self) -> bool {
        self.must_retry
    }

    /// Switches the setting on for these interfaces, and off again where gipam had switched it on for others; returns what does
    /// not work.
    pub(super) async fn keep(&mut self, uplinks: &BTreeSet<&str>) -> Option<String> {
        let surplus: Vec<OwnSysctl> =
            self.own.iter().filter(|own| !uplinks.contains(own.interface.as_str())).cloned().collect();
        for own in surplus {
            self.put_back(&own).await;
        }
        let mut trouble = None;
        self.must_retry = false;
        for uplink in uplinks {
            if let Err(error) = self.switch_on(uplink).await {
                self.must_retry |= matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Other);
                trouble.get_or_insert_with(|| format!(
                    "proxy_ndp of {uplink} is off, so the host does not answer there, and gipam cannot switch it on ({error}): \
                     sysctl -w net.ipv6.conf.{}.proxy_ndp=1, or install the drop-in kernel-routes.conf (see docs/install.md)",
                    uplink.replace('.', "/")
                ));
            }
        }
        trouble
    }

    async fn switch_on(&mut self, uplink: &str) -> io::Result<()> {
        let path = path(uplink);
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim() == "0" => {}
            // On already, or there is no such interface.
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        // What cannot be written must not become gipam's.
        std::fs::OpenOptions::new().write(true).open(&path)?;
        let own = OwnSysctl { interface: uplink.to_owned(), index: index(uplink), boot: self.boot.clone() };
        let mut all = self.own.clone();
        all.retain(|known| known.interface != uplink);
        all.insert(own);
        self.record(all).await?;
        std::fs::write(&path, "1\n")?;
        tracing::info!(
            "proxy_ndp of {uplink} is switched on; gipam switches it off again when no pool needs it"
        );
        Ok(())
    }

    /// Switches a setting off that gipam switched on, unless the interface is another one now.
    async fn put_back(&mut self, own: &OwnSysctl) {
        let uplink = &own.interface;
        if index(uplink) == own.index && own.index != 0 {
            if let Err(error) = std::fs::write(path(uplink), "0\n") {
                tracing::warn!("proxy_ndp of {uplink} stays on: {error}");
                return;
            }
            tracing::info!("proxy_ndp of {uplink} is switched off again");
        }
        let mut all = self.own.clone();
        all.remove(own);
        if let Err(error) = self.record(all).await {
            tracing::debug!("the books still say that gipam switched proxy_ndp of {uplink} on: {error}");
        }
    }

    /// Writes into the books which settings are gipam's.
    async fn record(&mut self, own: BTreeSet<OwnSysctl>) -> io::Result<()> {
        record(&self.ledger, SYSCTLS, serde_json::to_string(&own)?).await?;
        self.own = own;
        Ok(())
    }
}

fn path(interface: &str) -> PathBuf {
    ["/proc/sys/net/ipv6/conf", interface, "proxy_ndp"].iter().collect()
}

/// The index of an interface; 0 if it does not exist.
fn index(interface: &str) -> u32 {
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None);
    socket.and_then(|socket| rustix::net::netdevice::name_to_index(&socket, interface)).unwrap_or_default()
}
