//! A pool or subnet that fills up is logged once, shown, counted and sent to hooks, and so is a WAL that a
//! reader blocks.

use rusqlite::Connection;
use serde_json::Value;

use super::daemon::until;
use super::support::{HOOK, WRITES, delivered, house, leases, script};

/// One base of two subnets, each with fourteen usable addresses.
const TWO: &str = "[gc]\nengine = \"\"\n[[pool]]\nname = \"lan\"\nv4 = { base = \"198.51.100.0/27\", size = 28 }\n\
    cooling = \"0\"\nsubnet_cooling = \"0\"\n";

fn of(delivered: &[Value], event: &str) -> Vec<Value> {
    delivered.iter().filter(|row| row["event"] == event).cloned().collect()
}

#[test]
fn filling_up_is_logged_once_sent_to_hooks_and_cleared_well_below_the_threshold() {
    let events = "events = [\"pool_filling\", \"pool_relieved\", \"subnet_filling\", \"subnet_relieved\"]\n";
    let house = super::daemon::House::with_toml(&format!("{TWO}{HOOK}{events}"));
    script(&house, "hook.sh", WRITES);
    let daemon = house.start();
    let mut wire = daemon.wire();
    let (id, addresses) = leases(&mut wire, 11);
    until("the subnet's fullness is known", || {
        // Eleven of thirteen: the gateway's slot does not count.
        let rows = daemon.view("/v1/status")["filling"].clone();
        (rows[0]["percent"] == 84 && rows[0]["subnet"] == "198.51.100.0/28").then_some(())
    });
    let filling = until("the hook gets the event", || of(&delivered(&house), "subnet_filling").pop());
    assert_eq!((&filling["percent"], &filling["pool"]), (&84.into(), &"lan".into()), "{filling}");
    assert_eq!((&filling["subnet"], &filling["id"]), (&"198.51.100.0/28".into(), &Value::Null), "{filling}");
    // One more subnet and one more address: the pool is full now, and the subnet's state does not change.
    let (second, _) = wire.subnet(false);
    wire.address(&id, "", Value::Null);
    let pool = until("the hook gets the pool's event", || of(&delivered(&house), "pool_filling").pop());
    assert_eq!((&pool["percent"], &pool["family"]), (&100.into(), &"v4".into()), "{pool}");
    let text = String::from_utf8(house.gipam(&["status"]).stdout).unwrap();
    assert!(text.contains("pool lan (v4) is 100% full (warn_at is 80%)"), "{text}");
    assert_eq!(house.log().matches("(warn_at is 80%)").count(), 2, "{}", house.log());
    let (config, books) = (house.path("gipam.toml"), house.path("gipam.db"));
    let paths = [config.to_str().unwrap(), books.to_str().unwrap()];
    let said = house.gipam(&["--config", paths[0], "--file", paths[1], "doctor"]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("subnet 198.51.100.0/28 is 92% full (warn_at is 80%)"), "{text}");
    wire.release_pool(&second);
    for address in &addresses[..6] {
        wire.release(&id, address);
    }
    until("neither is filling up any more", || {
        let delivered = delivered(&house);
        (of(&delivered, "pool_relieved").len() == 1 && of(&delivered, "subnet_relieved").len() == 1)
            .then_some(())
    });
    assert_eq!(daemon.view("/v1/status")["filling"], serde_json::json!([]));
    assert_eq!(of(&delivered(&house), "subnet_filling").len(), 1, "the event is sent once");
    daemon.stop();
}

#[test]
fn a_pool_may_set_or_disable_warn_at_and_a_reload_applies_it() {
    let house = super::daemon::House::with_toml(&format!("{TWO}warn_at = \"off\"\n"));
    let daemon = house.start();
    daemon.wire().subnet(false);
    house.configure(&format!("{TWO}warn_at = \"40%\"\n"));
    let lines = house.json(&["reload"]);
    assert!(lines[0].as_str().unwrap().contains("warn_at"), "{lines}");
    let row = until("the filling is reported", || {
        Some(daemon.view("/v1/status")["filling"][0].clone()).filter(|row| row["percent"] == 50)
    });
    assert_eq!((&row["pool"], &row["warn_at"], &row["subnet"]), (&"lan".into(), &40.into(), &Value::Null));
    daemon.stop();
    house.configure(&format!("warn_at = \"most\"\n{TWO}"));
    let (code, said) = house.refuse();
    assert!(code == 2 && said.contains("\"most\" is not a percentage"), "{code}: {said}");
}

#[test]
fn a_wal_that_a_reader_blocks_is_logged_once_per_episode() {
    let house = house("");
    let daemon = house.start();
    let mut wire = daemon.wire();
    let (id, _) = wire.subnet(false);
    let held = || daemon.view("/v1/status")["log_held"].as_u64();
    let reader = Connection::open(house.path("gipam.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap();
    assert_eq!(held(), None);
    // Writes as much at once as thousands of leases would.
    let writer = Connection::open(house.path("gipam.db")).unwrap();
    let much =
        "PRAGMA wal_autocheckpoint = 0; CREATE TABLE much (x); INSERT INTO much VALUES (zeroblob(70000000));";
    writer.execute_batch(much).unwrap();
    drop(writer);
    wire.address(&id, "", Value::Null);
    let bytes = until("the blocked WAL is reported", held);
    assert!(bytes > 64 << 20, "{bytes}");
    let text = String::from_utf8(house.gipam(&["status"]).stdout).unwrap();
    assert!(text.contains("MiB in use since"), "{text}");
    drop(reader);
    until("the WAL is reset", || {
        let address = wire.address(&id, "", Value::Null);
        wire.release(&id, &address);
        held().is_none().then_some(())
    });
    assert_eq!(house.log().matches("a long-running reader").count(), 1, "{}", house.log());
    assert_eq!(house.log().matches("was reset").count(), 1, "{}", house.log());
    daemon.stop();
}
