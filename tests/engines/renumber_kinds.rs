//! `gipam renumber` with every kind of network and container: what they have is kept, or the network is refused before anything
//! changes.

use crate::gipam;
use crate::renumber::{A, B, TOML, becomes, stale, started};
use crate::scenario::{Scenario, scenario};
use crate::world::World;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("renumber_keeps_what_networks_and_containers_have", "P13 P17", kept),
        scenario("renumber_leaves_nothing_to_do_for_compose_up", "P13 P17", compose),
        scenario("renumber_refuses_networks_of_a_swarm_or_of_a_configuration_network", "P24", foreign),
    ]
}

fn prepare(w: &mut World) {
    w.configure(TOML);
    w.change_host("mkdir -p /run/prefix", "rm -rf /run/prefix");
    becomes(w, A);
    w.network("first --ipv6");
    w.docker("network rm first");
}

/// The containers that run in the network `open`; `side` shares the network of another one.
const RUNNING: [&str; 5] = ["front", "linked", "two", "plain", "side"];

fn start_all(w: &World) {
    w.network(
        "open --ipv6 --attachable --label one=1 -o com.docker.network.driver.mtu=1400 \
         -o com.docker.network.bridge.name=br-open --ip-range 10.77.1.128/25 --aux-address spare=fd77:a:0:1::fe \
         --subnet 10.77.1.0/24 --subnet fd77:a:0:1::/64 --gateway 10.77.1.254",
    );
    w.network("empty --ipv6 -o com.docker.network.bridge.gateway_mode_ipv6=routed");
    w.network("inner --ipv6 --internal");
    w.network("other");
    let serve = "bb httpd -f -p 80 -h /etc";
    w.docker(&format!(
        "run -d --init --name front --hostname hostfront --network open --network-alias shop --restart always \
         --ip6 fd77:a:0:1::40 -p 8080:80 {serve}"
    ));
    w.run("--name side --network container:front");
    w.run("--name linked --network open --link front:store");
    w.docker(&format!("run -d --init --name two --network other -p 8081:80 {serve}"));
    w.docker("network connect --alias second --ip 10.77.1.50 open two");
    // Engines from 25 on lose a fixed MAC, so that the network is refused.
    let mac = if w.engine.version < (25, 0) { "--mac-address 00:16:3e:01:02:03" } else { "" };
    w.run(&format!("--name plain --network open {mac}"));
    w.run("--name idle --network open --ip6 fd77:a:0:1::99");
    w.docker("stop -t 1 idle");
    w.docker("create --name new --network open --ip6 fd77:a:0:1::98 bb sleep 3600");
    w.run("--name hidden --network inner");
}

/// Published ports answer, over both families.
fn published(w: &World) {
    let two = w.docker("inspect --format {{.Config.Hostname}} two");
    for (port, host) in [(8080, "hostfront"), (8081, two.as_str())] {
        for address in ["127.0.0.1", "192.0.2.1", "[::1]"] {
            let line = format!("timeout 20 busybox wget -q -O - http://{address}:{port}/hostname");
            assert_eq!(w.inside(&line).trim(), host, "{line}");
        }
    }
}

fn network(w: &World, name: &str) -> String {
    let shown =
        "{{.Internal}} {{.Attachable}} {{.EnableIPv6}} {{.Labels}} {{.Options}} {{.Driver}} {{.IPAM.Driver}}";
    let said = w.engine.docker(&["network", "inspect", "--format", shown, name]);
    assert!(said.ok, "{}", said.err);
    said.out
}

fn kept(w: &mut World) {
    prepare(w);
    start_all(w);
    published(w);
    let state = |w: &World| {
        let ports = w.docker("inspect --format {{.NetworkSettings.Ports}} front two");
        let named = w.engine.docker(&["exec", "linked", "ping", "-c", "1", "-w", "10", "hostfront"]).ok;
        let networks = ["open", "inner", "other", "empty"].map(|name| network(w, name));
        (RUNNING.map(|name| started(w, name)), ports, named, networks)
    };
    let before = state(w);
    let plain = w.addresses("plain", "open");
    let other = w.addresses("two", "other");
    becomes(w, B);
    let done = gipam::cli(w.engine, &["renumber", "--yes"]);
    assert!(done.ok && done.out.contains("3 networks moved"), "{}{}", done.out, done.err);
    let check = |w: &World| {
        assert_eq!(w.v6("front", "open"), "fd77:b:0:1::40");
        assert_eq!(w.v4("two", "open"), "10.77.1.50");
        assert_eq!(w.addresses("two", "other"), other);
        let there = w.docker("exec side ip -6 address show");
        assert!(there.contains("fd77:b:0:1::40/64") && !there.contains("fd77:a:"), "{there}");
        for name in ["store", "shop", "front", "second", "plain"] {
            w.ping("linked", name);
        }
        published(w);
    };
    check(w);
    assert_eq!(state(w), before, "nothing was restarted, and everything else is as it was");
    assert!(stale(w).is_empty(), "{:?}", stale(w));
    assert!(w.leases().iter().any(|it| it.address.to_string() == "fd77:b:0:1::fe"), "the auxiliary address");
    let subnet = w.subnet("10.77.1.0/24");
    assert_eq!(
        (subnet.range.as_deref(), subnet.gateway.unwrap().to_string().as_str()),
        (Some("10.77.1.128/25"), "10.77.1.254")
    );
    if w.engine.version < (25, 0) {
        let moved = plain.1.unwrap().to_string().replace("fd77:a:", "fd77:b:");
        assert_eq!((w.v4("plain", "open"), w.v6("plain", "open")), (plain.0.unwrap().to_string(), moved));
        let mac = w.docker("inspect --format {{.NetworkSettings.Networks.open.MacAddress}} plain");
        assert_eq!(mac, "00:16:3e:01:02:03");
    }
    w.docker("start idle new");
    assert_eq!([w.v6("idle", "open"), w.v6("new", "open")], ["fd77:b:0:1::99", "fd77:b:0:1::98"]);
    w.agree();
    w.docker("restart -t 1 front two linked");
    w.docker("restart -t 1 side");
    // The host may still know the MACs from before the restart.
    w.inside("ip neigh flush dev br-open");
    check(w);
    w.agree();
}

const PROJECT: &str = r#"
services:
  web:
    image: bb
    command: httpd -f -p 80 -h /etc
    init: true
    restart: always
    ports: ["8082:80"]
    networks: {front: {ipv6_address: "fd77:a:0:8::40", aliases: [shop]}}
  api:
    image: bb
    command: sleep 3600
    init: true
    networks: [front, back]
  late:
    image: bb
    command: sleep 3600
    init: true
    networks: {front: {ipv6_address: "fd77:a:0:8::41"}}
  auto:
    image: bb
    command: sleep 3600
    init: true
    networks: [auto]
networks:
  front:
    enable_ipv6: true
    labels: {one: "1"}
    ipam: {driver: gipam, config: [{subnet: 10.77.8.0/24}, {subnet: "fd77:a:0:8::/64"}]}
  auto: {enable_ipv6: true, ipam: {driver: gipam}}
  back: {ipam: {driver: gipam}}
"#;
const FILE: &str = "/opt/gipam/moved/compose.yaml";

fn compose(w: &mut World) {
    prepare(w);
    w.write(FILE, PROJECT);
    let say = |w: &World, words: &str| w.inside(&format!("docker compose -p moved -f {FILE} {words} 2>&1"));
    say(w, "up --detach");
    say(w, "stop --timeout 1 late");
    let ids = |w: &World| {
        let containers = w.docker(
            "ps -a --no-trunc --format {{.ID}}-{{.Names}} --filter label=com.docker.compose.project=moved",
        );
        let networks = w.docker("network ls --no-trunc --format {{.ID}}-{{.Name}} --filter label=com.docker.compose.project=moved");
        let mut all: Vec<String> = containers.lines().chain(networks.lines()).map(str::to_owned).collect();
        all.sort();
        all
    };
    let times = |w: &World| ["web", "api", "auto"].map(|name| started(w, &format!("moved-{name}-1")));
    let (containers, before) = (ids(w), times(w));
    becomes(w, B);
    let done = gipam::cli(w.engine, &["renumber", "--yes", "moved"]);
    assert!(done.ok && done.out.contains("2 networks moved"), "{}{}", done.out, done.err);
    let moved = ids(w);
    let is_container = |id: &&String| id.ends_with("-1");
    assert!(moved.iter().filter(is_container).eq(containers.iter().filter(is_container)), "{moved:?}");
    let addresses = |w: &World| {
        [("web", "front"), ("api", "front"), ("api", "back"), ("auto", "auto")]
            .map(|(name, network)| w.addresses(&format!("moved-{name}-1"), &format!("moved_{network}")))
    };
    let given = addresses(w);
    assert_eq!(given[0].1.unwrap().to_string(), "fd77:b:0:8::40");
    let said = say(w, "up --detach");
    assert_eq!(ids(w), moved, "compose up recreates nothing: {said}");
    assert_eq!(times(w), before, "compose up restarts nothing: {said}");
    assert_eq!(addresses(w), given, "{said}");
    assert_eq!(w.v6("moved-late-1", "moved_front"), "fd77:b:0:8::41", "{said}");
    assert!(w.inside("timeout 20 busybox wget -q -O - http://[::1]:8082/hostname").len() > 8);
    say(w, "exec -T api ping -6 -c 1 -w 10 shop");
    w.agree();
    w.write(FILE, &PROJECT.replace("fd77:a:", "fd77:b:"));
    let said = say(w, "up --detach");
    let web = w.addresses("moved-web-1", "moved_front");
    assert_eq!(web.1, given[0].1, "the file has the new prefix now: {said}");
    w.agree();
    w.until_removed(&format!("docker compose -p moved -f {FILE} down --timeout 1 2>&1"));
    w.until_empty();
}

fn foreign(w: &mut World) {
    prepare(w);
    w.change_host("docker swarm init --advertise-addr 192.0.2.1", "docker swarm leave --force");
    w.network("--config-only --ipv6 --subnet 10.77.5.0/24 --subnet fd77:a:0:5::/64 template");
    w.docker("network create --config-from template made");
    w.run("--name of-made --network made");
    w.network("--config-only --ipv6 -o parent=up0 --subnet 10.77.6.0/24 --subnet fd77:a:0:6::/64 node");
    w.docker("network create -d macvlan --scope swarm --attachable --config-from node wide");
    w.run("--name of-wide --network wide");
    w.network("plain --ipv6 --subnet 10.77.7.0/24 --subnet fd77:a:0:7::/64");
    w.run("--name of-plain --network plain");
    let all = ["fd77:a:0:5::/64", "fd77:a:0:6::/64", "fd77:a:0:7::/64"];
    becomes(w, B);
    assert_eq!(stale(w), all);
    let said = gipam::cli(w.engine, &["renumber", "--yes"]);
    assert!(!said.ok && said.out.contains("1 network moved"), "{}{}", said.out, said.err);
    for why in [
        "made: cannot be moved: network made takes its subnets from the configuration network template",
        "fd77:a:0:6::/64: cannot be moved: it comes from the configuration network node; change that one",
    ] {
        assert!(said.err.contains(why), "{why}: {}", said.err);
    }
    assert_eq!(stale(w), all[..2]);
    assert!(w.v6("of-made", "made").starts_with("fd77:a:0:5::"));
    assert!(w.v6("of-wide", "wide").starts_with("fd77:a:0:6::"));
    assert!(w.v6("of-plain", "plain").starts_with("fd77:b:0:7::"));
    let again = gipam::cli(w.engine, &["renumber", "--yes"]);
    assert!(
        !again.ok && again.out.contains("0 networks moved"),
        "nothing is left half done: {}{}",
        again.out,
        again.err
    );
    w.docker("rm -f of-made of-wide");
    w.docker("network rm made wide");
    w.docker("network rm template node");
    w.docker("swarm leave --force");
}
