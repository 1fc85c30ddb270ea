//! Provokes each of the seven ways in which Docker loses a release (P20) on a real Engine, and checks that
//! repair corrects the books.
//!
//! They run side by side in two networks, so that they wait together: dockerd waits 15 s per call for a
//! driver that is down, and a check counts only a minute after the grant. The history shows whether dockerd
//! or repair released a lease, and therefore whether this Engine loses the release in this way.

use crate::gipam;
use crate::proxy::Proxy;
use crate::scenario::{Scenario, scenario};
use crate::wire::{Call, forward};
use crate::world::{SOCKET, World};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const BEHIND: &str = "/run/gipam/real.sock";
/// A minute after the last grant, two checks a second apart, and a margin for a busy machine.
const REPAIRED: Duration = Duration::from_secs(150);

/// A configuration with a grace time of one second.
pub const EAGER: &str = r#"
[[pool]]
name = "default"
v4 = { base = "10.77.0.0/16", size = 24 }
v6 = { base = "fd77:77::/48", size = 64 }
[gc]
grace = "1s"
unknown_subnets = "free"
"#;

pub fn scenarios() -> Vec<Scenario> {
    vec![scenario("repair_of_all_seven_ways_to_lose_a_release", "P20 P26 D7 D8", seven_ways).waits()]
}

/// One way, and the addresses or subnets whose release it may lose.
struct Way {
    what: &'static str,
    things: &'static [&'static str],
    /// Whether this Engine loses the release; `None` if it never requests the address or subnet.
    lost: fn((u32, u32)) -> Option<bool>,
}

const ALWAYS: fn((u32, u32)) -> Option<bool> = |_| Some(true);
const NEVER: fn((u32, u32)) -> Option<bool> = |_| Some(false);

const WAYS: [Way; 15] = [
    Way { what: "1 container removed while gipam is down", things: &["10.88.9.11"], lost: ALWAYS },
    Way { what: "1 dockerd ends while gipam is down", things: &["10.88.9.12"], lost: ALWAYS },
    Way { what: "1 stale endpoint cleaned up while gipam is down", things: &["10.88.9.13"], lost: ALWAYS },
    Way { what: "2 release answered with an error", things: &["10.88.8.14", "fd88:8::14"], lost: ALWAYS },
    Way { what: "2 release answered without a body", things: &["10.88.8.15", "fd88:8::15"], lost: ALWAYS },
    Way { what: "2 release of a subnet answered with an error", things: &["10.88.2.0/24"], lost: ALWAYS },
    Way { what: "3 release repeated without a body", things: &["10.88.8.16", "fd88:8::16"], lost: ALWAYS },
    Way { what: "3 release of a subnet repeated without a body", things: &["10.88.3.0/24"], lost: ALWAYS },
    Way { what: "4 IPv4 granted, IPv6 refused", things: &["10.88.8.17"], lost: ALWAYS },
    Way { what: "5 dockerd killed after an address was granted", things: &["10.88.9.18"], lost: ALWAYS },
    Way { what: "5 dockerd killed after a subnet was granted", things: &["10.88.5.0/24"], lost: ALWAYS },
    Way {
        what: "6 a later subnet refused",
        things: &["10.88.6.0/24"],
        lost: |version| Some((27..29).contains(&version.0)),
    },
    Way {
        what: "6 an auxiliary address outside its subnet",
        things: &["10.88.4.0/24"],
        // later Engines check the address first and do not request it
        lost: |version| (version.0 < 25).then_some(true),
    },
    Way { what: "6 an auxiliary address refused", things: &["10.88.7.0/24"], lost: NEVER },
    Way { what: "7 network removed while gipam is down", things: &["10.88.1.0/24"], lost: ALWAYS },
];

fn proxy(w: &World) -> Proxy {
    let path = |name: &str| w.engine.run.join(name.trim_start_matches("/run/"));
    Proxy::start(path(SOCKET), path(BEHIND))
}

fn seven_ways(w: &mut World) {
    w.configure_at(BEHIND, EAGER);
    let door = proxy(w);
    w.network("--subnet 10.88.9.0/24 n");
    w.network("--ipv6 --subnet 10.88.8.0/24 --subnet fd88:8::/64 d");
    for name in ["1", "2", "3"] {
        w.network(&format!("--subnet 10.88.{name}.0/24 s{name}"));
    }
    w.run("--name c11 --network n --ip 10.88.9.11");
    w.run("--name c12 --network n --ip 10.88.9.12");
    for i in 14..=16 {
        w.run(&format!("--name c{i} --network d --ip 10.88.8.{i} --ip6 fd88:8::{i}"));
    }
    w.agree();

    answers(w, &door);
    refusals(w);
    drop(door);
    w.stop();
    // each call waits 15 s for the driver
    w.at_once(["rm -f c11", "network rm s1"].into_iter().map(str::to_owned));
    w.engine.dockerd_down("TERM");
    w.start();
    let door = proxy(w);
    w.engine.dockerd_up(&[]);
    w.run("--name c13 --network n --ip 10.88.9.13");
    killed(w, &door);
    drop(door);
    w.stop();
    w.engine.dockerd_up(&[]);
    w.start();
    let _door = proxy(w);
    w.run("--name living --network d");
    // the list of containers shows addresses that stopped containers no longer have; repair once believed
    // that list
    let listed = ["10.88.9.12", "10.88.9.13"].map(|address| is_listed(w, address));
    assert_eq!(listed, [true, true], "Docker still lists addresses that it could not release");
    let took = w.until_agree(REPAIRED);
    println!(
        "        Engine {}: books and Engine agree {:.0} s after gipam's start",
        w.engine.title(),
        took.as_secs_f32()
    );
    verdicts(w);
    lost_database(w);
    w.finish(); // while the proxy still runs
}

/// Ways 2 and 3: the release is lost on its way.
fn answers(w: &World, door: &Proxy) {
    for _ in ["IPv4", "IPv6"] {
        door.answer("ReleaseAddress", 500, "{\"Err\":\"no\"}");
    }
    w.docker("rm -f c14");
    for _ in ["IPv4", "IPv6"] {
        door.answer("ReleaseAddress", 200, "");
    }
    w.docker("rm -f c15");
    for _ in ["IPv4", "IPv6"] {
        door.cut("ReleaseAddress");
    }
    w.docker("rm -f c16");
    door.answer("ReleasePool", 500, "{\"Err\":\"no\"}");
    w.docker("network rm s2");
    door.cut("ReleasePool");
    w.docker("network rm s3");
    door.assert_played();
}

/// Ways 4 and 6: one part is granted, another refused.
fn refusals(w: &World) {
    w.run("--name taken --network d --ip6 fd88:8::99");
    w.refused("run -d --name c17 --network d --ip 10.88.8.17 --ip6 fd88:8::99 bb sleep 60");
    w.docker("rm -f taken c17");
    // the command line reorders them and checks them itself, the API does not
    refused_network(w, "s6", r#"{"Subnet":"10.88.6.0/24"},{"Subnet":"10.88.9.0/24"}"#);
    refused_network(w, "s4", r#"{"Subnet":"10.88.4.0/24","AuxiliaryAddresses":{"a":"192.0.2.9"}}"#);
    let twice = r#"{"a":"10.88.7.9","b":"10.88.7.9"}"#;
    refused_network(w, "s7", &format!(r#"{{"Subnet":"10.88.7.0/24","AuxiliaryAddresses":{twice}}}"#));
}

fn refused_network(w: &World, name: &str, config: &str) {
    let body = format!(r#"{{"Name":"{name}","IPAM":{{"Driver":"gipam","Config":[{config}]}}}}"#);
    let call = Call { method: "networks/create".into(), body };
    let (status, said) = forward(&w.engine.run.join("docker.sock"), &call).unwrap();
    assert!(status >= 400, "{name}: {status} {said}");
}

/// Whether the Engine's list of containers shows an address.
fn is_listed(w: &World, address: &str) -> bool {
    let mut stream = UnixStream::connect(w.engine.run.join("docker.sock")).unwrap();
    stream.write_all(b"GET /containers/json?all=1 HTTP/1.0\r\n\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains(" 200 OK") && said.contains("c12"), "{said}");
    said.contains(&format!("\"IPAddress\":\"{address}\""))
}

/// Way 5: dockerd never recorded what gipam granted.
fn killed(w: &World, door: &Proxy) {
    door.hold("RequestPool");
    door.hold("RequestAddress");
    let engine = w.engine;
    std::thread::scope(|scope| {
        let create = ["network", "create", "--ipam-driver", "gipam", "--subnet", "10.88.5.0/24", "s5"];
        let run = ["run", "-d", "--name", "c18", "--network", "n", "--ip", "10.88.9.18", "bb", "sleep", "60"];
        scope.spawn(move || engine.docker(&create));
        scope.spawn(move || engine.docker(&run));
        door.until_held(2);
        engine.dockerd_down("KILL");
    });
}

/// Whether repair released this address or subnet; `None` if it was never granted.
fn lost(w: &World, thing: &str) -> Option<bool> {
    let rows: Vec<serde_json::Value> = gipam::view(w.engine, &["history", thing]);
    let row =
        rows.iter().find(|row| row["event"].as_str().is_some_and(|event| event.ends_with("released")))?;
    Some(row["why"].as_str().is_some_and(|why| why.contains(" at ")))
}

fn verdicts(w: &World) {
    let mut wrong = Vec::new();
    for way in &WAYS {
        let found: Vec<_> = way.things.iter().map(|thing| lost(w, thing)).collect();
        let wanted = (way.lost)(w.engine.version);
        let word = match wanted {
            Some(true) => "lost, and freed by repair",
            Some(false) => "released by dockerd itself",
            None => "never requested",
        };
        println!("        Engine {}: {}: {word}", w.engine.title(), way.what);
        if found.iter().any(|found| *found != wanted) {
            wrong.push(format!("{} should be {word}: {:?} {found:?}", way.what, way.things));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Way 7: dockerd's own database is deleted, and with it all its networks.
fn lost_database(w: &World) {
    w.docker("network rm n");
    w.engine.dockerd_down("KILL");
    w.inside("rm /var/lib/docker/network/files/local-kv.db");
    w.engine.dockerd_up(&[]);
    assert!(!w.docker("network ls").contains("gipam"), "no network is left");
    // Everything is missing in one check: another Engine's lists would look the same, so gipam reports it and
    // frees nothing.
    let prefixes: Vec<String> = w.subnets().into_iter().map(|subnet| subnet.prefix).collect();
    for prefix in ["10.88.8.0/24", "fd88:8::/64"] {
        assert!(prefixes.iter().any(|held| held == prefix), "{prefix} among {prefixes:?}");
    }
    let said = gipam::cli(w.engine, &["gc", "--apply"]);
    assert!(said.out.contains("it shows none of the networks in the books"), "{}{}", said.out, said.err);
    assert_eq!(w.subnets().len(), prefixes.len(), "repair must not free anything");
    // A person frees them; gipam asks the Engine first.
    for prefix in &prefixes {
        let said = gipam::cli(w.engine, &["release", prefix, "--force"]);
        assert!(said.ok, "{prefix}: {}", said.err);
    }
    assert!(w.subnets().is_empty());
    w.agree();
}
