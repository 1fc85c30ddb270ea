//! The page of a host at the provider's edge: what gipam keeps in the kernel, strangers on a LAN, prefixes that changed.

use std::process::Command;

use serde_json::{Value, json};

use super::browser::{Browser, Tab};
use super::daemon::{House, until};
use super::inside::ip;
use super::looks::{BEYOND, FAINT, NAMELESS, save};
use super::site::Site;

/// The stranger's MAC, and the LAN on which it is.
const MAC: &str = "02:00:00:00:00:77";
const LAN: &str = "192.0.2.0/24";

/// Pools in all states. `{}` stands for the directory of the daemon's files.
const POOLS: &str = r#"
quarantine = "1h"
[gc]
engine = ""
[plan]
file = "{}/plan.toml"
host = "a"
routes = "kernel"
[[pool]]
name = "vps"
v4 = { base = "10.64.0.0/16" }
v6 = { base = "2001:db8:b:0:8000::/65", size = 80 }
ndp_proxy = "eth7"
discard = true
[[pool]]
name = "spare"
v4 = { base = "10.66.0.0/16" }
discard = true
[[pool]]
name = "second"
v6 = { base = "2001:db8:e::/56", size = 64 }
ndp_proxy = "eth9"
[[pool]]
name = "home"
v6 = { base = "fd00:8::/56", size = 64 }
translate = "nptv6"
outer = "2001:db8:c1::/56"
[[pool]]
name = "cabin"
v6 = { base = "fd00:9::/56", size = 64 }
translate = "nptv6"
outer = "pd:eth7/48"
[[pool]]
name = "line"
v6 = "file:{}/prefix"
[[pool]]
name = "new"
v6 = "file:{}/nothing"
[[pool]]
name = "lan"
probe = "eth7"
v4 = { base = "192.0.2.0/24", gateway = "192.0.2.1" }
[[pool]]
name = "yard"
probe = "eth8"
v4 = { base = "203.0.113.0/24", size = 28 }
[[pool]]
name = "routed"
v4 = { base = "10.8.0.0/16", slice = 20 }
"#;

const PLAN: &str = "[[pool]]\nbase = \"10.8.0.0/16\"\nslice = 20\n\
    [[host]]\nname = \"a\"\nvia = [\"192.0.2.11\"]\nslices = [\"10.8.0.0/20\"]\n\
    [[host]]\nname = \"b\"\nvia = [\"192.0.2.12\"]\nslices = [\"10.8.16.0/20\"]\n";

fn house() -> House {
    let house = House::with_toml("");
    std::fs::write(house.path("plan.toml"), PLAN).unwrap();
    std::fs::write(house.path("prefix"), "2001:db8:a::/56\n").unwrap();
    let pools = POOLS.replace("{}", &house.directory.path().display().to_string());
    house.configure(&format!("http = \"0\"\n{pools}"));
    house
}

/// A network in this pool, or of this subnet, with as many containers.
fn network(site: &Site, pool: &str, containers: u8, is_probed: bool) {
    let (subnet, options) = match pool.contains('/') {
        true => (pool, json!({})),
        false => ("", json!({"pool": pool})),
    };
    let v6 = !pool.contains('/');
    let mut wire = site.daemon.wire();
    let (id, _) = wire
        .pool(&json!({"AddressSpace": "local", "Pool": subnet, "SubPool": "", "Options": options, "V6": v6}));
    if pool == LAN && is_probed {
        // A request waits for a probe for a short time only, so on a busy machine a container might get a stranger's address.
        until("two addresses of a stranger and the host's own are in quarantine", || {
            let rows = site.daemon.view("/v1/leases?state=quarantined");
            let rows = rows.as_array().unwrap();
            (rows.len() == 3 && rows.iter().filter(|row| row["mac"] == MAC).count() == 2).then_some(())
        });
    }
    for at in 1..=containers {
        let name = format!("{}-{at}", pool.split('/').next().unwrap());
        wire.address(&id, "", json!({"com.docker.network.endpoint.name": name}));
    }
}

fn networks(site: &Site, is_probed: bool) {
    for (pool, containers) in
        [("vps", 2), ("second", 1), ("line", 3), ("line", 1), (LAN, 4), ("203.0.113.0/28", 1)]
    {
        network(site, pool, containers, is_probed);
    }
    std::fs::write(site.house.path("prefix"), "2001:db8:b9::/56\n").unwrap();
    until("two subnets are stale", || {
        let status = site.daemon.view("/v1/status");
        let rows = status["sources"].as_array().unwrap().clone();
        rows.iter().any(|row| row["pool"] == "line" && row["stale"] == 2).then_some(())
    });
    network(site, "line", 2, is_probed);
}

/// The row of the status about this kind of objects: how many are in the kernel, and how many are wanted.
fn kept(site: &Site, kind: &str) -> (u64, u64) {
    let status = site.daemon.view("/v1/status");
    let rows = status["kernel"].as_array().unwrap();
    let row = rows.iter().find(|row| row["kind"] == kind).cloned().unwrap_or_default();
    let number = |value: &Value| value.as_u64().unwrap_or(99);
    (number(&row["kept"]), number(&row["wanted"]))
}

/// A host with pools in all states.
fn site() -> Site {
    ip("route add unreachable 10.66.0.0/16 metric 65536 proto static");
    let site = Site::of(house());
    networks(&site, true);
    for (kind, wanted) in
        [("proxies", (2, 3)), ("discards", (2, 3)), ("translations", (1, 2)), ("routes", (2, 2))]
    {
        until(&format!("{kind} are {wanted:?}, not {:?}", kept(&site, kind)), || {
            (kept(&site, kind) == wanted).then_some(())
        });
    }
    site
}

fn text(tab: &mut Tab<'_>, of: &str) -> String {
    tab.value(&format!("document.querySelector('{of}').innerText")).as_str().unwrap().to_owned()
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

pub fn all(browser: &mut Browser) {
    let site = site();
    let mut tab = site.open(browser, 1280, 900, false);
    state(&mut tab);
    stale(&mut tab);
    strangers(&mut tab);
    // What becomes possible is done and shown, without a change of the books.
    ip("route del unreachable 10.66.0.0/16 metric 65536 proto static");
    tab.until("document.querySelector('#state').innerText.includes('Discard routes\\n3 of 3 in place')");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

/// Each kind of objects, each pool that is probed and each prefix has its line, and problems are at the top.
fn state(tab: &mut Tab<'_>) {
    let said = text(tab, "#state");
    contains(
        &said,
        &[
            "Neighbour and ARP proxy entries\n2 of 3 in place",
            "interface eth9 does not exist; its proxy entries will be made when it comes",
            "Discard routes\n2 of 3 in place",
            "10.66.0.0/16: another program has a route to it with metric 65536",
            "Prefix translations\n1 of 2 in place",
            "fd00:9::/56: pd:eth7/48 has no prefix now; gipam translates when it has one",
            "Routes to other hosts\n2 of 2 in place",
            "pool lan\nprobed on eth7",
            "pool yard\nnot probed",
            "this host has no Ethernet interface eth8",
            "3 addresses in quarantine",
            &format!("192.0.2.2, in use by {MAC}"),
            "pool line (v6)\n2 subnets on an earlier prefix",
            "earlier: 2001:db8:a::/56; to move the subnets: gipam renumber",
            "pool new (v6)\nno prefix yet",
        ],
    );
    let notes = text(tab, "#notes");
    contains(
        &notes,
        &[
            "Missing in the kernel: prefix translations (1 of 2), discard routes (1 of 3), neighbour and ARP proxy entries (1 of 3).",
            "Addresses of pool yard are given without a probe: this host has no Ethernet interface eth8.",
            "Pool new has no v6 prefix yet",
            "2 subnets are on an earlier prefix of pool line.",
        ],
    );
}

/// Subnets on an earlier prefix are tagged in the tables and marked on the map.
fn stale(tab: &mut Tab<'_>) {
    contains(&text(tab, "#pools"), &["line", "2 subnets on an earlier prefix"]);
    let tagged = "[...document.querySelectorAll('#subnets tbody tr')].filter((row) => row.querySelector('.tag.warn')?.textContent === 'on an earlier prefix').map((row) => row.querySelector('button').textContent).join()";
    assert_eq!(tab.value(tagged), "2001:db8:a::/64,2001:db8:a:1::/64");
    let marked = "[...document.querySelectorAll('.cell.stale')].filter((cell) => cell.querySelector('.mark.stale')).map((cell) => cell.getAttribute('aria-label')).join(' + ')";
    let marked = tab.value(marked).as_str().unwrap().to_owned();
    contains(
        &marked,
        &["2001:db8:a::/64: used", "2001:db8:a:1::/64: used", "on an earlier prefix of pool line"],
    );
    contains(&text(tab, "#legend"), &["on an earlier prefix of its pool"]);
}

/// A stranger's address is marked on the map, and its MAC is there and in the table.
fn strangers(tab: &mut Tab<'_>) {
    tab.value("[...document.querySelectorAll('#state button')].find((button) => button.textContent === 'Show in the table').click()");
    tab.until("document.querySelectorAll('#leases tbody tr').length === 3 && document.querySelector('#leases-state').value === 'quarantined'");
    let table = text(tab, "#leases tbody");
    contains(&table, &["192.0.2.2", "192.0.2.3", "192.0.2.11", MAC, "a machine on the LAN", "quarantined"]);
    tab.value("location.hash = 'map=192.0.2.0/24'");
    tab.until("document.querySelectorAll('#crumbs li').length > 1");
    let cells = "[...document.querySelectorAll('.cell.quarantined')].filter((cell) => cell.querySelector('.mark.quarantined') && getComputedStyle(cell.querySelector('.c')).fill.includes('#cross')).map((cell) => cell.getAttribute('aria-label')).join(' + ')";
    let cells = tab.value(cells).as_str().unwrap().to_owned();
    assert_eq!(cells.matches(" + ").count(), 2, "{cells}");
    contains(
        &cells,
        &[&format!("192.0.2.2: in quarantine: {MAC}, which is not a container of this host, has it")],
    );
    contains(&text(tab, "#legend"), &["in quarantine 3"]);
}

/// Without the drop-ins, the page says which ones are missing.
pub fn forbidden(browser: &mut Browser) {
    let house = house();
    let mut command = Command::new("setpriv");
    let rights = ["--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"];
    command.args(rights).arg(env!("CARGO_BIN_EXE_gipam")).args(&house.arguments);
    let log = std::fs::File::create(house.path("log")).unwrap();
    let child = command.current_dir(house.directory.path()).env_clear().stderr(log).spawn().unwrap();
    let daemon = house.adopt(child);
    until("the daemon serves", || super::http::Wire::try_unix(&daemon.socket).map(drop));
    let site = Site::serving(house, daemon);
    networks(&site, false);
    let mut tab = site.open(browser, 1280, 900, false);
    let said = "document.querySelector('#state').innerText";
    tab.until(&format!(
        "({said}.match(/kernel-routes.conf/g) ?? []).length >= 4 && {said}.includes('lan-probes.conf')"
    ));
    let said = text(&mut tab, "#state");
    contains(
        &said,
        &[
            "Neighbour and ARP proxy entries\n0 of 3 in place",
            "gipam may not change the neighbour entries of this host: it needs CAP_NET_ADMIN; install the drop-in kernel-routes.conf",
            "Discard routes\n0 of 3 in place",
            "Prefix translations\n0 of 2 in place",
            "gipam may not send packets on eth7: it needs CAP_NET_RAW; install the drop-in lan-probes.conf",
        ],
    );
    contains(&text(&mut tab, "#notes"), &["Addresses of pool lan, yard are given without a probe"]);
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

/// All of it is readable at any width, light and dark. Saves screenshots as `looks::pictures` does.
pub fn looks(browser: &mut Browser) {
    let site = site();
    for (name, width, dark) in [
        ("light", 1280, false),
        ("dark", 1280, true),
        ("phone", 390, false),
        ("phone-dark", 390, true),
        ("narrow", 320, false),
    ] {
        let mut tab = site.open(browser, width, 860, dark);
        for (part, at, selector) in [
            ("page", "", "body"),
            ("state", "", "#state"),
            ("subnets", "", "#subnets"),
            ("lan", "map=192.0.2.0/24", "#map"),
            ("map", "map", "#map"),
        ] {
            tab.value(&format!("location.hash = '{at}'"));
            let crumbs = if at.contains('=') { "> 1" } else { "=== 1" };
            tab.until(&format!("document.querySelectorAll('#crumbs li').length {crumbs} && document.querySelectorAll('#areas .cell').length > 0"));
            assert_eq!(tab.value(FAINT), json!([]), "{name} {part}");
            assert_eq!(tab.value(NAMELESS), json!([]), "{name} {part}");
            assert_eq!(tab.value(BEYOND), json!([]), "{name} {part}");
            save(&mut tab, &format!("edge-{part}-{name}"), selector, 2_600);
        }
        tab.value("document.querySelector('#leases-state').value = 'quarantined'; document.querySelector('#leases-state').dispatchEvent(new Event('change'))");
        tab.until("document.querySelectorAll('#leases tbody tr').length === 3");
        assert_eq!(tab.value(BEYOND), json!([]), "{name}");
        save(&mut tab, &format!("edge-leases-{name}"), "#leases", 900);
    }
}
