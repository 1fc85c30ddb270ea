//! WHAT TWO HOSTS WANT: networks without a slice, slices that another host has, and pools that a host divides differently.
//!
//! Promises: a network that is there goes on; whatever is new needs a slice of this host, and a refusal names the other host.

use serde_json::json;

use super::{Host, POOL, by_number, plan};
use crate::daemon::until;
use crate::etcd::Etcd;

const LATER: &str = "[[pool]]\nname = \"later\"\nv4 = { base = \"10.9.0.0/16\", size = 24, slice = 22 }\n";

fn state(host: &Host, slice: &str) -> Option<String> {
    let rows = host.house.json(&["slices"]);
    let row =
        rows.as_array().unwrap().iter().find(|row| row["slice"] == slice && !row["used"].is_null()).cloned();
    row.map(|row| row["state"].as_str().unwrap().to_owned())
}

fn named(host: &Host, id: &str, name: &str) -> serde_json::Value {
    let body = json!({"PoolID": id, "Address": "", "Options": {"com.docker.network.endpoint.name": name}});
    host.wire().ok("RequestAddress", &body)
}

#[test]
fn a_network_without_a_slice_claims_it_and_one_in_a_slice_of_another_host_is_contested() {
    let etcd = Etcd::start();
    let (a, b) = (Host::member("a", &etcd), Host::member("b", &etcd));
    // Outside of all pools, both hosts may have one network.
    let (free, _) = a.wire().pool(&by_number("10.9.64.0/24"));
    let (taken, _) = a.wire().pool(&by_number("10.9.0.0/24"));
    let kept = named(&a, &taken, "web")["Address"].clone();
    for host in [&b, &a] {
        let name = if std::ptr::eq(host, &b) { "b" } else { "a" };
        host.house.configure(&(plan(name, &etcd.endpoint()) + POOL + LATER));
        host.done(&["reload"]);
        if name == "b" {
            host.wire().pool(&by_number("10.9.1.0/24"));
        }
    }
    until("the free slice is claimed", || (state(&a, "10.9.64.0/22")? == "held").then_some(()));
    until("the other one is contested", || (state(&a, "10.9.0.0/22")? == "lost").then_some(()));
    named(&a, &free, "new");
    let again = a.wire().ok(
        "RequestAddress",
        &json!({"PoolID": free, "Address": "", "Options": {"com.docker.network.endpoint.name": "other"}}),
    );
    assert!(again["Address"].is_string());
    // Its container starts again, and nobody else gets an address there.
    let address = kept.as_str().unwrap().split('/').next().unwrap().to_owned();
    a.wire().release(&taken, &address);
    assert_eq!(named(&a, &taken, "web")["Address"], kept);
    let body =
        json!({"PoolID": taken, "Address": "", "Options": {"com.docker.network.endpoint.name": "new"}});
    let text = a.wire().refused("RequestAddress", &body);
    assert!(text.contains("this host has lost slice 10.9.0.0/22 around 10.9.0.0/24"), "{text}");
    assert!(text.contains("belongs to host b") && text.contains("docker network rm"), "{text}");
}

#[test]
fn a_pool_without_slices_that_the_plan_divides_gives_nothing_and_says_so() {
    let etcd = Etcd::start();
    let a = Host::member("a", &etcd);
    a.wire().pool(&by_number("10.8.4.0/24"));
    let undivided = "[[pool]]\nname = \"routed\"\nv4 = { base = \"10.8.0.0/16\", size = 24 }\n";
    let mut b = Host::new(&(plan("b", &etcd.endpoint()) + undivided));
    let (id, _) = b.wire().pool(&by_number("10.8.80.0/24"));
    b.done(&["join"]);
    let text = until("nothing is given", || {
        let answer = b.wire().call("IpamDriver.RequestPool", by_number("10.8.5.0/24").to_string());
        (answer.status != 200).then(|| answer.text())
    });
    assert!(text.contains("10.8.0.0/16"), "{text}");
    let refused = b.wire().refused("RequestPool", &by_number(""));
    assert!(refused.contains("make the settings of this host"), "{refused}");
    let error = b.house.json(&["status"])["plan"]["error"].to_string();
    assert!(
        error.contains("pool routed is 10.8.0.0/16 without slices, but")
            && error.contains("in slices of /22"),
        "{error}"
    );
    named(&b, &id, "web");
    // The same after a restart, as soon as etcd answers.
    b.stop();
    b.start();
    until("nothing is given after a restart", || {
        let answer = b.wire().call("IpamDriver.RequestPool", by_number("").to_string());
        (answer.status != 200).then_some(())
    });
    // A reload that changes nothing about it is no reason to give; one that mends it is.
    b.done(&["reload"]);
    b.wire().refused("RequestPool", &by_number(""));
    b.house.configure(&(plan("b", &etcd.endpoint()) + POOL));
    b.done(&["reload"]);
    b.wire().pool(&by_number("10.8.81.0/24"));
    assert_eq!(state(&b, "10.8.80.0/22").as_deref(), Some("held"));
}

#[test]
fn a_reload_that_brings_a_pool_which_the_plan_divides_differently_is_refused() {
    let etcd = Etcd::start();
    let a = Host::member("a", &etcd);
    a.house.configure(&(plan("a", &etcd.endpoint()) + POOL + LATER));
    a.done(&["reload"]);
    a.wire().pool(&by_number("10.9.0.0/24"));
    let b = Host::member("b", &etcd);
    until("the host knows the pools", || {
        let rows = b.house.json(&["slices"]);
        rows.to_string().contains("10.9.0.0/22").then_some(())
    });
    for wrong in ["size = 24 }", "size = 24, slice = 20 }"] {
        let pool = LATER.replace("size = 24, slice = 22 }", wrong);
        b.house.configure(&(plan("b", &etcd.endpoint()) + POOL + &pool));
        let text = b.refused(&["reload"]);
        assert!(text.contains("pool later is 10.9.0.0/16") && text.contains("in slices of /22"), "{text}");
    }
    b.house.configure(&(plan("b", &etcd.endpoint()) + POOL + LATER));
    b.done(&["reload"]);
}
