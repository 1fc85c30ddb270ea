//! A scenario: its name, the facts and duties that it checks, what it requires of an Engine, and the
//! function.

use crate::engine::Engine;
use crate::world::World;
use crate::{
    adoption, at_edge, boots, choosing, compose, containers, covering, doors, down, faults, forgotten, guide,
    hidden, ipv6, leaks, many_hosts, mixed, networks, plan_file, renumber, renumber_kinds, repair, restarts,
    strangers, swarm, takeover, three_hosts,
};

#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    /// Facts P1-P33 and duties D1-D17 of docs/docker-facts.md.
    pub holds: &'static str,
    /// The reason why the scenario cannot run on an Engine, if there is one.
    pub lacks: fn(&Engine) -> Option<&'static str>,
    pub run: fn(&mut World),
    /// Whether the scenario waits for minutes and does little else.
    pub waits: bool,
}

impl Scenario {
    pub fn unless(mut self, lacks: fn(&Engine) -> Option<&'static str>) -> Self {
        self.lacks = lacks;
        self
    }

    pub fn waits(mut self) -> Self {
        self.waits = true;
        self
    }
}

pub fn scenario(name: &'static str, holds: &'static str, run: fn(&mut World)) -> Scenario {
    Scenario { name, holds, lacks: |_| None, run, waits: false }
}

/// The number of short scenarios between two that wait for minutes.
const BETWEEN: usize = 12;

/// All scenarios. Those that wait begin one at a time, and short ones that together last as long as one of
/// them come in between, so that the Engines of a suite do not all wait at the same time.
pub fn in_order() -> Vec<Scenario> {
    let (waiting, others): (Vec<_>, Vec<_>) = all().into_iter().partition(|one| one.waits);
    let (mut waiting, mut order) = (waiting.into_iter(), Vec::new());
    for (number, other) in others.into_iter().enumerate() {
        if number % BETWEEN == 0 {
            order.extend(waiting.next());
        }
        order.push(other);
    }
    order.extend(waiting);
    order
}

fn all() -> Vec<Scenario> {
    [
        networks::scenarios(),
        renumber::scenarios(),
        renumber_kinds::scenarios(),
        containers::scenarios(),
        choosing::scenarios(),
        covering::scenarios(),
        faults::scenarios(),
        restarts::scenarios(),
        compose::scenarios(),
        doors::scenarios(),
        takeover::scenarios(),
        repair::scenarios(),
        mixed::scenarios(),
        adoption::scenarios(),
        leaks::scenarios(),
        many_hosts::scenarios(),
        at_edge::scenarios(),
        three_hosts::scenarios(),
        strangers::scenarios(),
        swarm::scenarios(),
        forgotten::scenarios(),
        plan_file::scenarios(),
        boots::scenarios(),
        guide::scenarios(),
        hidden::scenarios(),
        ipv6::scenarios(),
        down::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub fn no_v6_only(engine: &Engine) -> Option<&'static str> {
    (!engine.v6_only).then_some("this Engine always requests an IPv4 subnet, too")
}
