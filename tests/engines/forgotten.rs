//! A host of a plan in etcd that is gone for good: a person forgets it on another host, and the others take its slices
//! (docs/many-hosts.md).
//!
//! Promises: nobody takes a slice of a host that is only dead; after `gipam hosts forget` the others take all of them, no two networks
//! overlap, and the host gives nothing new if it comes back, until a person lets it join again.

use crate::etcd::{ENDPOINT, Etcd};
use crate::gipam;
use crate::lan::{self, Added, Lan};
use crate::pty::Pty;
use crate::scenario::{Scenario, scenario};
use crate::wait::until;
use crate::world::World;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

pub fn scenarios() -> Vec<Scenario> {
    vec![scenario("others_take_the_slices_of_a_forgotten_host", "D6", forgotten)]
}

/// Subnets in a slice; the pool has four slices.
const IN_A_SLICE: usize = 4;

fn prepare(number: usize, world: &mut World, lan: &Lan) {
    lan.connect(number, world);
    world.configure(&format!(
        r#"
[plan]
etcd = ["{ENDPOINT}"]
host = "h{number}"
via = ["198.51.100.1{number}"]
[[pool]]
name = "small"
v4 = {{ base = "10.8.0.0/22", size = 26, slice = 24 }}
"#
    ));
    world.inside(if number == 1 { "gipam join --new" } else { "gipam join" });
}

/// Creates networks until one is refused; returns why, and adds their prefixes to `given`.
fn fill(w: &World, name: &str, given: &mut BTreeSet<String>) -> String {
    for number in 0.. {
        let network = format!("{name}{number}");
        let said = w.engine.docker(&["network", "create", "--ipam-driver", "gipam", &network]);
        if !said.ok {
            return said.err;
        }
        let prefix = w.prefixes(&network).concat();
        assert!(given.insert(prefix.clone()), "{network} overlaps: {prefix} in {given:?}");
        assert!(number < 4 * IN_A_SLICE, "the pool has no end: {given:?}");
    }
    unreachable!("the loop ends with a refusal")
}

/// Types the command and the name that it asks for.
fn forget(w: &World, host: &str) {
    let pty = Pty::new(25, 120);
    let mut command = w.engine.command(&["gipam", "hosts", "forget", host]);
    let mut typing = command.stdin(pty.end()).stdout(pty.end()).stderr(pty.end()).spawn().unwrap();
    until("the name is asked for", Duration::from_secs(20), || pty.text().contains("type the name"));
    (&pty.ours).write_all(format!("{host}\n").as_bytes()).unwrap();
    assert!(typing.wait().unwrap().success(), "{}", pty.text());
    until("the answer is printed", Duration::from_secs(20), || pty.text().contains("is forgotten"));
}

fn forgotten(w: &mut World) {
    let added = Added::to(w.engine);
    let (mut others, lan) = (added.worlds(), Lan::new());
    let etcd = Etcd::start(&lan);
    prepare(1, w, &lan);
    others.iter_mut().zip(2..).for_each(|(other, number)| prepare(number, other, &lan));
    let [second, third] = &mut others[..] else { panic!("{} hosts", lan::HOSTS) };

    let (mut given, mut of_third) = (BTreeSet::new(), BTreeSet::new());
    w.network("first");
    given.extend(w.prefixes("first"));
    second.network("second");
    given.extend(second.prefixes("second"));
    third.network("third");
    of_third.extend(third.prefixes("third"));
    third.run("--name c3 --network third");
    third.engine.power_off();

    // what the dead host has is not taken
    let said = fill(w, "a", &mut given);
    assert!(said.contains("no available pool"), "{said}");
    fill(second, "b", &mut given);
    assert_eq!(given.len(), 3 * IN_A_SLICE, "{given:?}");
    assert!(given.is_disjoint(&of_third), "{of_third:?} is the third host's: {given:?}");

    forget(w, "h3");
    fill(second, "c", &mut given);
    fill(w, "d", &mut given);
    assert_eq!(given.len(), 4 * IN_A_SLICE, "{given:?}");
    assert!(given.is_superset(&of_third), "{of_third:?} is not taken: {given:?}");
    let said = gipam::cli(w.engine, &["hosts"]);
    let line = said.out.lines().find(|line| line.starts_with("h3 ")).unwrap_or_default();
    assert!(line.contains("forgotten"), "{}{}", said.out, said.err);

    // the host comes back with its old books
    third.engine.power_on();
    drop(third.gipam.take());
    third.start();
    let said = third.refused("network create --ipam-driver gipam more");
    assert!(said.contains("forgotten"), "{said}");
    let said = gipam::cli(third.engine, &["join"]);
    assert!(said.ok && said.out.contains("cannot be claimed: slice 10.8."), "{}{}", said.out, said.err);
    let said = gipam::cli(third.engine, &["hosts"]).out;
    assert_eq!(said.lines().filter(|line| line.starts_with("h3 ")).count(), 2, "{said}");
    second.finish();
    drop(etcd);
}
