//! What the kernel of one host has: equal to the plan, whatever happens, and nothing of others is touched.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::daemon::{House, until};
use super::support::*;

#[test]
fn r92_the_kernel_has_the_routes_of_the_plan_from_the_start_to_the_end() {
    inside(|| {
        let house = house(&three());
        let daemon = house.start();
        assert_eq!(until_equal(&house, "after the start"), 6);
        let moved = POOLS.to_owned()
            + &host("a", &A, &["10.8.16.0/20", "2001:db8:8::/52"])
            + &host("b", &["192.0.2.22", B[1]], &["10.8.0.0/20", "2001:db8:8:1000::/52"]);
        std::fs::write(house.path("plan.toml"), moved).unwrap();
        house.json(&["reload"]);
        assert_eq!(until_equal(&house, "after a reload of the plan"), 4);
        house.configure(&configuration(&house, "a", "routes = \"none\""));
        house.json(&["reload"]);
        until("the routes are removed", || shown("proto 171").is_empty().then_some(()));
        assert_eq!(state(&daemon), Value::Null);
        house.configure(&configuration(&house, "a", "routes = \"kernel\""));
        house.json(&["reload"]);
        assert_eq!(until_equal(&house, "after they were switched on again"), 4);
        // A mistake in the plan file changes nothing.
        std::fs::write(house.path("plan.toml"), "[[pool]]").unwrap();
        assert!(!house.gipam(&["reload"]).status.success());
        assert_eq!(until_equal(&house, "after a refused reload"), 4);
        daemon.stop();
        assert_eq!(shown("proto 171"), [], "after the end");
    });
}

#[test]
fn r92_a_route_that_somebody_removes_or_changes_comes_back() {
    inside(|| {
        let house = house(&three());
        let daemon = house.start();
        until_equal(&house, "after the start");
        for disturbance in [
            "route del 10.8.16.0/20 proto 171 metric 65535",
            "-6 route del 2001:db8:8:1000::/52 proto 171",
            "route del blackhole 10.8.0.0/20 metric 65535",
            "route replace 10.8.16.0/20 via 192.0.2.99 proto 171 metric 65535",
            "route add 10.8.64.0/20 via 192.0.2.99 proto 171 metric 65535",
            "route add blackhole 10.8.16.0/20 proto 171 metric 65535 tos 4",
            "route flush proto 171",
            "-6 route flush proto 171",
            // The kernel removes the IPv4 routes of an interface without a word, and those of its last address.
            "link set eth7 down",
            "address del 192.0.2.11/24 dev eth7",
        ] {
            ip(disturbance);
            match disturbance {
                "link set eth7 down" => {
                    until("the routes wait", || (state(&daemon)["kept"] == 2).then_some(()));
                    ip("link set eth7 up");
                    ip("address add 2001:db8::11/64 dev eth7 nodad");
                }
                "address del 192.0.2.11/24 dev eth7" => {
                    until("the IPv4 routes wait", || (state(&daemon)["kept"] == 3).then_some(()));
                    ip("address add 192.0.2.11/24 dev eth7");
                }
                _ => {}
            }
            assert_eq!(until_equal(&house, disturbance), 6);
        }
        until("nothing is missing", || {
            (state(&daemon)["unmade"].as_array().unwrap().is_empty()).then_some(())
        });
        daemon.stop();
        assert_eq!(shown("proto 171"), []);
    });
}

/// Routes that are not gipam's, as `ip` prints them.
fn foreign() -> [String; 4] {
    [
        ip("route show proto static"),
        ip("-6 route show proto static"),
        ip("route show table 1000"),
        ip("route show 10.9.0.0/16"),
    ]
}

#[test]
fn r93_routes_of_others_are_never_touched() {
    inside(|| {
        for words in [
            // In the place of a route of the plan, and beside one.
            "route add 10.8.16.0/20 via 192.0.2.77 proto static metric 65535",
            "-6 route add 2001:db8:8:1000::/52 via 2001:db8::77 proto static metric 65535",
            "route add 10.8.32.0/20 via 192.0.2.77 proto static metric 5",
            "route add 10.8.80.0/20 via 192.0.2.77 proto static",
            // With gipam's number, but outside of its pools, or in another table.
            "route add 10.9.0.0/16 via 192.0.2.77 proto 171 metric 65535",
            "route add 10.8.16.0/20 via 192.0.2.77 proto 171 metric 65535 table 1000",
        ] {
            ip(words);
        }
        let before = foreign();
        let house = house(&three());
        let daemon = house.start();
        let unmade = until("two places are taken", || {
            let state = state(&daemon);
            (state["unmade"].as_array()?.len() == 2).then_some(state)
        });
        let prefixes = [&unmade["unmade"][0], &unmade["unmade"][1]].map(|row| row["prefix"].clone());
        assert_eq!(prefixes, ["10.8.16.0/20", "2001:db8:8:1000::/52"], "{unmade}");
        assert!(unmade.to_string().contains("another program has a route"), "{unmade}");
        assert_eq!((unmade["kept"].as_u64(), foreign()), (Some(4), before.clone()));
        // When the other program takes its route back, gipam's comes.
        ip("route del 10.8.16.0/20 proto static metric 65535");
        until("the place is free", || (state(&daemon)["kept"] == 5).then_some(()));
        ip("route add 10.8.16.0/20 via 192.0.2.77 proto static metric 65534");
        let before = foreign();
        daemon.stop();
        assert_eq!(foreign(), before);
        let left = shown("proto 171");
        assert_eq!(left, [("10.9.0.0/16".to_owned(), "192.0.2.77".to_owned())], "outside of the pools");
    });
}

#[test]
fn r92_after_a_crash_the_routes_stay_and_the_next_start_corrects_them() {
    inside(|| {
        let house = house(&three());
        let daemon = house.start();
        until_equal(&house, "after the start");
        let before = shown("proto 171");
        daemon.kill();
        assert_eq!(shown("proto 171"), before, "after a crash");
        ip("route del 10.8.16.0/20 proto 171");
        ip("route replace blackhole 10.8.48.0/20 proto 171 metric 65535");
        ip("-6 route add 2001:db8:8:f000::/52 via 2001:db8::77 proto 171 metric 65535");
        let moved = three().replace("\"10.8.32.0/20\"", "\"10.8.96.0/20\"");
        std::fs::write(house.path("plan.toml"), moved).unwrap();
        let daemon = house.start();
        assert_eq!(until_equal(&house, "after the next start"), 6);
        daemon.stop();
        assert_eq!(shown("proto 171"), []);
    });
}

#[test]
fn r94_a_next_hop_out_of_reach_is_reported_and_tried_again_when_an_address_comes() {
    inside(|| {
        let far = POOLS.to_owned()
            + &host("a", &A, &["10.8.0.0/20"])
            + &host("b", &["198.51.100.12", "2001:db8:99::12"], &["10.8.16.0/20", "2001:db8:8:1000::/52"])
            // An address of this very machine.
            + &host("c", &["192.0.2.15"], &["10.8.32.0/20"]);
        ip("address add 192.0.2.15/24 dev eth7");
        let house = house(&far);
        let daemon = house.start();
        let unmade = until("three routes wait", || {
            let state = state(&daemon);
            (state["unmade"].as_array()?.len() == 3).then_some(state.to_string())
        });
        assert!(unmade.contains("198.51.100.12 of host b is not on a network of this host"), "{unmade}");
        assert!(unmade.contains("2001:db8:99::12 of host b is not on a network of this host"), "{unmade}");
        assert!(
            unmade.contains("192.0.2.15 of host c cannot be a next hop: it is an address of this host"),
            "{unmade}"
        );
        ip("address add 198.51.100.11/24 dev peer7");
        until("the IPv4 route is made", || (state(&daemon)["kept"] == 2).then_some(()));
        ip("address add 2001:db8:99::11/64 dev peer7 nodad");
        until("the IPv6 route is made", || (state(&daemon)["kept"] == 3).then_some(()));
        ip("address del 192.0.2.15/24 dev eth7");
        until("the last route is made", || (state(&daemon)["kept"] == 4).then_some(()));
        assert_eq!(until_equal(&house, "in the end"), 4);
        assert!(house.log().contains("all routes of the plan are in the kernel: 4"), "{}", house.log());
    });
}

#[test]
fn r95_without_the_right_to_change_routes_everything_else_works() {
    inside(|| {
        let house = house(&three());
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin", env!("CARGO_BIN_EXE_gipam")]);
        let log = std::fs::File::create(house.path("log")).unwrap();
        command.args(&house.arguments).current_dir(house.directory.path()).env_clear().stderr(log);
        let daemon = house.adopt(command.spawn().unwrap());
        until("the log says what is missing", || house.log().contains("CAP_NET_ADMIN").then_some(()));
        until("the daemon serves", || daemon.socket.exists().then_some(()));
        let (id, prefix) = daemon.wire().subnet(false);
        assert_eq!(prefix, "10.8.0.0/24");
        daemon.wire().release_pool(&id);
        assert!(state(&daemon)["error"].as_str().unwrap().contains("it needs CAP_NET_ADMIN"));
        let doctor = house.gipam(&["doctor"]);
        let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(doctor.contains("CAP_NET_ADMIN"), "{doctor}");
        assert_eq!(shown("proto 171"), []);
        assert!(daemon.stop().success());
    });
}

/// The Engine looks at the routes before it takes a subnet, and so does gipam: neither counts these (P12).
#[test]
fn p12_a_slice_that_changes_hands_gives_subnets_at_once() {
    inside(|| {
        let house = house(&three());
        let daemon = house.start();
        until_equal(&house, "after the start");
        // Routes of gipam's number that are out of date, as `gipam routes` prints them for another plan.
        ip("route add 10.8.0.0/21 via 192.0.2.12 proto 171 metric 65535 table 1000");
        let moved = POOLS.to_owned()
            + &host("a", &A, &["10.8.16.0/20", "2001:db8:8:1000::/52"])
            + &host("b", &B, &["10.8.0.0/20", "2001:db8:8::/52"]);
        for plan in [&moved, &three(), &moved] {
            std::fs::write(house.path("plan.toml"), plan).unwrap();
            house.json(&["reload"]);
            let own = if *plan == moved {
                ["10.8.16.0/24", "2001:db8:8:1000::/64"]
            } else {
                ["10.8.0.0/24", "2001:db8:8::/64"]
            };
            for (v6, expected) in [(false, own[0]), (true, own[1])] {
                let mut wire = daemon.wire();
                let (id, prefix) = wire.subnet(v6);
                assert_eq!(prefix, expected);
                wire.release_pool(&id);
            }
            until_equal(&house, "after the slices changed hands");
        }
    });
}

/// The kernel keeps an IPv6 route by the old interface when an address moves to a bridge.
#[test]
fn r92_routes_follow_a_next_hop_to_another_interface() {
    inside(|| {
        let house = house(&three());
        let daemon = house.start();
        until_equal(&house, "after the start");
        ip("link add eth8 type veth peer name peer8");
        ip("link set peer8 up");
        ip("link set eth8 up");
        ip("address add 192.0.2.11/24 dev eth8");
        ip("-6 address add 2001:db8::11/64 dev eth8 nodad");
        ip("address del 192.0.2.11/24 dev eth7");
        ip("-6 address del 2001:db8::11/64 dev eth7");
        until("all routes lead to the other interface", || {
            let all =
                ip("route show proto 171 via 192.0.2.12") + &ip("-6 route show proto 171 via 2001:db8::12");
            (all.lines().count() == 3 && !all.contains("eth7")).then_some(())
        });
        until_equal(&house, "after the address has moved");
        daemon.stop();
        assert_eq!(shown("proto 171"), []);
    });
}

#[test]
fn routes_that_a_crash_left_are_removed_once_they_are_switched_off_but_not_those_that_a_person_made() {
    inside(|| {
        let house = house(&three());
        let off = configuration(&house, "a", "routes = \"none\"");
        let on = configuration(&house, "a", "routes = \"kernel\"");
        house.configure(&off);
        // As `gipam routes --format ip` prints it.
        ip("route add blackhole 10.8.0.0/20 proto 171 metric 65535");
        assert!(house.start().stop().success());
        assert_eq!(shown("proto 171").len(), 1, "gipam has never made a route");
        house.configure(&on);
        let daemon = house.start();
        assert!(until_equal(&house, "with routes") > 1);
        daemon.kill();
        house.configure(&off);
        let daemon = house.start();
        until(&format!("they are removed: {}", house.log()), || shown("proto 171").is_empty().then_some(()));
        daemon.stop();
    });
}

/// The hosts of a pool that is one LAN are on one link, and a discard route would cut this host off from its containers.
#[test]
fn r92_a_lan_of_several_hosts_has_no_routes() {
    inside(|| {
        let lan = "[[pool]]\nbase = \"192.0.2.0/24\"\nslice = 28\n".to_owned()
            + &host("a", &A, &["192.0.2.32/28"])
            + &host("b", &B, &["192.0.2.48/28"]);
        let house = house(&lan);
        house.configure(&format!(
            "[gc]\nengine = \"\"\n[plan]\nfile = {:?}\nhost = \"a\"\nroutes = \"kernel\"\n[[pool]]\nname = \"lan\"\n\
             v4 = {{ base = \"192.0.2.0/24\", slice = 28, shared = true }}\n",
            house.path("plan.toml")
        ));
        let daemon = house.start();
        until("the routes are known", || (state(&daemon)["kept"] == 0).then_some(()));
        assert_eq!((house.json(&["routes"]), shown("proto 171")), (Value::Array(vec![]), vec![]));
    });
}

/// A plan of 1,000 hosts with four slices each, of which somebody removes all routes again and again.
#[test]
fn r92_thousands_of_routes_are_kept_and_delay_no_request() {
    inside(|| {
        let mut plan = "[[pool]]\nbase = \"10.64.0.0/10\"\nslice = 26\n".to_owned();
        for number in 0..1_000u32 {
            let own: Vec<String> = (0..4)
                .map(|part| {
                    let first = number * 256 + part * 64;
                    format!("10.{}.{}.{}/26", 64 + (first >> 16), first >> 8 & 255, first & 255)
                })
                .collect();
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            let via = format!("192.0.{}.{}", 3 + number / 250, 1 + number % 250);
            plan += &host(&format!("h{number}"), &[&via], &own);
        }
        ip("address add 192.0.2.11/16 dev eth7");
        ip("address del 192.0.2.11/24 dev eth7");
        let house = house(&plan);
        house.configure(&format!(
            "subnet_cooling = \"0\"\n[gc]\nengine = \"\"\n[plan]\nfile = {:?}\nhost = \"h7\"\nroutes = \"kernel\"\n[[pool]]\n\
             name = \"routed\"\nv4 = {{ base = \"10.64.0.0/10\", size = 28, slice = 26 }}\n",
            house.path("plan.toml")
        ));
        let begun = Instant::now();
        let daemon = house.start();
        until("all routes are there", || (state(&daemon)["kept"] == 4_000).then_some(()));
        let made = begun.elapsed();
        assert_eq!(shown("proto 171").len(), 4_000);
        let over = AtomicBool::new(false);
        let times = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    ip("route flush proto 171");
                }
            });
            let mut times: Vec<Duration> = (0..300)
                .map(|_| {
                    let (mut wire, begun) = (daemon.wire(), Instant::now());
                    let (id, _) = wire.subnet(false);
                    let took = begun.elapsed();
                    wire.release_pool(&id);
                    took
                })
                .collect();
            over.store(true, Ordering::Relaxed);
            times.sort_unstable();
            times
        });
        until("all routes are there again", || {
            (ip("route show proto 171").lines().count() == 4_000).then_some(())
        });
        let begun = Instant::now();
        daemon.stop();
        let (middle, most) = (times[150], times[297]);
        println!(
            "4,000 routes: made {made:?} after the start, RequestPool {middle:?} (p99 {most:?}), end {:?}",
            begun.elapsed()
        );
        assert_eq!(ip("route show proto 171"), "");
        assert!(middle < Duration::from_millis(20), "{middle:?}");
    });
}

#[test]
fn r92_a_kill_at_any_moment_of_a_change_is_corrected_by_the_next_start() {
    inside(|| {
        ip("route add 10.8.80.0/20 via 192.0.2.77 proto static metric 65535");
        ip("route add 10.9.0.0/16 via 192.0.2.77 proto 171 metric 65535");
        ip("route add 10.8.0.0/26 via 192.0.2.77 proto 171 metric 65535 table 1000");
        let before = foreign();
        // Every route differs between the two plans.
        let plan = |first: u32, via: &str| {
            let slices =
                |host: u32| (0..40).map(move |n| format!("10.8.{}.0/26", host * 64 + (n + first) % 64));
            let slices = |host: u32| slices(host).collect::<Vec<String>>();
            let (own, others) = (slices(first % 2), slices(2 + first % 2));
            let text = |list: &[String]| format!("{list:?}");
            "[[pool]]\nbase = \"10.8.0.0/16\"\nslice = 26\n".to_owned()
                + &format!("[[host]]\nname = \"a\"\nvia = [\"192.0.2.11\"]\nslices = {}\n", text(&own))
                + &format!("[[host]]\nname = \"b\"\nvia = [{via:?}]\nslices = {}\n", text(&others))
        };
        let house = house(&plan(0, "192.0.2.12"));
        house.configure(&format!(
            "[gc]\nengine = \"\"\n[plan]\nfile = {:?}\nhost = \"a\"\nroutes = \"kernel\"\n[[pool]]\nname = \"routed\"\n\
             v4 = {{ base = \"10.8.0.0/16\", size = 28, slice = 26 }}\n",
            house.path("plan.toml")
        ));
        let mut half_done = 0;
        for round in 1..=40u32 {
            let daemon = house.start();
            let old = printed(&house);
            assert_eq!(until_equal_in_pool(&house), 80, "round {round}");
            let via = if round % 2 == 1 { "192.0.2.13" } else { "192.0.2.12" };
            std::fs::write(house.path("plan.toml"), plan(round % 2, via)).unwrap();
            daemon.signal(rustix::process::Signal::HUP);
            std::thread::sleep(Duration::from_micros(u64::from(round) * 150));
            daemon.kill();
            let left = in_pool();
            half_done += u32::from(left.iter().any(|route| old.contains(route)) && left != old);
            assert_eq!(foreign(), before, "round {round}");
        }
        println!("killed in the middle of a change: {half_done} of 40");
        let daemon = house.start();
        until_equal_in_pool(&house);
        daemon.stop();
        assert_eq!((in_pool(), foreign()), (vec![], before));
    });
}

/// gipam's routes in the pool.
fn in_pool() -> Vec<Known> {
    shown("proto 171").into_iter().filter(|(prefix, _)| prefix.starts_with("10.8.")).collect()
}

fn until_equal_in_pool(house: &House) -> usize {
    let wanted = printed(house);
    until(&format!("the routes are {wanted:?}; {}", house.log()), || {
        (in_pool() == wanted).then_some(wanted.len())
    })
}
