//! CUTS: hosts that are cut off from the store, in both directions or in one, packets that get lost, and a member that cannot reach
//! the others.
//!
//! Promises: a host that is cut off goes on giving what it owns; requests that need the store are refused with that reason.

use crate::Counts;
use crate::cluster::lan::Loss;
use crate::cluster::{HOSTS, Scene};

/// Requests that a cut host refuses, and answers that it goes on to give, before it is connected again.
const REFUSED: u64 = 2;
const OWNED: u64 = 40;

pub fn run(long: bool) -> Counts {
    let mut scene = Scene::new();
    let rounds = if long { 12 } else { 1 };
    let (mut cuts, mut owned, mut refused, mut lossy, mut split) = (0, 0, 0, 0, 0);
    for round in 0..rounds {
        for (number, loss) in [Loss::All, Loss::Incoming, Loss::Outgoing].into_iter().enumerate() {
            let host = (round + number) % HOSTS;
            let before = (scene.refused()[host], scene.hosts[host].journal.acknowledged());
            scene.hosts[host].machine.lose(loss);
            scene.wait("requests are refused because the store does not answer", |scene| {
                scene.refused()[host] >= before.0 + REFUSED
            });
            let trouble = scene.hosts[host].store();
            assert!(trouble["trouble"].as_str().is_some_and(|text| text.contains("192.0.2.2")), "{trouble}");
            scene.wait("the host goes on with what it owns", |scene| {
                scene.hosts[host].journal.acknowledged() >= before.1 + OWNED
            });
            scene.settle(&format!("after {loss:?} of host {host} in round {round}"));
            refused += scene.refused()[host] - before.0;
            owned += scene.hosts[host].journal.acknowledged() - before.1;
            cuts += 1;
            scene.work();
        }
        let before = scene.noticed();
        let answers = scene.answers();
        let machines = scene.hosts.iter().map(|host| &host.machine);
        machines
            .chain(scene.store.members.iter().map(|it| &it.machine))
            .for_each(|it| it.lose(Loss::Quarter));
        scene.wait("calls fail because packets get lost", |scene| {
            scene.noticed() > before && scene.answers() >= answers + 400
        });
        scene.settle(&format!("after losses in round {round}"));
        lossy += 1;
        scene.work();
        // The member that a host uses hears the hosts, but not the other members.
        let before = scene.noticed();
        let alone = scene.used_member();
        for other in (0..scene.store.members.len()).filter(|other| *other != alone) {
            let other = scene.store.members[other].machine.number;
            scene.store.members[alone].machine.lose(Loss::With(other));
        }
        scene.wait("a member without the others answers nothing", |scene| scene.noticed() > before);
        scene.settle(&format!("after a member was alone in round {round}"));
        split += 1;
        scene.work();
    }
    let packets = scene.packets;
    scene.finish(vec![
        ("hosts cut off", cuts),
        ("requests refused for want of the store", refused),
        ("answers from what a cut host owns", owned),
        ("times a quarter of all packets lost", lossy),
        ("members cut off from the others", split),
        ("packets lost", packets),
    ])
}
