//! A prefix that changes under real networks, and `gipam renumber`, which is killed after each of its steps and finished.
//!
//! Promises: containers are not restarted, fixed host parts stay, nothing is left over.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::gipam;
use crate::scenario::{Scenario, scenario};
use crate::wait::until;
use crate::world::World;

pub const TOML: &str = "[[pool]]\nname = \"home\"\nv4 = \"10.77.0.0/16\"\nv6 = \"file:/run/prefix/home\"\n";
pub const A: &str = "fd77:a::/56";
pub const B: &str = "fd77:b::/56";
const NETWORK: &str = "--ipv6 --label com.docker.compose.project=shop --label other=label";

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("renumber_moves_a_network_to_a_new_prefix_and_containers_run_on", "P17", moves),
        scenario("renumber_killed_after_any_step_is_finished_by_the_next_run", "P17", killed),
        scenario("renumber_refuses_what_docker_cannot_do_before_anything_changes", "", refuses),
        scenario("renumber_cut_off_finishes_on_the_prefix_that_counts_then", "P17", cut_off),
    ]
}

fn write(w: &World, prefix: &str) {
    w.inside(&format!(
        "mkdir -p /run/prefix && echo {prefix} > /run/prefix/new && mv /run/prefix/new /run/prefix/home"
    ));
}

/// The file has this prefix, and the pool follows it.
pub fn becomes(w: &World, prefix: &str) {
    write(w, prefix);
    until("the pool has the new prefix", Duration::from_secs(20), || {
        gipam::cli(w.engine, &["pools"]).out.contains(prefix)
    });
}

pub fn stale(w: &World) -> Vec<String> {
    let rows: Vec<serde_json::Value> = gipam::view(w.engine, &["subnets"]);
    let stale = rows.iter().filter(|row| !row["stale"].is_null());
    stale.map(|row| row["prefix"].as_str().unwrap().to_owned()).collect()
}

pub fn started(w: &World, container: &str) -> String {
    w.docker(&format!("inspect --format {{{{.State.StartedAt}}}} {container}"))
}

fn prepare(w: &mut World) {
    w.configure(TOML);
    w.change_host("mkdir -p /run/prefix", "rm -rf /run/prefix");
    becomes(w, A);
    w.network("first --ipv6");
    // Docker accepts fixed addresses only in networks whose subnets a person chose.
    w.network(&format!("shop_default {NETWORK} --subnet 10.77.1.0/24 --subnet fd77:a:0:1::/64"));
    assert_eq!(w.prefixes("shop_default"), ["10.77.1.0/24", "fd77:a:0:1::/64"]);
    w.run("--name web --network shop_default --network-alias shop --ip 10.77.1.40 --ip6 fd77:a:0:1::40");
    w.run("--name db --network shop_default --ip6 fd77:a:0:1::77");
    w.run("--name any --network shop_default");
    w.run("--name idle --network shop_default --ip6 fd77:a:0:1::99");
    w.docker("stop -t 1 idle");
}

/// What must be true once everything is moved.
fn moved(w: &World, times: &[String; 2]) {
    assert!(stale(w).is_empty(), "{:?}", stale(w));
    assert_eq!(w.prefixes("shop_default"), ["10.77.1.0/24", "fd77:b:0:1::/64"]);
    assert_eq!(w.v6("web", "shop_default"), "fd77:b:0:1::40");
    assert_eq!(w.v4("web", "shop_default"), "10.77.1.40");
    assert_eq!(w.v6("db", "shop_default"), "fd77:b:0:1::77");
    assert_eq!([started(w, "web"), started(w, "db")], *times, "no container was restarted");
    let labels = w.docker("network inspect --format {{.Labels}} shop_default");
    assert!(labels.contains("com.docker.compose.project:shop"), "{labels}");
    assert!(labels.contains("other:label"), "{labels}");
    w.ping("db", "fd77:b:0:1::40");
    w.ping("db", "shop");
    w.ping("db", &w.v6("any", "shop_default"));
    w.docker("start idle");
    assert_eq!(w.v6("idle", "shop_default"), "fd77:b:0:1::99", "a stopped container moves, too");
    let file = gipam::cli(w.engine, &["renumber"]);
    assert!(file.ok && file.out.contains("no network is on an earlier prefix"), "{}{}", file.out, file.err);
    w.agree();
}

fn moves(w: &mut World) {
    prepare(w);
    let times = [started(w, "web"), started(w, "db")];
    becomes(w, B);
    let first = ["fd77:a::/64", "fd77:a:0:1::/64"];
    until("both networks are stale", Duration::from_secs(20), || stale(w) == first);
    let status = gipam::cli(w.engine, &["status"]).out;
    assert!(status.contains("2 subnets NOT IN fd77:b::/56 (pool home): gipam renumber"), "{status}");
    w.network("new --ipv6");
    assert_eq!(w.prefixes("new")[1], "fd77:b:0:2::/64", "the numbers of stale networks are kept");
    w.docker("network rm first");
    let dry = gipam::cli(w.engine, &["renumber"]);
    assert!(dry.ok, "{}", dry.err);
    for line in [
        "network shop_default (project shop): 10.77.1.0/24 stays, fd77:a:0:1::/64 becomes fd77:b:0:1::/64",
        "web keeps running: fd77:a:0:1::40 becomes fd77:b:0:1::40",
        "idle is stopped: fd77:a:0:1::99 becomes fd77:b:0:1::99",
        "nothing was changed; to do it: gipam renumber --yes",
    ] {
        assert!(dry.out.contains(line), "{line}: {}", dry.out);
    }
    assert_eq!(w.v6("web", "shop_default"), "fd77:a:0:1::40", "a dry run changes nothing");
    let done = gipam::cli(w.engine, &["renumber", "shop", "--yes"]);
    assert!(done.ok && done.out.contains("1 network moved"), "{}{}", done.out, done.err);
    moved(w, &times);
}

/// Runs `gipam renumber --yes` and kills it after this many lines; returns whether it had ended before.
fn killed_after(w: &World, lines: usize) -> bool {
    let mut command = w.engine.command(&["sh", "-c", "echo $$; exec gipam renumber --yes"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = out.next().unwrap().unwrap();
    let seen: Vec<String> = out.by_ref().take(lines).map(Result::unwrap).collect();
    if seen.len() == lines {
        let _ = w.engine.inside(&["sh", "-c", &format!("kill -9 {pid}")]);
    }
    let status = child.wait().unwrap();
    status.success()
}

fn killed(w: &mut World) {
    prepare(w);
    w.docker("network rm first");
    let times = [started(w, "web"), started(w, "db")];
    becomes(w, B);
    let mut cut_off = 0;
    for lines in 1..20 {
        if killed_after(w, lines) {
            break;
        }
        cut_off += 1;
    }
    assert!(cut_off >= 3, "only {cut_off} runs were cut off");
    let done = gipam::cli(w.engine, &["renumber", "--yes"]);
    assert!(done.ok, "{}{}", done.out, done.err);
    moved(w, &times);
}

fn refuses(w: &mut World) {
    prepare(w);
    becomes(w, B);
    let refused = |w: &World, what: &str| {
        let said = gipam::cli(w.engine, &["renumber", "--yes", "shop"]);
        assert!(!said.ok, "{}", said.out);
        assert!(said.err.contains(what), "{}", said.err);
        assert!(!w.inside("ls /var/lib/gipam").contains("renumber.json"), "nothing was begun");
        assert_eq!(w.v6("web", "shop_default"), "fd77:a:0:1::40");
    };
    w.docker("pause db");
    refused(w, "container db is paused");
    w.docker("unpause db");
    w.docker("run -d --name crash --restart always --network shop_default bb false");
    w.until_state("crash", "restarting");
    refused(w, "container crash ends and is restarted again and again; first: docker stop crash");
    w.docker("rm -f crash");
    if w.engine.version >= (25, 0) {
        w.run("--name mac --network shop_default --mac-address 02:16:3e:01:02:03");
        refused(w, "container mac has the fixed MAC 02:16:3e:01:02:03, which this Engine forgets");
        w.docker("rm -f mac");
    }
    let id = w.docker("network inspect --format {{.Id}} shop_default");
    w.run(&format!("--name byid --network {}", &id[..12]));
    refused(w, "container byid names network shop_default by its id");
    w.docker("rm -f byid");
    w.network("taken --ipv6 --subnet 10.77.9.0/24 --subnet fd77:b:0:1::/64");
    refused(w, "its new subnet fd77:b:0:1::/64 is that of network taken; remove one of them");
    w.docker("network rm taken");
    w.docker("network create --ipv6 --subnet 10.99.9.0/24 --subnet fd77:b:0:1::/64 dockers");
    refused(w, "its new subnet fd77:b:0:1::/64 is that of network dockers; remove one of them");
    w.docker("network rm dockers");
    let said = gipam::cli(w.engine, &["renumber", "--yes", "nothing"]);
    assert!(said.err.contains("no network or project nothing is on an earlier prefix"), "{}", said.err);
    becomes(w, A);
    assert!(stale(w).is_empty(), "the prefix is back");
}

/// What a run leaves that is killed after it has removed the network; another prefix comes before the next run.
fn cut_off(w: &mut World) {
    prepare(w);
    w.docker("network rm first");
    becomes(w, B);
    let dry = gipam::cli(w.engine, &["renumber", "shop_default", "--json"]);
    let mut dry: serde_json::Value = serde_json::from_str(&dry.out).unwrap();
    let remove = |w: &World| {
        for container in ["web", "db", "any", "idle"] {
            w.docker(&format!("network disconnect shop_default {container}"));
        }
        w.docker("network rm shop_default");
    };
    w.write("/var/lib/gipam/renumber.json", &dry["moves"][0].take().to_string());
    remove(w);
    becomes(w, "fd77:c::/56");
    let said = gipam::cli(w.engine, &["renumber"]);
    assert!(
        said.out.contains("an earlier run did not finish network shop_default"),
        "{}{}",
        said.out,
        said.err
    );
    let done = gipam::cli(w.engine, &["renumber", "--yes", "shop"]);
    assert!(done.ok && done.out.contains("1 network moved"), "{}{}", done.out, done.err);
    assert_eq!(w.prefixes("shop_default"), ["10.77.1.0/24", "fd77:c:0:1::/64"]);
    assert_eq!(w.v6("db", "shop_default"), "fd77:c:0:1::77");
    // Now the run is killed after it has created the network, and a person starts a container before it is connected.
    becomes(w, B);
    let dry = gipam::cli(w.engine, &["renumber", "--json"]);
    let mut dry: serde_json::Value = serde_json::from_str(&dry.out).unwrap();
    w.write("/var/lib/gipam/renumber.json", &dry["moves"][0].take().to_string());
    remove(w);
    w.network(&format!("shop_default {NETWORK} --subnet 10.77.1.0/24 --subnet fd77:b:0:1::/64"));
    w.docker("start idle");
    assert_ne!(w.v6("idle", "shop_default"), "fd77:b:0:1::99", "Docker does not know its fixed address");
    w.docker("stop -t 1 web");
    let done = gipam::cli(w.engine, &["renumber", "--yes"]);
    assert!(done.ok, "{}{}", done.out, done.err);
    assert!(done.out.contains("web does not run any more; to start it: docker start web"), "{}", done.out);
    w.docker("start web");
    let fixed = ["web", "db", "idle"].map(|name| w.v6(name, "shop_default"));
    assert_eq!(fixed, ["40", "77", "99"].map(|host| format!("fd77:b:0:1::{host}")));
    assert!(stale(w).is_empty(), "{:?}", stale(w));
    w.agree();
}
