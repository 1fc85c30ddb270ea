//! Repair on real Engines: it learns names, adopts live addresses, frees dead leases, and does not delay
//! anything.
//!
//! Checks P20 (what Docker loses) and P26 (gateways that it hides). Waits for each result as long as the
//! rules allow: two checks that count, a minute after the grant and a minute apart.

use crate::gipam;
use crate::scenario::{Scenario, scenario};
use crate::wait::{until, until_every};
use crate::world::World;
use std::time::Duration;

/// Enough time for an event, a second of grace time and a check.
const SOON: Duration = Duration::from_secs(30);
/// Two minutes for the proof, and a margin for a busy machine.
const PROOF: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_secs(3);

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("repair_learns_names_and_adopts_the_living", "P20 P26 D8 D12", names_and_adoption),
        scenario("repair_frees_the_dead_and_lets_the_living_start", "P20.1 P20.7 D8", the_dead).waits(),
        scenario("repair_leaves_the_paused_and_the_restarting_alone", "P17 P20 D8", paused_and_restarting),
    ]
}

/// The holder and network that `gipam leases` shows for an address.
fn shown(w: &World, address: &str) -> Option<(String, String)> {
    let rows: Vec<serde_json::Value> = gipam::view(w.engine, &["leases"]);
    let row = rows.into_iter().find(|row| row["address"] == address)?;
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    Some((text("holder")?, text("network")?))
}

/// The finding of `gipam gc --json` about an address.
fn finding(w: &World, address: &str) -> Option<String> {
    let said = gipam::cli(w.engine, &["gc", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&said.out).ok()?;
    let row = rows.into_iter().find(|row| row["address"] == address)?;
    row["action"].as_str().map(str::to_owned)
}

fn names_and_adoption(w: &mut World) {
    w.network("--ipv6 n1");
    w.run("--name first --network n1");
    let (v4, v6) = (w.v4("first", "n1"), w.v6("first", "n1"));
    for address in [&v4, &v6] {
        let wanted = Some(("first".to_owned(), "n1".to_owned()));
        until("the lease shows its container's name and network", SOON, || shown(w, address) == wanted);
    }
    // The tested Engines do not send names with their requests; the history shows when gipam learned the
    // name.
    for address in [&v4, &v6] {
        let rows: Vec<serde_json::Value> = gipam::view(w.engine, &["history", address]);
        let named = rows.iter().filter(|row| row["event"] == "named").count();
        assert_eq!(named, 1, "{rows:?}");
    }
    w.stop();
    w.inside(&format!("cp -a {0} {0}.saved", gipam::BOOKS));
    w.start();
    w.run("--name second --network n1");
    let late = w.v4("second", "n1");
    w.stop();
    w.inside(&format!("rm -rf {0} && mv {0}.saved {0}", gipam::BOOKS));
    w.start();
    until("the address that the restored backup lacks is adopted", SOON, || {
        shown(w, &late).is_some_and(|(holder, _)| holder == "second")
    });
    w.agree();
    w.run("--name third --network n1");
    assert_ne!(w.v4("third", "n1"), late, "an adopted address must not be given to another container");
}

fn the_dead(w: &mut World) {
    w.network("--subnet 10.211.50.0/24 n1");
    w.run("--name fixed --network n1 --ip 10.211.50.50");
    w.run("--name gone --network n1");
    let leaked = w.v4("gone", "n1");
    w.stop();
    // Docker retries each release for 15 s, then gives up.
    w.docker("stop -t 1 fixed");
    w.docker("rm -f gone");
    w.start();
    until("the leak is found", SOON, || finding(w, &leaked).is_some());
    assert!(finding(w, "10.211.50.50").is_some(), "a stopped container does not hold an address");
    // The daemon makes the checks for the proof by itself; `docker start` only sends requests.
    until_every(PAUSE, "the container with the fixed address starts again", PROOF, || {
        w.engine.docker(&["start", "fixed"]).ok
    });
    assert_eq!(w.v4("fixed", "n1"), "10.211.50.50");
    until_every(PAUSE, "gipam gc --apply frees the leak", PROOF, || {
        let said = gipam::cli(w.engine, &["gc", "--apply", "--json"]);
        assert!(said.ok, "gipam gc --apply failed: {}", said.err);
        let rows: Vec<gipam::Lease> = gipam::view(w.engine, &["leases"]);
        !rows.iter().any(|row| row.address.to_string() == leaked)
    });
    w.agree();
}

fn paused_and_restarting(w: &mut World) {
    w.network("--ipv6 n1");
    w.run("--name still --network n1");
    w.docker("run -d --name loop --network n1 --restart always bb false");
    let (v4, v6) = (w.v4("still", "n1"), w.v6("still", "n1"));
    w.docker("pause still");
    w.until_state("still", "paused");
    for address in [&v4, &v6] {
        assert_eq!(finding(w, address), None, "a paused container holds its addresses");
    }
    assert_eq!((w.v4("still", "n1"), w.v6("still", "n1")), (v4.clone(), v6));
    w.until_state("loop", "restarting");
    until("a container between two starts does not hold addresses", SOON, || {
        w.until_state("loop", "restarting");
        let leases: Vec<gipam::Lease> = gipam::view(w.engine, &["leases"]);
        let endpoints = leases.iter().filter(|lease| lease.kind.as_deref() == Some("endpoint"));
        endpoints.count() == 2
            && gipam::cli(w.engine, &["gc"]).out == "books and Engine agree: no differences"
    });
    w.docker("unpause still");
    assert_eq!(w.v4("still", "n1"), v4);
    w.docker("rm -f loop");
    w.agree();
}
