//! Networks that outlive the books: adopted on real Engines, by gc --apply and by hand.
//!
//! Covers P19 (a PoolID names one grant) after the PoolIDs were lost, and P26 (gateways that are hidden).

use std::time::Duration;

use crate::gipam;
use crate::oldgipam::OldGipam;
use crate::scenario::{Scenario, scenario};
use crate::wait::until;
use crate::world::{SOCKET, World};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("adoption_after_the_books_are_lost", "P18 P19 P26 D7", lost_books),
        scenario("adoption_after_an_old_copy_is_restored", "P18 P19 P26 D7", old_copy),
        scenario("adoption_of_two_macvlans_that_share_a_lan", "P19 P31 D4 D7", shared_lan),
        scenario(
            "adoption_of_a_macvlan_whose_subnet_is_not_given_to_others",
            "P19 P31 D1 D7",
            not_given_to_others,
        ),
        scenario("adoption_of_what_docker_network_inspect_prints", "P18 P19 D7", inspected),
        scenario("adoption_by_hand_of_an_opaque_id", "P18 P19 D7", opaque),
        scenario("adoption_of_a_network_that_is_removed_at_once", "P17 P19 D7", gone_at_once),
    ]
}

/// Deletes the books and restarts gipam, which begins with empty ones.
fn lose_the_books(w: &mut World) {
    w.stop();
    w.inside(&format!("rm -rf {}", gipam::BOOKS));
    w.start();
    assert!(w.subnets().is_empty());
}

/// Runs `gipam gc` with these arguments and returns one row for each finding.
fn gc(w: &World, words: &[&str]) -> Vec<serde_json::Value> {
    let said = gipam::cli(w.engine, &[&["gc", "--json"], words].concat());
    assert!(said.ok, "gipam gc {words:?} failed: {}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

fn actions(rows: &[serde_json::Value]) -> Vec<&str> {
    rows.iter().map(|row| row["action"].as_str().unwrap()).collect()
}

/// Tries to start a container, which must fail, and removes it; returns the error that the user sees.
fn unable(w: &World, network: &str) -> String {
    let said = w.refused(&format!("run -d --init --name unable --network {network} bb sleep 3600"));
    w.docker("rm -f unable");
    said
}

fn lost_books(w: &mut World) {
    w.network("--ipv6 n1");
    w.network(
        "--subnet 10.211.60.0/24 --ip-range 10.211.60.128/25 --gateway 10.211.60.254 --aux-address spare=10.211.60.7 n2",
    );
    w.run("--name first --network n1");
    w.run("--name fixed --network n2 --ip 10.211.60.128");
    w.network("--subnet 10.211.62.0/30 n3");
    w.run("--name only --network n3");
    let first = w.addresses("first", "n1");
    lose_the_books(w);
    let said = unable(w, "n1");
    assert!(said.contains("gipam gc shows how"), "the error must name the next command: {said}");
    let found = gc(w, &[]);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(actions(&found).iter().all(|action| action.starts_with("can be adopted with ")));
    assert!(w.subnets().is_empty(), "gc without --apply must not adopt");
    let done = gc(w, &["--apply"]);
    assert!(actions(&done).iter().all(|action| action.starts_with("adopted with ")), "{done:#?}");
    assert!(w.subnets().iter().all(|subnet| subnet.id.ends_with("#?")), "{:#?}", w.subnets());
    for name in ["first", "fixed", "only"] {
        let said = gipam::cli(w.engine, &["who", name, "--json"]);
        assert!(said.ok && said.out.contains(name), "adoption keeps names: {} {}", said.out, said.err);
    }
    w.agree();
    assert_eq!(w.subnet("10.211.60.0/24").range.as_deref(), Some("10.211.60.128/25"));

    // A restart releases the address before it requests one, and this subnet does not have a second address
    let only = w.v4("only", "n3");
    w.docker("restart -t 1 only");
    assert_eq!(w.v4("only", "n3"), only);
    w.agree();
    w.docker("rm -f only");
    w.docker("network rm n3");

    // Docker sends its PoolIDs with the next containers
    w.run("--name second --network n1");
    w.run("--name other --network n2");
    assert!(!w.subnets().iter().any(|subnet| subnet.id.ends_with("#?")), "{:#?}", w.subnets());
    assert_ne!(w.addresses("second", "n1").0, first.0, "a running container keeps its address");
    assert_ne!(w.addresses("second", "n1").1, first.1);
    assert_eq!(w.v4("other", "n2"), "10.211.60.129");
    w.ping("second", &w.v4("first", "n1"));
    w.agree();
    w.docker("restart -t 1 fixed");
    assert_eq!(w.v4("fixed", "n2"), "10.211.60.128");
    w.docker("stop -t 1 first");
    w.docker("rm first");
    w.agree();
    w.stop();
    w.start();
    w.agree();
    w.docker("rm -f second");
    w.docker("network rm n1");
    assert_eq!(w.subnets().len(), 1, "{:#?}", w.subnets());
    assert_eq!(gipam::cli(w.engine, &["gc"]).out, "books and Engine agree: no differences");
}

/// Networks and containers made after the backup survive, and each container restarts at the first attempt,
/// even if its subnet does not have a second address.
fn old_copy(w: &mut World) {
    let copy = format!("{}/copy.db", gipam::BOOKS);
    w.network("n1");
    w.run("--name before --network n1");
    let said = gipam::cli(w.engine, &["backup", &copy]);
    assert!(said.ok, "{}", said.err);
    w.network("--subnet 10.211.62.0/30 n2");
    w.run("--name only --network n2");
    w.network("--ipv6 n3");
    w.run("--name after --network n3");
    w.run("--name late --network n1");
    let places = [("before", "n1"), ("only", "n2"), ("after", "n3"), ("late", "n1")];
    let had: Vec<String> = places.iter().map(|(name, network)| w.v4(name, network)).collect();
    w.stop();
    w.inside(&format!("gipam restore {copy} --file {}/gipam.db", gipam::BOOKS));
    w.start();
    let done = gc(w, &["--apply"]);
    assert_eq!(
        actions(&done).iter().filter(|action| action.starts_with("adopted with ")).count(),
        3,
        "{done:#?}"
    );
    w.agree();
    for ((name, network), had) in places.iter().zip(had) {
        w.docker(&format!("restart -t 1 {name}"));
        assert_eq!(w.v4(name, network), had, "{name}");
    }
    w.agree();
}

/// R23 with lost books: two networks with the same prefix, which are distinguished by their ranges in the
/// Engine's lists and in the PoolIDs.
fn shared_lan(w: &mut World) {
    for parent in ["mv0", "mv1"] {
        let make = format!(
            "ip link add {parent} type veth peer name {parent}x; ip link set {parent} up; ip link set {parent}x up"
        );
        w.change_host(&make, &format!("ip link del {parent}"));
    }
    let network = "--subnet 10.88.5.0/24 --gateway 10.88.5.1";
    w.network(&format!("-d macvlan -o parent=mv0 {network} --ip-range 10.88.5.64/26 n1"));
    w.network(&format!("-d macvlan -o parent=mv1 {network} --ip-range 10.88.5.128/26 n2"));
    w.run("--name a1 --network n1");
    w.run("--name b1 --network n2");
    // in the range of the other network, which --ip allows
    w.run("--name b2 --network n2 --ip 10.88.5.65");
    let addresses = |w: &World| [w.v4("a1", "n1"), w.v4("b1", "n2"), w.v4("b2", "n2")];
    let before = addresses(w);
    lose_the_books(w);
    let done = gc(w, &["--apply"]);
    assert!(actions(&done).iter().all(|action| action.starts_with("adopted with ")), "{done:#?}");
    w.agree();
    w.run("--name b0 --network n2"); // its PoolID contains the range
    assert!(w.v4("b0", "n2").starts_with("10.88.5.1"), "{}", w.v4("b0", "n2"));
    for name in ["b1", "b2", "a1"] {
        w.docker(&format!("restart -t 1 {name}"));
    }
    assert_eq!(addresses(w), before, "containers keep their addresses when they restart");
    assert!(!w.subnets().iter().any(|subnet| subnet.id.contains("#?")), "{:#?}", w.subnets());
    w.run("--name a2 --network n1");
    w.run("--name b3 --network n2");
    let new = [w.v4("a2", "n1"), w.v4("b3", "n2")];
    let in_range = |text: &str, first: u8| {
        let last: u8 = text.rsplit('.').next().unwrap().parse().unwrap();
        (first..first + 64).contains(&last)
    };
    assert!(in_range(&new[0], 64) && in_range(&new[1], 128), "{new:?}");
    assert!(new.iter().all(|address| !before.contains(address)), "{new:?} and {before:?} overlap");
    w.agree();
    w.docker("rm -f b0 b1 b2 b3");
    w.docker("network rm n2");
    w.agree();
    assert_eq!(w.subnets().len(), 1, "{:#?}", w.subnets());
    w.docker("rm -f a1 a2");
    w.docker("network rm n1");
    w.until_empty();
}

/// Only the Engine shows that these subnets are in use; the host's routes do not.
fn not_given_to_others(w: &mut World) {
    for parent in ["mv0", "mv1", "mv2"] {
        let make = format!(
            "ip link add {parent} type veth peer name {parent}x; ip link set {parent} up; ip link set {parent}x up"
        );
        w.change_host(&make, &format!("ip link del {parent}"));
    }
    w.network("-d macvlan -o parent=mv0 n1");
    w.run("--name a1 --network n1");
    let lost = w.subnets()[0].prefix.clone();
    let (base, _) = lost.rsplit_once(".0/").unwrap();
    let (pool, third) = base.rsplit_once('.').unwrap();
    let others = format!("{pool}.{}.0/24", third.parse::<u8>().unwrap() + 1);
    w.docker(&format!("network create -d macvlan -o parent=mv2 --subnet {others} other"));
    lose_the_books(w);
    assert_eq!(actions(&gc(w, &[])).len(), 1, "repair has checked the Engine");
    let explained = gipam::cli(w.engine, &["explain", "--json"]).out;
    for passed in [format!("{lost} of Docker's network n1"), format!("{others} of Docker's network other")] {
        assert!(explained.contains(&passed), "{passed} is not explained: {explained}");
    }
    w.network("-d macvlan -o parent=mv1 n2");
    w.run("--name a2 --network n2");
    let given = w.subnets()[0].prefix.clone();
    assert!(given != lost && given != others, "{given} belongs to another network");
    let done = gc(w, &["--apply"]);
    assert!(actions(&done).iter().all(|action| action.starts_with("adopted with ")), "{done:#?}");
    w.docker("network rm other");
    w.docker("restart -t 1 a1"); // Docker sends the PoolID
    assert_eq!(w.v4("a1", "n1").rsplit_once('.').unwrap().0, base);
    w.agree();
}

fn inspected(w: &mut World) {
    w.network("--ipv6 n1");
    w.network(
        "--subnet 10.211.60.0/24 --ip-range 10.211.60.128/25 --gateway 10.211.60.254 --aux-address spare=10.211.60.7 n2",
    );
    // Engines from 28 hide the gateway of such a network (P26)
    w.network("--subnet 10.211.61.0/24 n3");
    w.run("--name third --network n3");
    w.run("--name first --network n1");
    w.run("--name fixed --network n2 --ip 10.211.60.128");
    lose_the_books(w);
    let networks = w.docker("network ls -q").split_whitespace().collect::<Vec<_>>().join(" ");
    let printed = w.docker(&format!("network inspect {networks}"));
    w.write("/tmp/inspected", &printed);
    let printed = w.inside("gipam import --inspect - </tmp/inspected");
    for part in
        ["network n1", "network n2", "would be adopted", "nothing was changed; --apply adds 4 subnets"]
    {
        assert!(printed.contains(part), "{part} is missing: {printed}");
    }
    assert!(
        printed.contains("network bridge") && printed.contains("left: "),
        "networks of other drivers: {printed}"
    );
    assert!(w.subnets().is_empty(), "without --apply nothing may be imported");
    let done = w.inside("gipam import --inspect --apply /tmp/inspected");
    assert!(done.contains("were added to the books"), "{done}");
    assert_eq!(w.subnet("10.211.60.0/24").range.as_deref(), Some("10.211.60.128/25"));
    w.agree();
    until("repair has checked the Engine and knows the names", Duration::from_secs(20), || {
        w.inside("gipam status").contains("n1           10.")
    });
    let again = w.inside("gipam import --inspect --apply /tmp/inspected");
    assert!(again.contains("nothing to import"), "{again}");

    // Docker sends its PoolIDs with the next containers
    w.run("--name second --network n1");
    w.run("--name other --network n2");
    w.run("--name fourth --network n3");
    assert_eq!(
        w.v4("fourth", "n3"),
        "10.211.61.3",
        "neither the gateway's (hidden or not) nor that of `third`"
    );
    assert!(!w.subnets().iter().any(|subnet| subnet.id.ends_with("#?")), "{:#?}", w.subnets());
    assert_eq!(w.v4("other", "n2"), "10.211.60.129");
    w.ping("second", &w.v4("first", "n1"));
    w.agree();
    w.docker("rm -f first second");
    w.docker("network rm n1");
    w.agree();
}

fn opaque(w: &mut World) {
    w.stop();
    let old = OldGipam::start(&w.engine.run.join(SOCKET.trim_start_matches("/run/")), "10.66", "fd66");
    w.network("n1");
    w.run("--name first --network n1");
    let prefix = w.prefixes("n1")[0].clone();
    let id = old.id(&prefix);
    drop(old);
    w.start();
    gc(w, &["--apply"]);
    let said = unable(w, "n1");
    assert!(said.contains(&id), "the error must contain the PoolID to adopt: {said}");
    let refused = gipam::cli(w.engine, &["adopt", "10.250.0.0/24", &id]);
    assert_eq!(refused.code, Some(3), "{}", refused.err);
    let done = gipam::cli(w.engine, &["adopt", &prefix, &id]);
    assert_eq!(
        (done.ok, done.out),
        (true, format!("{prefix}: its PoolID is {id} from now on")),
        "{}",
        done.err
    );
    let again = gipam::cli(w.engine, &["adopt", &prefix, "abcdefghijklmnop"]);
    assert_eq!(again.code, Some(4), "{}", again.err);
    w.run("--name second --network n1");
    w.ping("second", &w.v4("first", "n1"));
    w.docker("rm -f first");
    w.agree();
}

fn gone_at_once(w: &mut World) {
    w.network("n1");
    w.network("n2");
    lose_the_books(w);
    gc(w, &["--apply"]);
    let prefixes = [w.prefixes("n1")[0].clone(), w.prefixes("n2")[0].clone()];
    let by_hand = gipam::cli(w.engine, &["release", &prefixes[0], "--force"]);
    assert_eq!(by_hand.code, Some(4), "a network that still exists must not be released: {}", by_hand.err);
    assert!(by_hand.err.contains("remove the network with: docker network rm n1"), "{}", by_hand.err);
    let by_hand = gipam::cli(w.engine, &["release", &prefixes[0], "--force", "--without-engine"]);
    assert!(by_hand.ok, "{}", by_hand.err);
    w.docker("network rm n1 n2");
    let mut found = gc(w, &[]);
    // all networks are missing at once, which alone does not prove that they were removed
    assert_eq!(found.remove(0)["what"], "engine");
    let why: Vec<&str> = found.iter().map(|row| row["why"].as_str().unwrap()).collect();
    assert_eq!(
        why,
        ["the Engine does not know this network"],
        "a release does not show which network its PoolID belongs to: {found:#?}"
    );
    let freed = gipam::cli(w.engine, &["release", &prefixes[1], "--force", "--without-engine"]);
    assert!(freed.ok, "{}", freed.err);
}
