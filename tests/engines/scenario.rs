//! A scenario: its name, the facts and duties it holds, what an Engine needs for it, and the function.

use crate::engine::Engine;
use crate::world::World;
use crate::{
    adoption, boots, choosing, compose, containers, covering, doors, down, faults, guide, hidden, leaks,
    mixed, networks, repair, restarts, takeover,
};

pub struct Scenario {
    pub name: &'static str,
    /// Facts P1-P33 and duties D1-D17 of docs/docker-facts.md.
    pub holds: &'static str,
    /// Why an Engine cannot have it, if so.
    pub lacks: fn(&Engine) -> Option<&'static str>,
    pub run: fn(&mut World),
}

impl Scenario {
    pub fn unless(mut self, lacks: fn(&Engine) -> Option<&'static str>) -> Self {
        self.lacks = lacks;
        self
    }
}

pub fn scenario(name: &'static str, holds: &'static str, run: fn(&mut World)) -> Scenario {
    Scenario { name, holds, lacks: |_| None, run }
}

pub fn all() -> Vec<Scenario> {
    [
        networks::scenarios(),
        containers::scenarios(),
        choosing::scenarios(),
        covering::scenarios(),
        faults::scenarios(),
        restarts::scenarios(),
        compose::scenarios(),
        doors::scenarios(),
        takeover::scenarios(),
        repair::scenarios(),
        adoption::scenarios(),
        leaks::scenarios(),
        boots::scenarios(),
        guide::scenarios(),
        hidden::scenarios(),
        down::scenarios(),
        mixed::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub fn no_v6_only(engine: &Engine) -> Option<&'static str> {
    (!engine.v6_only).then_some("always asks for an IPv4 subnet, too")
}
