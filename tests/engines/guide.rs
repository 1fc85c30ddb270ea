//! Types the commands of docs/guide.md on a real Engine and checks its promise: a router beyond the host
//! reaches the containers.
//!
//! The router is a network namespace on a veth pair. On every Engine, outputs are compared with those of the
//! page, as `tests/support/console.rs` says.

use crate::console::{self, Step};
use crate::scenario::{Scenario, scenario};
use crate::world::World;
use std::time::{Duration, Instant};

const PAGE: &str = include_str!("../../docs/guide.md");
/// The longest time in which gipam must learn a name from the Engine.
const NAMES: Duration = Duration::from_secs(20);
/// A router, and the host's side of the link to it. The IPv4 link of the page is already in use inside an
/// engine.
const LINK: &str = "ip netns add router && ip link add to-router type veth peer name to-host netns router
    ip address add 198.18.9.10/24 dev to-router && ip -6 address add 2001:db8::10/64 dev to-router nodad
    ip link set to-router up && ip -n router link set to-host up && ip -n router link set lo up
    ip -n router address add 198.18.9.1/24 dev to-host && ip -n router -6 address add 2001:db8::1/64 dev to-host nodad
    echo 1 >/proc/sys/net/ipv6/conf/all/forwarding";
const UNLINK: &str = "ip netns del router; ip link del to-router";

pub fn scenarios() -> Vec<Scenario> {
    vec![scenario("guide_as_it_is_typed", "P10 P13", typed)]
}

fn typed(w: &mut World) {
    w.change_host(LINK, UNLINK);
    let scripts = console::scripts(PAGE);
    let [router, host, firewall, ..] = scripts.as_slice() else {
        panic!("the page has fewer blocks: {scripts:?}")
    };
    w.inside(&router.replace("ip ", "ip -n router ").replace("192.0.2.", "198.18.9."));
    w.change_host(host, &host.replace(" add ", " del "));
    w.configure(console::configuration(PAGE));
    w.also_driver("dmz");
    w.inside("docker tag bb alpine");
    w.write("/etc/gipam/compose.yaml", console::block(PAGE, "yaml").expect("the page shows a compose file"));
    let steps = console::steps(PAGE);
    let (before, after) =
        steps.split_at(steps.iter().position(|step| step.command == "gipam who 203.0.113.3").unwrap());
    before.iter().for_each(|step| take(w, step));
    let reach = |address: &str| format!("ip netns exec router busybox ping -c 1 -W 5 {address}");
    // from Engine 27 on, a routed network answers pings without further rules
    let shut = w.engine.inside(&["sh", "-c", &reach("203.0.113.2").replace("-W 5", "-W 1")]);
    assert!(w.engine.version.0 >= 27 || !shut.ok, "Docker's firewall does not filter: {}", shut.out);
    open(w, firewall);
    for address in ["203.0.113.2", "203.0.113.3", "2001:db8:1::2", "2001:db8:1::3"] {
        w.inside(&reach(address));
    }
    assert!(after.len() > 15, "{}", after.len());
    after.iter().for_each(|step| take(w, step));
}

/// The lines for the firewall; Engines before 27 do not have a chain for IPv6.
fn open(w: &mut World, lines: &str) {
    for line in lines.lines().filter(|line| w.engine.version.0 >= 27 || !line.starts_with("ip6tables")) {
        w.change_host(line, &line.replace(" -I ", " -D "));
    }
}

/// Runs one line of the page. Repeats a view until it shows the names, which gipam learns from the Engine a
/// moment later.
fn take(w: &World, step: &Step) {
    let line = format!("cd /etc/gipam && {} 2>&1", step.command);
    let end = Instant::now() + NAMES;
    loop {
        let said = w.engine.inside(&["sh", "-c", &line]);
        let as_shown = match step.output.first().and_then(|text| text.split_once("IpamDriver.")) {
            // Docker's text before gipam's message differs between Engines
            Some((_, text)) => {
                let shown = [text.to_owned()];
                !said.ok && said.out.lines().any(|line| console::alike(&shown, after_driver(line)))
            }
            None => {
                said.ok && (step.command.starts_with("docker ") || console::alike(&step.output, &said.out))
            }
        };
        if as_shown {
            return;
        }
        assert!(
            console::is_view(&step.command) && Instant::now() < end,
            "$ {}\n{}\nbut the page shows\n{}",
            step.command,
            said.out,
            step.output.join("\n")
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn after_driver(line: &str) -> &str {
    line.split_once("IpamDriver.").map_or(line, |(_, text)| text.trim_end_matches('.'))
}
