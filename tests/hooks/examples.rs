//! The hooks of `examples/hooks`, run by the real daemon, with stand-ins for `nsupdate` and `ssh`.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::daemon::{Daemon, House, until};
use super::support::{hook, house, script};

/// A daemon whose hook is this example, with the stand-ins first in its `PATH`.
fn start(example: &str, arguments: &[&str]) -> (House, Daemon) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hooks").join(example);
    let command: Vec<&str> = [&[program.to_str().unwrap()], arguments].concat();
    let mut house = house(&format!("[[hook]]\nname = \"example\"\ncommand = {command:?}\n"));
    fs::create_dir(house.path("bin")).unwrap();
    for name in ["nsupdate", "ssh"] {
        let program = format!("bin/{name}");
        script(&house, &program, "here=${0%/*}; { echo \"# ${0##*/} $*\"; cat; } >>\"$here/../asked\"");
    }
    let path = format!("{}:/usr/bin:/bin", house.path("bin").display());
    house.variables.push(("PATH".to_owned(), path));
    let daemon = house.start();
    (house, daemon)
}

/// The calls of the stand-ins, once everything is delivered.
fn asked(house: &House, daemon: &Daemon) -> Vec<String> {
    until("no event is queued", || (hook(daemon)["behind"] == 0).then_some(()));
    let text = fs::read_to_string(house.path("asked")).unwrap_or_default();
    assert_eq!(hook(daemon)["last_error"], json!(null), "{text}");
    text.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn the_dns_example_adds_and_removes_records_by_the_holders_name() {
    let (house, daemon) = start("dns.sh", &["lan.example", "192.0.2.53", "/etc/gipam/tsig.key"]);
    let mut wire = daemon.wire();
    let named = |name: &str| json!({"com.docker.network.endpoint.name": name});
    let (v4, _) = wire.subnet(false);
    wire.address(&v4, "", json!({"RequestAddressType": "com.docker.network.gateway"}));
    let web = wire.address(&v4, "", named("Web_1"));
    wire.address(&v4, "", json!({}));
    let (v6, _) = wire.subnet(true);
    wire.address(&v6, "", json!({"RequestAddressType": "com.docker.network.gateway"}));
    let db = wire.address(&v6, "", named("db"));
    wire.release(&v4, &web);
    assert_eq!((web.as_str(), db.as_str()), ("198.51.100.2/28", "2001:db8:77::2/64"));
    let reverse6 = format!("2.{}7.7.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", "0.".repeat(19));
    let expected = [
        "# nsupdate -t 5 -k /etc/gipam/tsig.key",
        "server 192.0.2.53",
        "update add web-1.lan.example. 60 A 198.51.100.2",
        "send",
        "# nsupdate -t 5 -k /etc/gipam/tsig.key",
        "server 192.0.2.53",
        "update delete 2.100.51.198.in-addr.arpa. PTR",
        "update add 2.100.51.198.in-addr.arpa. 60 PTR web-1.lan.example.",
        "send",
        "# nsupdate -t 5 -k /etc/gipam/tsig.key",
        "server 192.0.2.53",
        "update add db.lan.example. 60 AAAA 2001:db8:77::2",
        "send",
        "# nsupdate -t 5 -k /etc/gipam/tsig.key",
        "server 192.0.2.53",
        &format!("update delete {reverse6} PTR"),
        &format!("update add {reverse6} 60 PTR db.lan.example."),
        "send",
        "# nsupdate -t 5 -k /etc/gipam/tsig.key",
        "server 192.0.2.53",
        "update delete web-1.lan.example. A 198.51.100.2",
        "send",
        "# nsupdate -t 5 -k /etc/gipam/tsig.key",
        "server 192.0.2.53",
        "update delete 2.100.51.198.in-addr.arpa. PTR web-1.lan.example.",
        "send",
    ];
    assert_eq!(asked(&house, &daemon), expected);
    daemon.stop();
}

#[test]
fn the_route_example_follows_subnets_on_a_router() {
    let (house, daemon) = start("route.sh", &["root@192.0.2.1", "192.0.2.10", "2001:db8::10"]);
    let mut wire = daemon.wire();
    let (v4, _) = wire.subnet(false);
    let (v6, _) = wire.subnet(true);
    wire.address(&v6, "", json!({}));
    wire.release_pool(&v6);
    wire.release_pool(&v4);
    let ssh = "# ssh -o BatchMode=yes -o ConnectTimeout=10 root@192.0.2.1";
    let removed = |ip: &str, route: &str| {
        format!("{ssh} {ip} route del {route} 2>/dev/null || test -z \"$({ip} route show exact {route})\"")
    };
    let (route4, route6) = ("198.51.100.0/28 via 192.0.2.10", "2001:db8:77::/64 via 2001:db8::10");
    let expected = [
        format!("{ssh} ip -4 route replace {route4}"),
        format!("{ssh} ip -6 route replace {route6}"),
        removed("ip -6", route6),
        removed("ip -4", route4),
    ];
    assert_eq!(asked(&house, &daemon), expected);
    daemon.stop();
}
