//! gipam takes over the old gipam's lease file while its networks and containers run.

use crate::gipam;
use crate::oldgipam::OldGipam;
use crate::scenario::{Scenario, scenario};
use crate::wait::until;
use crate::world::{Launch, SOCKET, World};
use std::time::Duration;

const DIRECTORY: &str = "/opt/gipam";

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("takeover_lease_file_with_networks_running", "P18 P19 D3 D7", lease_file),
        scenario("takeover_by_replacing_only_the_binary", "P18 P21 D3", only_the_binary),
    ]
}

/// gipam starts with an option that names the old file.
fn lease_file(w: &mut World) {
    let file = "lease.json";
    takeover(
        w,
        "10.66",
        "fd66",
        file,
        Launch {
            directory: "/".into(),
            words: vec!["-file".into(), format!("{DIRECTORY}/{file}")],
            socket: SOCKET.into(),
            ..Launch::default()
        },
    );
}

/// The old unit and its environment file work without changes.
fn only_the_binary(w: &mut World) {
    takeover(
        w,
        "192.168",
        "fe80",
        "leases.json",
        Launch {
            directory: DIRECTORY.into(),
            variables: vec![("GIPAM_V6", "fe80::/56"), ("GIPAM_V4", "192.168.0.0/16")],
            socket: SOCKET.into(),
            ..Launch::default()
        },
    );
}

fn takeover(w: &mut World, v4: &'static str, v6: &'static str, file: &str, launch: Launch) {
    w.stop();
    let old = OldGipam::start(&w.engine.run.join(SOCKET.trim_start_matches("/run/")), v4, v6);
    w.network("--ipv6 gone");
    w.network("--ipv6 n1");
    w.network("n2");
    w.run("--name c1 --network n1");
    w.run("--name c2 --network n1 --restart always");
    w.run("--name c3 --network n1");
    w.docker("stop -t 1 c3");
    w.docker("network rm gone");
    let written = old.file();
    // granted after the last write of the file, so missing from it
    w.run("--name late --network n1");
    let late = w.addresses("late", "n1");
    let before = (w.addresses("c1", "n1"), w.addresses("c2", "n1"));
    let ids: Vec<String> =
        w.prefixes("n1").iter().chain(&w.prefixes("n2")).map(|prefix| old.id(prefix)).collect();
    drop(old);

    w.write(&format!("{DIRECTORY}/{file}"), &written);
    w.launch = launch;
    w.start();
    let mut now: Vec<String> = w.subnets().into_iter().map(|subnet| subnet.id).collect();
    let mut wanted = ids.clone();
    now.sort();
    wanted.sort();
    assert_eq!(now, wanted, "the subnets keep the ids that dockerd knows; the free ones are not held");

    // new containers get neither addresses in the file nor those missing from it
    w.run("--name new --network n1");
    assert_ne!(w.addresses("new", "n1").0, late.0);
    assert_ne!(w.addresses("new", "n1").1, late.1);
    w.ping("new", &w.v4("late", "n1"));
    if !w.v6("c1", "n1").starts_with("fe80") {
        w.ping("new", &w.v6("c1", "n1")); // a link-local address would need its interface's name
    }
    w.docker("rm -f late"); // a release of an address that the books never contained
    w.agree();
    assert_eq!(
        (w.addresses("c1", "n1"), w.addresses("c2", "n1")),
        before,
        "running containers are not disturbed"
    );

    // the old ids still work: stop, start, further networks, a restart of the daemon
    w.docker("restart -t 1 c1");
    w.docker("start c3");
    w.network("--ipv6 n3");
    assert!(w.prefixes("n3")[0].starts_with(v4), "from the old pools: {:?}", w.prefixes("n3"));
    w.agree();
    w.dockerd("TERM", &[]);
    until("c2 runs again", Duration::from_secs(30), || !w.v4("c2", "n1").is_empty());
    w.agree();
    w.stop();
    w.start();
    w.agree();
    the_way_back(w, file, &written, &ids);
}

/// The old file is untouched, and `gipam export` writes such a file with the same ids.
fn the_way_back(w: &World, file: &str, written: &str, ids: &[String]) {
    let there = w.inside(&format!("cat {DIRECTORY}/{file}"));
    assert_eq!(there, written, "the old file is untouched");
    let said = gipam::cli(w.engine, &["export", "--format", "leases.json"]);
    assert!(said.ok, "{}", said.err);
    for id in ids {
        assert!(said.out.contains(id.as_str()), "{id} in the exported file: {}", said.out);
    }
}
