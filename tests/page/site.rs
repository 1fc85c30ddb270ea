//! A daemon with a page, and a world to look at.

use serde_json::json;

use super::browser::{Browser, Tab};
use super::daemon::{Daemon, House, until};

/// Two pools of documentation prefixes, one of them wide.
pub const TOML: &str = "reserved = [\"198.51.100.0/28\", \"203.0.113.64-203.0.113.79\"]\n[gc]\nengine = \"\"\n\
    [[pool]]\nname = \"dmz\"\nv4 = { base = \"198.51.100.0/24\", size = 28 }\n\
    v6 = { base = \"2001:db8:d::/48\", size = 64, addresses = \"stable\" }\n\
    [[pool]]\nname = \"lan\"\nv4 = { base = \"10.20.0.0/16\", size = 24 }\n";

/// A daemon that serves its page.
pub struct Site {
    pub house: House,
    pub daemon: Daemon,
    pub address: String,
}

impl Site {
    pub fn new(toml: &str) -> Site {
        Site::of(House::with_toml(&format!("http = \"0\"\n{toml}")))
    }

    pub fn of(house: House) -> Site {
        let daemon = house.start();
        let address = until("the log names the page's address", || {
            let log = house.log();
            let rest = log.split("are at ").nth(1)?;
            Some(rest.split_whitespace().next()?.to_owned())
        });
        Site { house, daemon, address }
    }

    /// Networks in all states: full, half full, released; IPv6; outside of all pools.
    pub fn populated() -> Site {
        let site = Site::new(TOML);
        site.populate();
        site
    }

    fn populate(&self) {
        let mut wire = self.daemon.wire();
        let gateway = json!({"RequestAddressType": "com.docker.network.gateway"});
        let pool = |pool: &str, v6: bool| json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": {"pool": pool}, "V6": v6});
        for (name, from, v6, endpoints) in [
            ("web", "dmz", false, 12),
            ("web", "dmz", true, 12),
            ("mail", "dmz", false, 5),
            ("build", "lan", false, 180),
            ("monitoring", "lan", false, 70),
            ("db", "lan", false, 22),
            ("backup", "lan", false, 3),
            ("old", "lan", false, 2),
            ("vpn", "dmz", true, 4),
        ] {
            let (id, _) = wire.pool(&pool(from, v6));
            wire.address(&id, "", gateway.clone());
            for at in 0..endpoints {
                let name = format!("{name}-{}", at + 1);
                let mac = format!("02:42:ac:{:02x}:{:02x}:{:02x}", name.len(), endpoints, at);
                let options = json!({"com.docker.network.endpoint.name": name, "com.docker.network.endpoint.macaddress": mac});
                let address = wire.address(&id, "", options);
                if at % 9 == 4 {
                    wire.release(&id, &address);
                }
            }
            if name == "old" {
                wire.release_pool(&id);
            }
        }
        let outside = json!({"AddressSpace": "local", "Pool": "203.0.113.0/25", "SubPool": "", "Options": {}, "V6": false});
        let (id, _) = wire.pool(&outside);
        wire.address(&id, "203.0.113.7", json!({"com.docker.network.endpoint.name": "printer"}));
    }

    /// The page, drawn once.
    pub fn open<'a>(&self, browser: &'a mut Browser, width: u32, height: u32, dark: bool) -> Tab<'a> {
        let mut tab = browser.tab(width, height, dark);
        tab.open(&self.address);
        tab.until("document.documentElement?.dataset.drawn >= 1 && document.querySelector('#live')?.dataset.state === 'live'");
        tab
    }
}
