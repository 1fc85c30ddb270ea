//! Prefix translation: containers keep their inner addresses while the provider's prefix changes.

use std::net::IpAddr;

use super::daemon::{Daemon, House, until};
use super::support::{inside, ip};
use super::world::*;

const ONE: &str = "2001:db8:a::/56";
const TWO: &str = "2001:db8:b::/56";

/// A pool that is translated to this prefix; `more` are other lines of the pool.
fn pool(outer: &str) -> String {
    format!(
        "[gc]\nengine = \"\"\n[[pool]]\nname = \"home\"\nv6 = {{ base = \"fd00:8::/56\", size = 64 }}\ntranslate = \"nptv6\"\nouter = {outer:?}\n"
    )
}

fn house(outer: &str) -> House {
    let house = House::with_toml("");
    house.configure(&pool(outer));
    house
}

/// gipam's table as nft prints it, without handles.
fn table() -> String {
    let tables = nft("list tables\n");
    if !tables.lines().any(|line| line.starts_with("table ip6 gipam")) {
        return String::new();
    }
    let text = nft("list table ip6 gipam\n");
    text.lines().map(|line| line.split(" # handle").next().unwrap().to_owned() + "\n").collect()
}

/// All other tables, byte by byte, with their handles.
fn foreign() -> String {
    let all = nft("list ruleset\n");
    let mut text = String::new();
    let mut is_own = false;
    for line in all.lines() {
        is_own = if line.starts_with("table ") { line.starts_with("table ip6 gipam ") } else { is_own };
        if !is_own {
            text += line;
            text += "\n";
        }
    }
    text
}

/// Waits until the table translates to this prefix.
fn until_translated(house: &House, outer: &str) -> String {
    let outer = outer.split('/').next().unwrap();
    until(&format!("the table has {outer}: {} {}", table(), house.log()), || {
        let table = table();
        table.contains(&format!("ip6 daddr {outer}")).then_some(table)
    })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Containers and the rest of the world reach each other by these outer addresses of the containers.
fn all_reach(outer: [&str; 2]) {
    let [one, two] = outer;
    let (seen, ..) = talk("c1", ("router", INTERNET), INTERNET).unwrap();
    assert_eq!(seen, address(one), "from inside");
    let (seen, ..) = talk("router", ("c1", one), "fd00:8:0:1::10").unwrap();
    assert_eq!(seen, address("2001:db8::1"), "from outside");
    // UDP, and an error about it: it contains a packet with addresses of its own.
    let refused = std::io::ErrorKind::ConnectionRefused;
    assert_eq!(knock("c1", INTERNET).kind(), refused, "an error for a container");
    assert_eq!(knock("router", one).kind(), refused, "an error of a container");
    // The checksums of ICMPv6.
    assert_eq!(ping("c1", INTERNET).unwrap(), address(INTERNET));
    assert_eq!(ping("router", two).unwrap(), address(two));
    // A container may use the outer address of another one.
    let (seen, ..) = talk("c1", ("c2", two), "fd00:8:0:2::10").unwrap();
    assert_eq!(seen, address(one), "from another network of this host");
    assert_eq!(knock("c1", two).kind(), refused, "an error of another network");
    assert_eq!(ping("c2", one).unwrap(), address(one));
    // Inner addresses are not translated among each other.
    let (seen, ..) = talk("c2", ("c1", "fd00:8:0:1::10"), "fd00:8:0:1::10").unwrap();
    assert_eq!(seen, address("fd00:8:0:2::10"));
}

#[test]
fn containers_are_reached_through_a_change_of_the_providers_prefix() {
    inside(|| {
        world();
        let before = foreign();
        delegate(ONE);
        let house = house(ONE);
        let daemon = house.start();
        until_translated(&house, ONE);
        all_reach(["2001:db8:a:1::10", "2001:db8:a:2::10"]);
        let (_, mut client, mut server) = talk("c1", ("router", INTERNET), INTERNET).unwrap();
        delegate(TWO);
        house.configure(&pool(TWO));
        house.json(&["reload"]);
        assert!(!until_translated(&house, TWO).contains("2001:db8:a:"));
        all_reach(["2001:db8:b:1::10", "2001:db8:b:2::10"]);
        // An old connection does not survive; its client learns that from the other end.
        assert!(exchange(&mut client, &mut server).is_err());
        daemon.stop();
        assert_eq!(table(), "");
        assert_eq!(foreign(), before);
        assert!(talk("router", ("c1", "2001:db8:b:1::10"), "fd00:8:0:1::10").is_err());
    });
}

#[test]
fn the_outer_prefix_may_come_from_a_file_or_from_the_kernel() {
    inside(|| {
        world();
        let house = House::with_toml("");
        let file = house.path("prefix");
        house.configure(&pool(&format!("file:{}", file.display())));
        let daemon = house.start();
        let unmade = until("the status says what is missing", || {
            let row = daemon.view("/v1/status")["kernel"][0].clone();
            row["unmade"][0]["why"].as_str().map(ToOwned::to_owned)
        });
        assert!(unmade.contains("has no prefix now"), "{unmade}");
        for outer in [ONE, TWO] {
            delegate(outer);
            std::fs::write(house.path("new"), format!("{outer}\n")).unwrap();
            std::fs::rename(house.path("new"), &file).unwrap();
            until_translated(&house, outer);
            let [one, two] = ["1::10", "2::10"].map(|end| outer.replace(":/56", end));
            all_reach([&one, &two]);
        }
        // A file that cannot be used changes nothing, and neither does its end.
        let before = table();
        std::fs::write(&file, "unset\n").unwrap();
        until("the log says so", || house.log().contains("is not a prefix").then_some(()));
        assert_eq!(table(), before);
        std::fs::remove_file(&file).unwrap();
        house.json(&["reload"]);
        assert_eq!(table(), before);
        house.configure(&pool("pd:eth7/56"));
        ip(&format!("-6 route add unreachable {ONE} proto dhcp"));
        house.json(&["reload"]);
        until_translated(&house, ONE);
        ip(&format!("-6 route add unreachable {TWO} proto dhcp"));
        ip(&format!("-6 route del unreachable {ONE} proto dhcp"));
        until_translated(&house, TWO);
        all_reach(["2001:db8:b:1::10", "2001:db8:b:2::10"]);
        daemon.stop();
        assert_eq!(table(), "");
    });
}

#[test]
fn addresses_of_the_host_in_the_outer_prefix_are_not_translated() {
    inside(|| {
        world();
        delegate(ONE);
        ip("-6 address add 2001:db8:a:ff::5/128 dev lo");
        let house = house(ONE);
        let daemon = house.start();
        until_translated(&house, ONE);
        let (seen, ..) = talk("router", ("", "2001:db8:a:ff::5"), "2001:db8:a:ff::5").unwrap();
        assert_eq!(seen, address("2001:db8::1"));
        assert_eq!(ping("router", "2001:db8:a:ff::5").unwrap(), address("2001:db8:a:ff::5"));
        daemon.stop();
    });
}

#[test]
fn the_table_is_the_golden_one_and_comes_back_however_it_is_changed() {
    inside(|| {
        world();
        let before = foreign();
        let house = house(ONE);
        let daemon = house.start();
        let golden = until_translated(&house, ONE);
        assert_eq!(golden, include_str!("table.nft"));
        for disturbance in [
            "flush table ip6 gipam",
            "delete table ip6 gipam",
            "flush chain ip6 gipam inbound",
            "add rule ip6 gipam outbound counter drop",
            "insert rule ip6 gipam inbound counter",
            "add chain ip6 gipam more",
            "add chain ip6 gipam more { type filter hook input priority 5; }",
            "add set ip6 gipam more { type ipv6_addr; }",
            "add table ip6 gipam { flags dormant; }",
            "chain ip6 gipam inbound { policy drop; }",
            "delete table ip6 gipam; add table ip6 gipam { comment \"kept by gipam, which undoes changes\"; }",
        ] {
            nft(disturbance);
            until(&format!("{disturbance}: {}", table()), || (table() == golden).then_some(()));
            assert_eq!(foreign(), before, "{disturbance}");
        }
        daemon.stop();
        assert_eq!((table(), foreign()), (String::new(), before));
    });
}

#[test]
fn a_table_of_the_same_name_that_gipam_did_not_make_stays() {
    inside(|| {
        world();
        nft("add table ip6 gipam; add chain ip6 gipam mine { type filter hook input priority 7; }");
        let theirs = table();
        let house = house(ONE);
        let daemon = house.start();
        until("the log says so", || house.log().contains("that gipam did not make").then_some(()));
        assert_eq!(table(), theirs);
        nft("delete table ip6 gipam");
        until_translated(&house, ONE);
        daemon.stop();
        assert_eq!(table(), "");
    });
}

#[test]
fn after_a_kill_at_any_step_of_a_change_the_next_start_makes_the_table_right() {
    inside(|| {
        world();
        let before = foreign();
        let house = house(ONE);
        let first = house.start();
        let golden = until_translated(&house, ONE);
        first.kill();
        assert_eq!(table(), golden, "after a crash it stays");
        nft("add rule ip6 gipam outbound counter drop");
        let again = |outer: &str| {
            house.configure(&pool(outer));
            let daemon: Daemon = house.start();
            let table = until_translated(&house, outer);
            (daemon, table)
        };
        let (daemon, table_of_one) = again(ONE);
        assert_eq!(table_of_one, golden);
        daemon.kill();
        // Kills at many moments of a start that changes the table: only the old or the new one is ever seen.
        let changed = {
            let (daemon, table) = again(TWO);
            daemon.kill();
            table
        };
        for step in 0_u64..40 {
            let (outer, wanted) = if step % 2 == 0 { (ONE, &golden) } else { (TWO, &changed) };
            house.configure(&pool(outer));
            let daemon = house.spawn();
            std::thread::sleep(std::time::Duration::from_micros(step * 500));
            daemon.kill();
            let found = table();
            assert!(found == golden || found == changed, "step {step}: {found}");
            let (daemon, table) = again(outer);
            assert_eq!(&table, wanted, "step {step}");
            daemon.kill();
        }
        let (daemon, _) = again(TWO);
        daemon.stop();
        assert_eq!((table(), foreign()), (String::new(), before));
    });
}

#[test]
fn a_table_that_a_crash_left_is_removed_at_the_next_start_without_translate_but_not_that_of_another_gipam() {
    inside(|| {
        world();
        let before = foreign();
        let house = house(ONE);
        let daemon = house.start();
        until_translated(&house, ONE);
        let handles = nft("list table ip6 gipam\n");
        // Another gipam, which translates nothing, starts and ends.
        let other = House::with_toml("");
        other
            .configure("[gc]\nengine = \"\"\n[[pool]]\nname = \"a\"\nv4 = \"10.9.0.0/16\"\ndiscard = true\n");
        let stranger = other.start();
        until("the other gipam keeps its route", || {
            ip("route show proto 171").contains("10.9.0.0/16").then_some(())
        });
        assert!(stranger.stop().success());
        assert_eq!(nft("list table ip6 gipam\n"), handles, "the same table, not one made again");
        daemon.kill();
        assert_eq!(nft("list table ip6 gipam\n"), handles, "after a crash it stays");
        let without: String = pool(ONE)
            .lines()
            .filter(|line| !line.contains("translate") && !line.contains("outer"))
            .map(|line| format!("{line}\n"))
            .collect();
        house.configure(&without);
        let daemon = house.start();
        until(&format!("the table is gone; {}", house.log()), || table().is_empty().then_some(()));
        until("the log says so", || {
            house.log().contains("the translations of prefixes were removed from the kernel: 1").then_some(())
        });
        assert_eq!(foreign(), before);
        daemon.stop();
    });
}

#[test]
fn a_pool_whose_interface_does_not_exist_does_not_keep_another_pool_from_being_translated() {
    inside(|| {
        world();
        let other = "[[pool]]\nname = \"line\"\nv6 = { base = \"fd00:9::/56\", size = 64 }\ntranslate = \"nptv6\"\nouter = \"pd:gone0/56\"\n";
        let house = House::with_toml("");
        house.configure(&(pool(ONE) + other));
        let daemon = house.start();
        assert!(!until_translated(&house, ONE).contains("fd00:9:"));
        until("the status says which pool is not translated", || {
            let status = house.json(&["status"]).to_string();
            status.contains("pd:gone0/56 has no prefix now").then_some(())
        });
        daemon.stop();
    });
}
