//! The base of a pool changes, by hand or at its source: what the kernel has moves to the new prefix, and containers on the earlier one
//! are answered for as long as they live.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::daemon::{Daemon, House, until};
use super::router::*;
use super::support::{inside, ip};

/// Two pools' worth of bases on the link of the router.
const ONE: [&str; 2] = ["198.51.100.128/25", "2001:db8:1:0:8000::/65"];
const TWO: [&str; 2] = ["198.51.100.64/26", "2001:db8:1:0:4000::/66"];

/// A pool with these bases, and other keys.
fn pool([v4, v6]: [&str; 2], more: &str) -> String {
    format!(
        "cooling = \"0\"\nsubnet_cooling = \"0\"\n[gc]\nengine = \"\"\n[[pool]]\nname = \"public\"\nv4 = {{ base = {v4:?}, size = 28 }}\n\
         v6 = {{ base = {v6:?}, size = 80 }}\n{more}"
    )
}

const PROXIES: &str = "ndp_proxy = \"eth0\"\narp_proxy = \"eth0\"\n";

/// Waits until the kernel has an entry for exactly the containers in the books; returns how many.
fn until_equal(house: &House, when: &str) -> usize {
    let wanted = until(&format!("{when}: {:?}; {}", proxied(), house.log()), || {
        let wanted = leased(house);
        (proxied() == wanted).then_some(wanted)
    });
    wanted.len()
}

/// gipam's discard routes.
fn discarded() -> BTreeSet<String> {
    let of_family = |family: &str| -> Vec<Value> {
        serde_json::from_str(&ip(&format!("-j {family} route show proto 171 type unreachable"))).unwrap()
    };
    let all = [of_family("-4"), of_family("-6")].concat();
    all.iter().map(|route| route["dst"].as_str().unwrap().to_owned()).collect()
}

fn until_discarded(house: &House, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|&prefix| prefix.to_owned()).collect();
    until(&format!("{wanted:?} are discarded, not {:?}; {}", discarded(), house.log()), || {
        (discarded() == wanted).then_some(())
    });
}

/// Waits until a new IPv6 subnet begins so; returns its PoolID.
fn until_given(daemon: &Daemon, begin: &str) -> String {
    until(&format!("a subnet {begin}..."), || {
        let (id, prefix) = daemon.wire().subnet(true);
        if prefix.starts_with(begin) {
            return Some(id);
        }
        daemon.wire().release_pool(&id);
        None
    })
}

fn forget_neighbours() {
    ip("netns exec router ip neigh flush dev wan0");
    ip("netns exec router ip -6 neigh flush dev wan0");
}

#[test]
fn containers_on_an_earlier_base_are_reached_until_their_leases_end() {
    inside(|| {
        provider();
        let house = House::with_toml("");
        house.configure(&pool(ONE, PROXIES));
        let daemon = house.start();
        let old = [network(&daemon, true), network(&daemon, false)];
        let _listener = listen();
        assert_eq!(until_equal(&house, "before the change"), 2);
        house.configure(&pool(TWO, PROXIES));
        house.json(&["reload"]);
        let ids = [true, false].map(|v6| daemon.wire().subnet(v6).0);
        let new = ids.each_ref().map(|id| daemon.wire().address(id, "", json!({})));
        assert!(new[0].starts_with("2001:db8:1:0:4") && new[1].starts_with("198.51.100.8"), "{new:?}");
        assert_eq!(until_equal(&house, "after the change"), 4);
        forget_neighbours();
        for Network { address, .. } in &old {
            until(&format!("the router reaches {address}"), || reaches(address).ok());
        }
        // A container may still come to the earlier network.
        let later = daemon.wire().address(&old[0].id, "", json!({}));
        assert!(later.starts_with("2001:db8:1:0:8"), "{later}");
        assert_eq!(until_equal(&house, "after another lease on the earlier base"), 5);
        daemon.kill();
        // Another change while gipam is down.
        house.configure(&pool([TWO[0], "2001:db8:1:0:2000::/67"], PROXIES));
        let daemon = house.start();
        assert_eq!(until_equal(&house, "after two changes"), 5);
        assert_eq!(others().len(), 0);
        forget_neighbours();
        for Network { address, .. } in &old {
            until(&format!("the router still reaches {address}"), || reaches(address).ok());
        }
        daemon.wire().release(&old[1].id, &old[1].address);
        assert_eq!(until_equal(&house, "after a release"), 4);
        // The network goes together with its two leases.
        daemon.wire().release_pool(&old[0].id);
        assert_eq!(until_equal(&house, "without the earlier network"), 2);
        forget_neighbours();
        for Network { address, .. } in &old {
            reaches(address).expect_err("no longer after the end of the lease");
        }
        daemon.stop();
        assert_eq!((proxied().len(), proxy_ndp().as_str()), (0, "0"));
    });
}

#[test]
fn entries_in_a_stale_network_equal_its_leases_after_a_kill() {
    inside(|| {
        provider();
        let house = House::with_toml("");
        house.configure(&pool(ONE, PROXIES));
        let daemon = house.start();
        let (id, _) = daemon.wire().subnet(true);
        let stale = daemon.wire().address(&id, "", json!({}));
        house.configure(&pool(TWO, PROXIES));
        house.json(&["reload"]);
        assert_eq!(until_equal(&house, "after the change"), 1);
        daemon.kill();
        let elsewhere = "2001:db8:1:0:1000::77";
        for address in ["2001:db8:1:0:8000::77", elsewhere] {
            ip(&format!("-6 neigh add proxy {address} dev eth0 protocol 171"));
        }
        ip(&format!("-6 neigh del proxy {} dev eth0", bare(&stale)));
        let daemon = house.start();
        let expected = BTreeSet::from([bare(&stale).to_owned(), elsewhere.to_owned()]);
        until(&format!("{:?} is {expected:?}; {}", proxied(), house.log()), || {
            (proxied() == expected).then_some(())
        });
        daemon.stop();
        assert_eq!(proxied(), BTreeSet::from([elsewhere.to_owned()]), "where gipam never made an entry");
    });
}

/// Where the base of the pool comes from, and how it changes.
struct Source {
    text: String,
    change: Box<dyn Fn(&str)>,
}

/// A file, as a hook of a DHCP client writes it.
fn file(house: &House) -> Source {
    let (path, new) = (house.path("prefix"), house.path("new"));
    let text = format!("file:{}", path.display());
    let change = move |prefix: &str| {
        fs::write(&new, format!("{prefix}\n")).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    Source { text, change: Box::new(change) }
}

/// What a DHCP client shows in the kernel.
fn delegated() -> Source {
    let change = |prefix: &str| {
        let before = ip("-6 route show proto dhcp type unreachable");
        ip(&format!("-6 route add unreachable {prefix} proto dhcp metric 1024"));
        for line in before.lines() {
            let old = line.split(' ').nth(1).unwrap();
            ip(&format!("-6 route del unreachable {old} proto dhcp metric 1024"));
        }
    };
    Source { text: "pd:eth0/66".to_owned(), change: Box::new(change) }
}

#[test]
fn entries_and_discard_routes_follow_the_prefix_that_a_file_or_the_kernel_shows() {
    inside(|| {
        provider();
        let house = House::with_toml("");
        let [one, two] = ["2001:db8:1:0:8000::/66", "2001:db8:1:0:4000::/66"];
        for Source { text, change } in [file(&house), delegated()] {
            house.configure(&pool([ONE[0], &text], &(PROXIES.to_owned() + "discard = true\n")));
            change(one);
            let daemon = house.start();
            until_discarded(&house, &[ONE[0], one]);
            let id = until_given(&daemon, "2001:db8:1:0:8");
            let old = daemon.wire().address(&id, "", json!({}));
            assert_eq!(until_equal(&house, "on the first prefix"), 1);
            change(two);
            until_discarded(&house, &[ONE[0], two]);
            let new = until_given(&daemon, "2001:db8:1:0:4");
            daemon.wire().address(&new, "", json!({}));
            assert_eq!(until_equal(&house, "on both prefixes"), 2);
            // A prefix that comes while gipam is down.
            daemon.kill();
            change(one);
            let daemon = house.start();
            until_discarded(&house, &[ONE[0], one]);
            assert_eq!(until_equal(&house, "after the next start"), 2);
            change(two);
            until_discarded(&house, &[ONE[0], two]);
            daemon.wire().release(&id, &old);
            assert_eq!(until_equal(&house, "after the release"), 1);
            assert!(daemon.stop().success());
            assert_eq!((proxied().len(), discarded().len(), proxy_ndp().as_str()), (0, 0, "0"));
            for file in ["gipam.db", "gipam.db-wal", "gipam.db-shm"] {
                let _ = fs::remove_file(house.path(file));
            }
        }
    });
}

#[test]
fn what_is_taken_out_of_the_configuration_while_gipam_is_down_is_removed_at_the_next_start() {
    inside(|| {
        provider();
        let house = House::with_toml("");
        let keys = PROXIES.to_owned() + "discard = true\n";
        let without = "[gc]\nengine = \"\"\n[[pool]]\nname = \"other\"\nv4 = \"10.9.0.0/16\"\n";
        for gone in [&pool(ONE, ""), &pool(TWO, ""), &without.to_owned()] {
            house.configure(&pool(ONE, &keys));
            let daemon = house.start();
            let (id, _) = daemon.wire().subnet(true);
            let address = daemon.wire().address(&id, "", json!({}));
            until_discarded(&house, &ONE);
            assert_eq!(until_equal(&house, "before the kill"), 1);
            daemon.wire().release(&id, &address);
            daemon.wire().release_pool(&id);
            daemon.kill();
            ip("-6 neigh replace proxy 2001:db8:1:0:8000::2 dev eth0 protocol 171");
            // Another gipam, with books of its own, has pools of the same prefixes; it has not made these objects.
            let other = House::with_toml("");
            other.configure(
                &(pool(ONE, "") + "[[pool]]\nname = \"mine\"\nv4 = \"10.10.0.0/16\"\ndiscard = true\n"),
            );
            let stranger = other.start();
            until_discarded(&other, &[ONE[0], ONE[1], "10.10.0.0/16"]);
            assert!(stranger.stop().success());
            assert_eq!((proxied().len(), discarded().len()), (1, 2), "what the other gipam has left");
            house.configure(gone);
            let daemon = house.start();
            until_discarded(&house, &[]);
            until("the entry is gone", || (proxied().is_empty() && proxy_ndp() == "0").then_some(()));
            let log = house.log();
            assert!(log.contains("the discard routes were removed from the kernel: 2"), "{log}");
            assert!(log.contains("the proxy entries were removed from the kernel: 1"), "{log}");
            daemon.stop();
        }
    });
}
