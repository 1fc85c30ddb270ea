//! Two gipams that share a pool by one plan file, as on two hosts; here both serve one Engine under two driver
//! names.
//!
//! Promises: *owned* (R85) and what Docker shows when a slice is full (R86, R87).

use std::collections::BTreeSet;

use crate::gipam::{self, Gipam};
use crate::scenario::{Scenario, scenario};
use crate::world::{Launch, World};

pub fn scenarios() -> Vec<Scenario> {
    vec![scenario("two_gipams_with_one_plan_file_never_overlap_and_say_whose_a_slice_is", "D6", two)]
}

const PLAN: &str = r#"
[[pool]]
base = "10.8.0.0/16"
slice = 24
[[host]]
name = "a"
via = ["198.51.100.11"]
slices = ["10.8.0.0/24"]
[[host]]
name = "b"
via = ["198.51.100.12"]
slices = ["10.8.1.0/24"]
"#;

fn configuration(host: &str) -> String {
    format!(
        "[plan]\nfile = \"/srv/plan.toml\"\nhost = {host:?}\n\
         [[pool]]\nname = \"lan\"\nv4 = {{ base = \"10.8.0.0/16\", size = 26, slice = 24 }}\n"
    )
}

fn two(w: &mut World) {
    w.change_host("mkdir -p /srv", "rm -f /srv/plan.toml");
    w.write("/srv/plan.toml", PLAN);
    w.configure(&configuration("a"));
    w.write("/etc/gipam/b.toml", &configuration("b"));
    let socket = "/run/docker/plugins/gipam-b.sock";
    let words = [
        "--config",
        "/etc/gipam/b.toml",
        "--name",
        "gipam-b",
        "--file",
        "/opt/gipam/b.db",
        "--admin",
        "/run/gipam/b.sock",
    ];
    let words: Vec<String> = words.map(ToOwned::to_owned).into();
    let launch =
        Launch { directory: "/opt/gipam".into(), variables: Vec::new(), words, socket: socket.into() };
    let other = Gipam::start(w.engine, &launch);
    let mut prefixes = BTreeSet::new();
    for number in 0..4 {
        for (driver, slice) in [("gipam", "10.8.0."), ("gipam-b", "10.8.1.")] {
            let network = format!("{driver}-{number}");
            w.docker(&format!("network create --ipam-driver {driver} {network}"));
            let prefix = w.prefixes(&network).concat();
            assert!(prefix.starts_with(slice) && prefixes.insert(prefix.clone()), "{network}: {prefix}");
        }
    }
    let said = w.refused("network create --ipam-driver gipam full");
    assert!(said.contains("nobody has") && said.contains("then run gipam reload"), "{said}");
    let said = w.refused("network create --ipam-driver gipam --subnet 10.8.1.0/26 theirs");
    assert!(said.contains("10.8.1.0/24 belongs to host b"), "{said}");
    w.write("/srv/plan.toml", &PLAN.replace("\"10.8.0.0/24\"]", "\"10.8.0.0/24\", \"10.8.2.0/24\"]"));
    let said = gipam::cli(w.engine, &["reload"]);
    assert!(
        said.ok && said.out.contains("slice 10.8.2.0/24 belongs to this host"),
        "{}{}",
        said.out,
        said.err
    );
    w.network("more");
    assert_eq!(w.prefixes("more"), ["10.8.2.0/26"]);
    w.run("--name c1 --network more");
    for number in 0..4 {
        w.docker(&format!("network rm gipam-b-{number}"));
    }
    drop(other);
}
