//! The record of a network that dockerd keeps if it is killed while creating the network, and the reset that
//! protects the next scenario from such a record.
//!
//! If dockerd is killed between its two writes, the network is in the store of its bridge driver but not in
//! its own list: no command shows or removes it, and every request for its subnet is refused. Here such a
//! record is made by hand: while dockerd is down, the network's key in the store is renamed in place.

use crate::scenario::{Scenario, scenario};
use crate::world::World;

const STORE: &str = "var/lib/docker/network/files/local-kv.db";
/// Uses Docker's own IPAM driver; gipam is not involved.
const CREATE: &str = "network create --subnet 10.88.9.0/24 hidden";

pub fn scenarios() -> Vec<Scenario> {
    vec![scenario("engine_is_clean_after_a_network_that_dockerd_hides", "P32", hides)]
}

fn hides(w: &mut World) {
    let id = last_of_all(w);
    w.engine.dockerd_down("TERM");
    let store = w.engine.root().join(STORE);
    let bytes = std::fs::read(&store).unwrap();
    let key = |room: &str| format!("docker/network/v1.0/{room}/{id}/").into_bytes();
    let (from, to) = (key("network"), key("networl"));
    let mut renamed = bytes.clone();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(&from)).collect();
    assert!(!places.is_empty(), "{id} is not in the store");
    places.into_iter().for_each(|at| renamed[at..at + to.len()].copy_from_slice(&to));
    std::fs::write(&store, renamed).unwrap();
    w.engine.dockerd_up(&[]);
    w.refused("network inspect hidden");
    let said = w.refused(CREATE);
    assert!(said.contains("conflicts with network"), "{said}");

    w.reset();
    w.docker(CREATE);
    w.run("--name c1 --network hidden");
    w.docker("rm -f c1");
    w.docker("network rm hidden");
    w.start();
}

/// Creates the network until its id sorts after all others, so that its renamed key stays in order. If the
/// largest of the other ids leaves too little room above it, the Engine is recreated and gets new ids.
fn last_of_all(w: &mut World) -> String {
    for _ in 0..6 {
        for _ in 0..80 {
            let id = w.docker(CREATE);
            if w.docker("network ls -q --no-trunc").lines().all(|other| other <= id.as_str()) {
                return id;
            }
            w.docker("network rm hidden");
        }
        w.engine.recreate();
    }
    panic!("the network never got an id that sorts last");
}
