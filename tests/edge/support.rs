//! A network namespace for each test, plans of several hosts, and the routes that the kernel and gipam show.

use std::process::Command;

use serde_json::Value;

use super::daemon::{Daemon, House, until};

pub const INSIDE: &str = "GIPAM_TEST_INSIDE_NAMESPACE";
pub const DONE: &str = "DONE INSIDE";

/// Runs the test of this thread in its own network and mount namespaces, on host `a` of the plan.
pub fn inside(body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        body();
        return println!("{DONE}");
    }
    let this = std::thread::current();
    let test = this.name().unwrap();
    let script = "set -e
mount -t tmpfs none /run
ip link set lo up
ip link add eth7 type veth peer name peer7
ip link set peer7 up
ip link set eth7 up
ip address add 192.0.2.11/24 dev eth7
ip address add 2001:db8::11/64 dev eth7 nodad
exec \"$0\" --exact \"$1\" --nocapture";
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.args(["--net", "--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    let output = unshare.arg(test).env(INSIDE, "1").output();
    let text = output.as_ref().map_or_else(ToString::to_string, |output| {
        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
    });
    let good = output.is_ok_and(|output| output.status.success()) && text.contains(DONE);
    assert!(good || !text.contains("panicked"), "inside the namespace:\n{text}");
    let not_run = "NOT RUN: needs util-linux and iproute2, and the right to create namespaces";
    assert!(good || std::env::var_os("CI").is_none(), "{not_run}:\n{text}");
    if good { print!("{text}") } else { eprintln!("{not_run}:\n{text}") }
}

pub fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The pools of the plan file, without hosts.
pub const POOLS: &str =
    "[[pool]]\nbase = \"10.8.0.0/16\"\nslice = 20\n[[pool]]\nbase = \"2001:db8:8::/48\"\nslice = 52\n";

/// A host of the plan file.
pub fn host(name: &str, via: &[&str], slices: &[&str]) -> String {
    format!("[[host]]\nname = {name:?}\nvia = {via:?}\nslices = {slices:?}\n")
}

pub const A: [&str; 2] = ["192.0.2.11", "2001:db8::11"];
pub const B: [&str; 2] = ["192.0.2.12", "2001:db8::12"];

/// A plan of three hosts, of which c has no IPv6 address.
pub fn three() -> String {
    POOLS.to_owned()
        + &host("a", &A, &["10.8.0.0/20", "2001:db8:8::/52"])
        + &host("b", &B, &["10.8.16.0/20", "10.8.48.0/20", "2001:db8:8:1000::/52"])
        + &host("c", &["192.0.2.13"], &["10.8.32.0/20", "2001:db8:8:2000::/52"])
}

/// The configuration of a host; `more` continues the table `[plan]`.
pub fn configuration(house: &House, name: &str, more: &str) -> String {
    format!(
        "subnet_cooling = \"0\"\n[gc]\nengine = \"\"\n[plan]\nfile = {:?}\nhost = {name:?}\n{more}\n[[pool]]\nname = \"routed\"\n\
         v4 = {{ base = \"10.8.0.0/16\", size = 24, slice = 20 }}\nv6 = {{ base = \"2001:db8:8::/48\", size = 64, slice = 52 }}\n",
        house.path("plan.toml")
    )
}

/// Host `a` with this plan file and `routes = "kernel"`.
pub fn house(plan: &str) -> House {
    let house = House::with_toml("");
    std::fs::write(house.path("plan.toml"), plan).unwrap();
    house.configure(&configuration(&house, "a", "routes = \"kernel\""));
    house
}

/// A route: prefix, and next hop or `discard`.
pub type Known = (String, String);

/// The routes of both families that these words select, with the wanted metric.
pub fn shown(words: &str) -> Vec<Known> {
    let of_family = |family: &str| -> Vec<Value> {
        serde_json::from_str(&ip(&format!("-j {family} route show {words}"))).unwrap()
    };
    let known = |route: &Value| {
        let text = |key: &str| route[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(route["metric"], 65_535, "{route}");
        let to = if route["type"] == "blackhole" { "discard".to_owned() } else { text("gateway") };
        (text("dst"), to)
    };
    let mut all: Vec<Known> = [of_family("-4"), of_family("-6")].concat().iter().map(known).collect();
    all.sort();
    all
}

/// The routes that `gipam routes` prints, except those that lack a next hop.
pub fn printed(house: &House) -> Vec<Known> {
    let rows = house.json(&["routes"]);
    let known = |row: &Value| {
        let text = |key: &str| row[key].as_str().map(ToOwned::to_owned);
        let to = if row["kind"] == "discard" { Some("discard".to_owned()) } else { text("via") };
        Some((text("prefix")?, to?))
    };
    let mut all: Vec<Known> = rows.as_array().unwrap().iter().filter_map(known).collect();
    all.sort();
    all
}

/// Waits until the kernel has exactly the routes that gipam prints; returns how many.
pub fn until_equal(house: &House, when: &str) -> usize {
    let wanted = printed(house);
    until(&format!("{when}: {wanted:?}, not {:?}; {}", shown("proto 171"), house.log()), || {
        (shown("proto 171") == wanted).then_some(wanted.len())
    })
}

/// What the status says about the kernel's routes.
pub fn state(daemon: &Daemon) -> Value {
    daemon.view("/v1/status")["routes"].clone()
}
