//! A daemon with a web page and data to show on it.

use serde_json::json;

use super::browser::{Browser, Tab};
use super::daemon::{Daemon, House, until};

/// Two pools of documentation prefixes, one of them wide.
pub const TOML: &str = "reserved = [\"198.51.100.0/28\", \"203.0.113.64-203.0.113.79\"]\n[gc]\nengine = \"\"\n\
    [[pool]]\nname = \"dmz\"\nv4 = { base = \"198.51.100.0/24\", size = 28 }\n\
    v6 = { base = \"2001:db8:d::/48\", size = 64, addresses = \"stable\" }\n\
    [[pool]]\nname = \"lan\"\nv4 = { base = \"10.20.0.0/16\", size = 24 }\n";

/// Pools of three hosts: one that is divided, and one LAN.
const DIVIDED: &str = "[gc]\nengine = \"\"\n[[pool]]\nname = \"routed\"\nv4 = { base = \"10.20.0.0/16\", size = 24, slice = 20 }\n\
    [[pool]]\nname = \"lan\"\nv4 = { base = \"198.51.100.0/24\", slice = 28, shared = true, gateway = \"198.51.100.1\" }\n";

/// Who has which part of them.
const PLAN: &str = r#"
[[pool]]
base = "10.20.0.0/16"
slice = 20
[[pool]]
base = "198.51.100.0/24"
slice = 28
[[host]]
name = "a"
via = ["192.0.2.11"]
slices = ["10.20.0.0/20", "198.51.100.16/28"]
[[host]]
name = "b"
via = ["192.0.2.12"]
slices = ["10.20.16.0/20", "10.20.48.0/20", "198.51.100.32/28"]
[[host]]
name = "c"
via = ["192.0.2.13"]
slices = ["10.20.32.0/20", "198.51.100.64/28"]
"#;

/// A daemon that serves its web page.
pub struct Site {
    pub house: House,
    pub daemon: Daemon,
    pub address: String,
    /// The directory of its Engine's socket, if it has an Engine.
    pub _engine: Option<tempfile::TempDir>,
}

/// Rewrites the times in a stopped daemon's books as if everything had taken twenty hours.
fn spread(books: &std::path::Path) {
    let books = rusqlite::Connection::open(books).unwrap();
    let most: i64 = books.query_row("SELECT max(seq) FROM history", [], |row| row.get(0)).unwrap();
    let now: i64 = books.query_row("SELECT max(at) FROM history", [], |row| row.get(0)).unwrap();
    books.execute_batch("BEGIN").unwrap();
    for seq in 1..=most {
        // Some hours are busy, some are quiet.
        let part = seq as f64 / most as f64;
        let wave = (part * 19.0).sin() * 0.022;
        let before = (72_000_000.0 * (1.0 - (part + wave).clamp(0.0, 1.0))) as i64;
        books.execute("UPDATE history SET at = ?2 WHERE seq = ?1", [seq, now - before]).unwrap();
    }
    let since = "UPDATE addresses SET since = coalesce((SELECT max(at) FROM history WHERE address = addresses.address), since) \
                 WHERE leased; \
                 UPDATE subnets SET granted_at = coalesce((SELECT max(at) FROM history WHERE subnet = prefix \
                 AND event = 'subnet granted'), granted_at); COMMIT";
    books.execute_batch(since).unwrap();
}

impl Site {
    pub fn new(toml: &str) -> Site {
        Site::of(House::with_toml(&format!("http = \"0\"\n{toml}")))
    }

    pub fn of(house: House) -> Site {
        let daemon = house.start();
        Site::serving(house, daemon)
    }

    /// The page of a daemon that already runs.
    pub fn serving(house: House, daemon: Daemon) -> Site {
        let address = until("the log names the page's address", || {
            let log = house.log();
            let rest = log.split("are at ").nth(1)?;
            Some(rest.split_whitespace().next()?.to_owned())
        });
        Site { house, daemon, address, _engine: None }
    }

    /// Networks in all states: full, half full, released; IPv6; outside all pools.
    pub fn populated() -> Site {
        let site = Site::new(TOML);
        site.populate();
        site
    }

    /// Host a of three that share a pool and a LAN, with a network in each. Also returns the directory of the plan file.
    pub fn among_hosts() -> (Site, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let plan = directory.path().join("plan.toml");
        std::fs::write(&plan, PLAN).unwrap();
        let site = Site::new(&format!("{DIVIDED}[plan]\nfile = {plan:?}\nhost = \"a\"\n"));
        let mut wire = site.daemon.wire();
        for (pool, containers) in [("", 9), ("", 3), ("198.51.100.0/24", 5)] {
            let asked =
                json!({"AddressSpace": "local", "Pool": pool, "SubPool": "", "Options": {}, "V6": false});
            let (id, _) = wire.pool(&asked);
            for _ in 0..containers {
                wire.address(&id, "", json!({}));
            }
        }
        (site, directory)
    }

    /// Like [`Self::populated`], with an Engine that names everything, and with a day of history.
    pub fn with_names() -> Site {
        let engine = tempfile::tempdir().unwrap();
        let socket = engine.path().join("engine.sock");
        let shown = super::engine::start(&socket);
        let site = Site::new(
            &TOML.replace("engine = \"\"", &format!("engine = {:?}", socket.display().to_string())),
        );
        site.populate();
        *shown.lock().unwrap() = super::engine::networks(&site.daemon.view("/v1/leases"));
        until("all names are known", || {
            let leases = site.daemon.view("/v1/leases");
            let named =
                |lease: &serde_json::Value| lease["kind"] != "endpoint" || lease["network"].is_string();
            leases.as_array().unwrap().iter().all(named).then_some(())
        });
        let Site { house, daemon, .. } = site;
        assert!(daemon.stop().success());
        spread(&house.path("gipam.db"));
        let site = Site { _engine: Some(engine), ..Site::of(house) };
        until("the Engine answers", || (site.daemon.view("/v1/gc") == json!([])).then_some(()));
        site
    }

    /// Like [`Self::with_names`], with many problems: an unreachable Engine, failing hooks, pools that fill
    /// up, and changes made by hand.
    pub fn troubled() -> Site {
        let hooks = "[[hook]]\nname = \"dns\"\ncommand = [\"sh\", \"dns.sh\"]\n\
            [[hook]]\nname = \"audit\"\ncommand = [\"true\"]\nevents = [\"subnet_granted\"]\n";
        let pools = TOML.replace("engine = \"\"", "engine = \"/nowhere/docker.sock\"");
        let house = House::with_toml("");
        let script =
            "[ -e well ] || { echo connection refused: could not reach any name server >&2; exit 1; }\n";
        std::fs::write(house.path("dns.sh"), script).unwrap();
        house.configure(&format!("http = \"0\"\nwarn_at = \"60%\"\n{pools}{hooks}"));
        let site = Site::of(house);
        site.populate();
        for command in [
            &["reserve", "198.51.100.128/28"][..],
            &["reserve", "10.20.200.0-10.20.203.255"],
            &["pin", "printer", "10.20.0.250"],
        ] {
            let done = site.house.gipam(command);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        until("gipam knows all problems", || {
            let status = site.daemon.view("/v1/status");
            (status["hooks"][0]["failing_since"].is_string()
                && status["hooks"][1]["behind"] == 0
                && status["filling"].as_array().unwrap().len() >= 2
                && status["engine"] == false)
                .then_some(())
        });
        site
    }

    /// Like [`Self::populated`], with six hundred more networks, some fuller than others.
    pub fn with_six_hundred_subnets() -> Site {
        let site = Site::new(&TOML.replace("10.20.0.0/16", "10.0.0.0/12"));
        site.populate();
        let mut wire = site.daemon.wire();
        let pool = json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": {"pool": "lan"}, "V6": false});
        for at in 0..600 {
            let (id, _) = wire.pool(&pool);
            for endpoint in 0..(at * 7 % 13) {
                wire.address(
                    &id,
                    "",
                    json!({"com.docker.network.endpoint.name": format!("job-{at}-{endpoint}")}),
                );
            }
            if at % 17 == 3 {
                wire.release_pool(&id);
            }
        }
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

    /// Opens the page and waits until it is drawn.
    pub fn open<'a>(&self, browser: &'a mut Browser, width: u32, height: u32, dark: bool) -> Tab<'a> {
        let mut tab = browser.tab(width, height, dark);
        tab.open(&self.address);
        tab.until("document.documentElement?.dataset.drawn >= 1 && document.querySelector('#live')?.dataset.state === 'live'");
        tab
    }
}
