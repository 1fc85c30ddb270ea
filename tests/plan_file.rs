//! A pool that several hosts share by a plan file, on real daemons over their sockets.
//!
//! Promises: the invariant *owned* (R85), seen from outside. The hosts of these tests are daemons with one plan file.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use daemon::{Daemon, House, until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Two hosts, each with a slice of four /26 subnets.
const PLAN: &str = r#"
[[pool]]
base = "198.18.0.0/22"
slice = 24
[[host]]
name = "a"
via = ["192.0.2.11"]
slices = ["198.18.0.0/24"]
[[host]]
name = "b"
via = ["192.0.2.12"]
slices = ["198.18.1.0/24"]
"#;

/// A directory with a plan file in it, and the hosts that share it.
struct Hosts {
    directory: Arc<TempDir>,
}

impl Hosts {
    fn new(plan: &str) -> Self {
        let hosts = Self { directory: Arc::new(tempfile::tempdir().unwrap()) };
        hosts.plan(plan);
        hosts
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("plan.toml")
    }

    fn plan(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn house(&self, name: &str) -> House {
        House::with_toml(&toml(name, &self.path()))
    }
}

fn toml(host: &str, plan: &Path) -> String {
    format!(
        "subnet_cooling = \"0\"\n[gc]\nengine = \"\"\n[plan]\nfile = {plan:?}\nhost = {host:?}\n\
         [[pool]]\nname = \"lan\"\nv4 = {{ base = \"198.18.0.0/22\", size = 26, slice = 24 }}\n"
    )
}

fn create(daemon: &Daemon, pool: &str) -> Result<(String, String), String> {
    let body = json!({"AddressSpace": "local", "Pool": pool}).to_string();
    let answer = daemon.wire().call("IpamDriver.RequestPool", &body);
    if answer.status != 200 {
        return Err(answer.refused());
    }
    let answer = answer.ok();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    Ok((text("PoolID"), text("Pool")))
}

fn remove(daemon: &Daemon, id: &str) {
    let answer = daemon.wire().call("IpamDriver.ReleasePool", json!({"PoolID": id}).to_string());
    assert_eq!(answer.status, 200);
}

fn reload(house: &House) -> Vec<String> {
    let lines: Value = house.json(&["reload"]);
    lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

#[test]
fn networks_of_two_hosts_with_one_plan_never_overlap_and_a_full_slice_is_refused_with_its_reason() {
    let hosts = Hosts::new(PLAN);
    let houses = ["a", "b"].map(|name| hosts.house(name));
    let daemons = houses.each_ref().map(House::start);
    let mut given = BTreeSet::new();
    for _ in 0..4 {
        for (daemon, slice) in daemons.iter().zip(["198.18.0.", "198.18.1."]) {
            let (_, prefix) = create(daemon, "").unwrap();
            assert!(prefix.starts_with(slice), "{prefix}");
            assert!(given.insert(prefix));
        }
    }
    let path = hosts.path().display().to_string();
    let refused = create(&daemons[0], "").unwrap_err();
    let expected = format!(
        "nobody has 198.18.2.0/23: add a /24 to host a in {path}, for example 198.18.2.0/24, then run gipam reload"
    );
    assert!(refused.contains(&expected), "{refused}");
    let refused = create(&daemons[0], "198.18.1.0/26").unwrap_err();
    assert!(refused.contains("198.18.1.0/24 belongs to host b"), "{refused}");
    let refused = create(&daemons[0], "198.18.3.64/26").unwrap_err();
    assert!(refused.contains("nobody has 198.18.3.0/24: add it to host a in"), "{refused}");
}

#[test]
fn a_reload_brings_a_slice_in_and_the_next_network_gets_it() {
    let hosts = Hosts::new(PLAN);
    let house = hosts.house("a");
    let daemon = house.start();
    for _ in 0..4 {
        create(&daemon, "").unwrap();
    }
    create(&daemon, "").unwrap_err();
    hosts.plan(&PLAN.replace("\"198.18.0.0/24\"]", "\"198.18.0.0/24\", \"198.18.2.0/24\"]"));
    assert_eq!(house.json(&["reload", "--dry-run"]), json!(["slice 198.18.2.0/24 belongs to this host"]));
    create(&daemon, "").unwrap_err();
    assert_eq!(reload(&house), ["slice 198.18.2.0/24 belongs to this host"]);
    assert_eq!(create(&daemon, "").unwrap().1, "198.18.2.0/26");
    assert_eq!(reload(&house), [""; 0], "a second reload changes nothing");
}

#[test]
fn a_slice_that_the_plan_takes_away_is_lost_while_networks_are_in_it_and_then_ends() {
    let hosts = Hosts::new(&PLAN.replace("\"198.18.0.0/24\"]", "\"198.18.0.0/24\", \"198.18.2.0/24\"]"));
    let house = hosts.house("a");
    let daemon = house.start();
    let (id, _) = create(&daemon, "198.18.0.64/26").unwrap();
    let request = |name: &str| {
        let options = json!({"com.docker.network.endpoint.name": name});
        let body = json!({"PoolID": id, "Address": "", "Options": options}).to_string();
        daemon.wire().call("IpamDriver.RequestAddress", &body)
    };
    let first = request("web").ok()["Address"].clone();
    hosts.plan(
        &PLAN
            .replace("\"198.18.0.0/24\"]", "]")
            .replace("slices = [\"198.18.1.0/24\"]", "slices = [\"198.18.1.0/24\", \"198.18.0.0/24\"]"),
    );
    let lines = reload(&house).join("\n");
    assert!(lines.contains("slice 198.18.0.0/24 is lost") && lines.contains("no longer gives it"), "{lines}");
    assert!(lines.contains("slice 198.18.2.0/24 no longer belongs to this host"), "{lines}");
    for wanted in ["", "198.18.0.0/26", "198.18.2.0/26"] {
        create(&daemon, wanted).unwrap_err();
    }
    let address = first.as_str().unwrap().split('/').next().unwrap().to_owned();
    daemon.wire().release(&id, &address);
    assert_eq!(request("web").ok()["Address"], first, "its containers go on");
    let refused = request("new").refused();
    assert!(
        refused.contains("this host has lost slice 198.18.0.0/24") && refused.contains("belongs to host b"),
        "{refused}"
    );
    remove(&daemon, &id);
    until("the lost slice ends", || {
        house.log().contains("slice 198.18.0.0/24 no longer belongs to this host").then_some(())
    });
    hosts.plan(PLAN);
    assert_eq!(reload(&house), ["slice 198.18.0.0/24 belongs to this host"]);
    create(&daemon, "198.18.0.64/26").unwrap();
}

#[test]
fn a_plan_file_with_a_mistake_is_refused_at_a_reload_and_the_old_one_stays() {
    let hosts = Hosts::new(PLAN);
    let house = hosts.house("a");
    let daemon = house.start();
    for (from, to, expected) in [
        ("198.18.1.0/24", "198.18.0.0/24", "slice 198.18.0.0/24 of host b overlaps 198.18.0.0/24 of host a"),
        ("name = \"a\"", "name = \"c\"", "does not have host a, but c, b; set [plan] host"),
        ("slice = 24", "slice = 24\nhosts = 1", "unknown key"),
        ("198.18.0.0/22", "198.18.0.0/21", "pool lan is 198.18.0.0/22 in slices of /24, but "),
    ] {
        hosts.plan(&PLAN.replacen(from, to, 1));
        let output = house.gipam(&["reload"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{to}: {said}");
        create(&daemon, "").unwrap();
    }
    std::fs::remove_file(hosts.path()).unwrap();
    let output = house.gipam(&["reload"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be read"), "{output:?}");
}

#[test]
fn kill_and_restart_keep_networks_and_slices_also_with_a_broken_plan_file() {
    let hosts = Hosts::new(PLAN);
    let house = hosts.house("a");
    let daemon = house.start();
    let (_, first) = create(&daemon, "").unwrap();
    daemon.kill();
    hosts.plan("[[pool]]\n");
    let daemon = house.start();
    assert!(house.log().contains("error: the plan of all hosts: "), "{}", house.log());
    let (_, second) = create(&daemon, "").unwrap();
    assert_eq!([first.as_str(), second.as_str()], ["198.18.0.0/26", "198.18.0.64/26"]);
    for _ in 0..2 {
        create(&daemon, "").unwrap();
    }
    let refused = create(&daemon, "").unwrap_err();
    assert!(
        refused.contains("the plan file cannot be used") && refused.contains("missing field"),
        "{refused}"
    );
    hosts.plan(&PLAN.replace("\"198.18.0.0/24\"]", "\"198.18.0.0/24\", \"198.18.3.0/24\"]"));
    assert_eq!(reload(&house), ["slice 198.18.3.0/24 belongs to this host"]);
    assert_eq!(create(&daemon, "").unwrap().1, "198.18.3.0/26");
}

#[test]
fn a_host_that_divides_a_pool_differently_gives_nothing_of_it_and_says_both_values() {
    let hosts = Hosts::new(
        &PLAN
            .replace("slice = 24", "slice = 23")
            .replace("198.18.1.0/24", "198.18.2.0/23")
            .replace("198.18.0.0/24", "198.18.0.0/23"),
    );
    let house = hosts.house("a");
    let daemon = house.start();
    let expected = "pool lan is 198.18.0.0/22 in slices of /24, but ";
    assert!(house.log().contains(expected), "{}", house.log());
    for wanted in ["", "198.18.0.0/26"] {
        let refused = create(&daemon, wanted).unwrap_err();
        assert!(
            refused.contains(expected) && refused.contains("has 198.18.0.0/22 in slices of /23"),
            "{refused}"
        );
    }
}

#[test]
fn a_pool_that_is_divided_only_in_the_plan_file_gives_nothing_and_says_both_values() {
    let hosts = Hosts::new(PLAN);
    let sliced = toml("a", &hosts.path());
    let house = House::with_toml(&sliced.replace(", slice = 24", ""));
    let daemon = house.start();
    let expected = "pool lan is 198.18.0.0/22 without slices, but ";
    assert!(house.log().contains(expected), "{}", house.log());
    for wanted in ["", "198.18.0.0/26", "198.18.1.0/26"] {
        let refused = create(&daemon, wanted).unwrap_err();
        assert!(
            refused.contains(expected) && refused.contains("has 198.18.0.0/22 in slices of /24"),
            "{refused}"
        );
    }
    let again = house.gipam(&["reload"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains(expected), "{said}");
    // A restart changes nothing; equal settings do.
    daemon.stop();
    let daemon = house.start();
    assert!(create(&daemon, "").unwrap_err().contains(expected));
    house.configure(&sliced);
    reload(&house);
    assert_eq!(create(&daemon, "").unwrap().1, "198.18.0.0/26");
}

#[test]
fn plan_check_lists_mistakes_holes_and_what_changes_for_this_host() {
    let hosts = Hosts::new(PLAN);
    let house = hosts.house("a");
    let daemon = house.start();
    create(&daemon, "").unwrap();
    let new = hosts.directory.path().join("new.toml");
    let check = |text: &str, more: &[&str]| {
        std::fs::write(&new, text).unwrap();
        let new = new.display().to_string();
        let config = house.path("gipam.toml").display().to_string();
        let arguments = [&["plan", "check", &new, "--config", &config][..], more].concat();
        let output = house.gipam(&arguments);
        let [said, errors] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        (output.status.code().unwrap(), said, errors)
    };
    let (code, said, _) = check(PLAN, &[]);
    assert!(
        code == 0 && said.contains("is valid (1 pool, 2 hosts, 2 slices)\nnobody has 198.18.2.0/23\n"),
        "{said}"
    );
    assert!(!said.contains("gets"), "{said}");
    let (code, said, errors) = check(&PLAN.replace("\"198.18.0.0/24\"]", "\"198.18.3.0/24\"]"), &[]);
    assert!(code == 4 && said.contains("host a gets slice 198.18.3.0/24\n"), "{code} {said} {errors}");
    assert!(said.contains("host a no longer has slice 198.18.0.0/24, but networks are in it\n"), "{said}");
    assert!(errors.contains("networks are in 198.18.0.0/24; remove them first"), "{errors}");
    let (code, said, _) = check(PLAN, &["--json", "--host", "b"]);
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["host"], &json["free"]), (0, &json!("b"), &json!(["198.18.2.0/23"])));
    assert_eq!(check(PLAN, &["--host", "c"]).0, 3);
    let (code, _, errors) =
        check(&PLAN.replace("198.18.1.0/24", "198.18.0.0/24").replace("192.0.2.12", "x"), &[]);
    assert!(
        code == 2 && errors.contains("line 11, column 8") && errors.contains("line 12, column 11"),
        "{errors}"
    );
}

#[test]
fn a_divided_base_is_not_resized_by_hand() {
    let hosts = Hosts::new(PLAN);
    let house = hosts.house("a");
    let _daemon = house.start();
    let output = house.gipam(&["pool", "resize", "lan", "--v4", "198.18.0.0/21"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("several hosts share 198.18.0.0/22 in slices of /24, so it keeps its prefix"),
        "{said}"
    );
    let output = house.gipam(&["pool", "resize", "lan", "--v4-size", "27"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("v4 = { base = \"198.18.0.0/22\", size = 27, slice = 24 }"), "{said}");
}
