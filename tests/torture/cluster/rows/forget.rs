//! A HOST THAT IS GONE: it is killed under load, a person forgets it, and the others take its slices. Its old books come back and get
//! nothing; then it joins with new ones.

use std::collections::BTreeSet;

use gipam::claims::machine::records::{HostRecord, SliceRecord, host_of, read, slice_of};
use gipam::plan::prefix::Prefix;
use gipam::plan::slices::SliceState;

use crate::Counts;
use crate::cluster::{HOSTS, PREFIX, Scene, load};
use crate::crew::{Client, SHARED};

/// Slices that the others take before the host comes back.
const TAKEN: usize = 4;
/// The lengths of slices from which networks are cut.
const WITH_NETWORKS: [u8; 2] = [23, 60];

pub fn run(long: bool) -> Counts {
    let mut scene = Scene::new();
    let rounds = if long { 8 } else { 1 };
    let (mut forgotten, mut taken) = (0, 0);
    for round in 0..rounds {
        let gone = (round + 2) % HOSTS;
        let person = (gone + 1) % HOSTS;
        scene.hosts[gone].kill();
        let name = scene.hosts[gone].name.clone();
        let had = slices_of(&scene, &name);
        assert!(had.len() >= TAKEN, "host {name} had {had:?}");
        scene.hosts[gone].observer.forgotten();
        scene.hosts[person].told(&["hosts", "forget", &name, "--yes"]);
        forgotten += 1;
        // Networks by number in its slices; besides, the clients take what they need.
        for prefix in
            had.iter().filter_map(|key| slice_of(key)).filter(|it| WITH_NETWORKS.contains(&it.length()))
        {
            let (v6, size) = if prefix.length() == 23 { (false, 26) } else { (true, 64) };
            let network = Prefix::new(prefix.family(), prefix.first(), size).to_string();
            let host = &scene.hosts[person];
            Client::new(&host.house.socket(), &host.journal, SHARED - 1).subnet(v6, &network);
            if had.difference(&slices_of(&scene, &name)).count() >= TAKEN {
                break;
            }
        }
        let left = slices_of(&scene, &name);
        assert!(had.difference(&left).count() >= TAKEN, "nobody takes the slices of host {name}: {left:?}");
        taken += had.difference(&slices_of(&scene, &name)).count() as u64;
        // Its old books come back: they give nothing that needs a slice. Nobody starts a container in its old networks, as their
        // addresses may be at another host by now (docs/many-hosts.md).
        scene.rest();
        scene.hosts[gone].start();
        scene.wait("the host notices that it was forgotten", |scene| {
            scene.hosts[gone].store()["stopped"].as_str().is_some_and(|text| text.contains("forgotten"))
        });
        let held = scene.hosts[gone].plan().slices().iter().filter(|it| it.state == SliceState::Held).count();
        assert_eq!(held, 0, "a forgotten host holds slices");
        scene.hosts[gone].kill();
        scene.hosts[gone].begin_life();
        scene.hosts[gone].start();
        scene.hosts[gone].told(&["join"]);
        load::meet(&scene.hosts[gone]);
        scene.work();
        scene.settle(&format!("after host {name} was replaced in round {round}"));
        scene.work();
    }
    scene.finish(vec![("hosts forgotten", forgotten), ("of their slices taken by others", taken)])
}

/// The keys of the slices that a host of this name has, in any of its lives.
fn slices_of(scene: &Scene, name: &str) -> BTreeSet<String> {
    let pairs = scene.store.pairs(&scene.lan, PREFIX);
    let is_named = |id: &str| {
        pairs.iter().any(|(key, value)| {
            host_of(key) == Some(id) && read::<HostRecord>(value).is_some_and(|host| host.name == name)
        })
    };
    let slices = pairs.iter().filter(|(key, _)| key.starts_with("slice/"));
    slices
        .filter(|(_, value)| read::<SliceRecord>(value).is_some_and(|record| is_named(&record.host)))
        .map(|(key, _)| key.clone())
        .collect()
}
