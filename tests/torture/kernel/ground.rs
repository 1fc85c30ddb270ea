//! THE KERNEL OF A HOST: a network namespace with objects that other programs have made, some of them in the very places of gipam's,
//! and everything that is in it.
//!
//! Promises: reads routes of all tables, proxy entries, nftables and the settings of all interfaces, so that an object counts whoever made
//! it; a foreign object that was removed and made again counts as touched (nftables number their objects, and the kernel reports routes).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::cluster::lan::Holder;
use crate::daemon::until;

/// The links, and what others have made: outside of gipam's pools with its protocol number 171, inside of them with another one, and in
/// the places of [`TAKEN`].
const FOREIGN: &str = r#"ip link add eth0 type veth peer name wan0
for link in eth0 wan0; do ip link set $link addrgenmode none; ip link set $link up; done
until [ "$(ip -6 route show table all | grep -c '^multicast ff00::/8 dev [ew]')" = 2 ]; do sleep 0.02; done
ip addr add 192.0.2.11/24 dev eth0
ip -6 addr add 2001:db8:1::2/64 dev eth0 nodad
until ip -6 route show table local | grep -q '^local 2001:db8:1::2 '; do sleep 0.02; done
ip route add unreachable 10.8.0.0/16 proto static metric 65536
ip -6 route add unreachable 2001:db8:8::/56 proto 171 metric 65537
ip route add unreachable 10.7.0.0/16 proto 171 metric 65536
ip route add unreachable 10.8.0.0/16 proto 171 metric 65536 table 1000
ip route add 10.9.32.0/20 via 192.0.2.77 proto static metric 65535
ip route add 10.9.48.0/20 via 192.0.2.77 proto static metric 5
ip route add 10.9.16.0/20 via 192.0.2.77 proto 171 metric 65535 table 1000
ip route add 10.10.0.0/16 via 192.0.2.77 proto 171 metric 65535
ip -6 neigh add proxy 2001:db8:1::77 dev eth0
ip -6 neigh add proxy 2001:db8:1:0:8000::3 dev eth0
ip -6 neigh add proxy 2001:db8:1:0:8000::4 dev wan0
ip neigh add proxy 198.51.100.200 dev eth0 protocol 4
ip neigh add proxy 203.0.113.77 dev eth0 protocol 171
echo 1 >/proc/sys/net/ipv6/conf/wan0/proxy_ndp
nft -f - <<'END'
table ip6 foreign {
    set known { type ipv6_addr; elements = { 2001:db8::1, fd00:8:0:1::10 } }
    chain forward { type filter hook forward priority filter; policy drop; ip6 daddr fd00:8::/56 accept; }
    chain source { type nat hook postrouting priority srcnat; ip6 saddr fd00:9::/64 masquerade; }
}
table inet gipam {
    chain input { type filter hook input priority 0; }
}
END"#;

/// Places of gipam's objects that foreign ones have, as [`Snapshot::own`] would write them.
pub const TAKEN: [&str; 3] =
    ["discard 10.8.0.0/16", "route 10.9.32.0/20 ", "proxy 2001:db8:1:0:8000::3 on eth0"];

/// Everything that is in the kernel, one section after the other.
const LOOK: &str = "ip -d -4 route show table all; ip -d -6 route show table all; echo ----; ip -d neigh show proxy; echo ----
nft -a list ruleset; echo ----; grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf";

/// The only setting that gipam changes.
const PROXY_NDP: &str = "/proc/sys/net/ipv6/conf/eth0/proxy_ndp:1";

/// A namespace.
pub struct Ground {
    holder: Holder,
}

impl Ground {
    pub fn new() -> Ground {
        Ground { holder: Holder::new(FOREIGN) }
    }

    /// Works in the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.holder.inside(work)
    }
}

/// What was in the kernel at a moment; the calling thread is in the namespace.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// How often there is each object, as the tools print it.
    objects: BTreeMap<String, usize>,
    /// gipam's own table, without numbers.
    pub table: String,
}

impl Snapshot {
    pub fn take() -> Snapshot {
        let output = Command::new("sh").args(["-c", LOOK]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let (mut objects, mut table): (BTreeMap<String, usize>, String) = Default::default();
        let mut sections = text.split("----\n");
        for kind in ["route", "proxy", "nft", "setting"] {
            let section = sections.next().unwrap_or_default();
            let mut within = "";
            for line in section.lines().filter(|line| !line.trim().is_empty()) {
                if kind == "nft" && line.starts_with("table ") {
                    within = line.split(" {").next().unwrap_or_default();
                }
                if within == "table ip6 gipam" {
                    table += line.split(" # handle").next().unwrap_or_default();
                    table += "\n";
                    continue;
                }
                *objects.entry(format!("{kind} {within} {}", line.trim())).or_default() += 1;
            }
        }
        Snapshot { objects, table }
    }

    /// How many objects there are.
    pub fn count(&self) -> usize {
        self.objects.values().sum()
    }

    /// The objects that were not there `before`, each in the words of [`super::wanted`], or as it is printed if gipam never makes such a one;
    /// its table is left out.
    pub fn own(&self, before: &Snapshot) -> BTreeSet<String> {
        let is_new = |(object, count): &(&String, &usize)| before.objects.get(*object) != Some(*count);
        self.objects.iter().filter(is_new).map(|(object, _)| in_words(object)).collect()
    }

    /// The objects of `before` that are not there any more as they were.
    pub fn lost(&self, before: &Snapshot) -> Vec<String> {
        // gipam sets it back to what it was.
        let is_setting = |object: &str| object.ends_with(&PROXY_NDP.replace(":1", ":0"));
        let is_lost = |(object, count): &(&String, &usize)| {
            !is_setting(object) && self.objects.get(*object).is_none_or(|now| now < *count)
        };
        before.objects.iter().filter(is_lost).map(|(object, _)| object.clone()).collect()
    }

    /// The objects among these that are routes.
    fn routes(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().filter_map(|object| object.strip_prefix("route  "))
    }
}

/// gipam's object that a printed line is.
fn in_words(object: &str) -> String {
    let words: Vec<&str> = object.split_whitespace().collect();
    let after = |key: &str| {
        let at = words.iter().position(|word| *word == key)?;
        words.get(at + 1).copied()
    };
    let is_own = after("proto") == Some("171") && after("table").is_none_or(|table| table == "main");
    match &words[..] {
        ["route", "unreachable", prefix, ..] if is_own && after("metric") == Some("65536") => {
            format!("discard {prefix}")
        }
        ["route", "blackhole", prefix, ..] if is_own && after("metric") == Some("65535") => {
            format!("route {prefix} discard")
        }
        ["route", "unicast", prefix, "via", via, ..] if is_own && after("metric") == Some("65535") => {
            format!("route {prefix} via {via}")
        }
        ["proxy", address, "dev", link, ..] if is_own => format!("proxy {address} on {link}"),
        ["setting", PROXY_NDP] => "proxy_ndp on eth0".to_owned(),
        _ => object.to_owned(),
    }
}

/// Writes down every change of a route in the namespace, from now on.
pub struct Monitor {
    child: Child,
    path: PathBuf,
}

impl Monitor {
    pub fn start(directory: &Path) -> Monitor {
        let path = directory.join("monitor");
        let file = File::create(&path).unwrap();
        let child = Command::new("ip")
            .args(["-d", "monitor", "route"])
            .stdin(Stdio::null())
            .stdout(file)
            .spawn()
            .unwrap_or_else(|error| panic!("ip: {error}"));
        let monitor = Monitor { child, path };
        monitor.until_seen();
        monitor
    }

    /// Waits until everything so far is written down: until a route that is made and removed now is.
    fn until_seen(&self) {
        let before = self.lines().len();
        until("the monitor sees a route", || {
            for verb in ["add", "del"] {
                let words = ["route", verb, "blackhole", "192.0.2.255/32", "metric", "7"];
                assert!(Command::new("ip").args(words).status().unwrap().success());
            }
            let lines = self.lines();
            let seen = lines[before..].iter().any(|line| line.starts_with("Deleted blackhole 192.0.2.255"));
            seen.then_some(())
        });
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// The changes of routes that were there `before`; and how many changes there were.
    pub fn touched(&self, before: &Snapshot) -> (Vec<String>, usize) {
        self.until_seen();
        let foreign: BTreeSet<&str> = before.routes().collect();
        let lines = self.lines();
        let is_foreign = |line: &&String| {
            let line = line.as_str();
            foreign.contains(line.strip_prefix("Deleted ").unwrap_or(line))
        };
        (lines.iter().filter(is_foreign).cloned().collect(), lines.len())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
