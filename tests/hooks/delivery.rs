//! Events are delivered at least once, in order, and no request waits for a delivery.

use std::fs;
use std::time::Instant;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::daemon::{PATIENCE, until};
use super::support::{HOOK, WRITES, delivered, events, hook, house, ids, leases, script, until_delivered};

#[test]
fn hooks_get_everything_in_order_with_json_and_variables() {
    let house = house(HOOK);
    script(
        &house,
        "hook.sh",
        "printf '%s %s %s %s\\n' \"$EVENT\" \"$EVENT_ID\" \"$EVENT_ADDRESS\" \"$EVENT_HOOK\" >>\"${0%/*}/variables\"; cat >>\"${0%/*}/delivered\"",
    );
    let daemon = house.start();
    let mut wire = daemon.wire();
    let (id, prefix) = wire.subnet(false);
    let options = json!({"com.docker.network.endpoint.macaddress": "02:42:c6:33:64:01"});
    let address = wire.address(&id, "", options);
    wire.release(&id, &address);
    wire.release_pool(&id);
    let delivered = until_delivered(&house, 4);
    assert_eq!(events(&delivered), ["subnet_granted", "leased", "released", "subnet_released"]);
    let ids = ids(&delivered);
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    let bare = address.split('/').next().unwrap();
    let leased = &delivered[1];
    for (key, value) in [
        ("subnet", prefix.as_str()),
        ("address", bare),
        ("pool", "lan"),
        ("pool_id", &id),
        ("space", "local"),
        ("kind", "endpoint"),
        ("mac", "02:42:c6:33:64:01"),
    ] {
        assert_eq!(leased[key], value, "{key} of {leased}");
    }
    assert_eq!(delivered[0]["address"], Value::Null, "a missing value is null");
    let variables = fs::read_to_string(house.path("variables")).unwrap();
    let expected = format!("leased {} {bare} test", ids[1]);
    assert_eq!(variables.lines().nth(1), Some(&*expected), "{variables}");
    until("no event is queued", || (hook(&daemon)["behind"] == 0).then_some(()));
    assert_eq!(hook(&daemon)["upto"], ids[3]);
    daemon.stop();
}

#[test]
fn hooks_get_reservations_and_pins() {
    let house = house(HOOK);
    script(&house, "hook.sh", WRITES);
    let daemon = house.start();
    let (id, _) = daemon.wire().subnet(false);
    for arguments in [
        &["reserve", "198.51.100.8-198.51.100.9"][..],
        &["pin", "web", "198.51.100.5"],
        &["unpin", "198.51.100.5"],
        &["unreserve", "198.51.100.8-198.51.100.9"],
    ] {
        assert!(house.gipam(arguments).status.success(), "{arguments:?}");
    }
    let delivered = until_delivered(&house, 5);
    assert_eq!(events(&delivered), ["subnet_granted", "reserved", "pinned", "unpinned", "unreserved"]);
    let of = |row: &Value| {
        ["subnet", "pool_id", "address", "holder", "range", "family"].map(|key| row[key].clone())
    };
    let (v4, none) = (json!("v4"), Value::Null);
    let pin =
        [json!("198.51.100.0/28"), json!(id), json!("198.51.100.5"), json!("web"), none.clone(), v4.clone()];
    let reservation =
        [none.clone(), none.clone(), none.clone(), none, json!("198.51.100.8-198.51.100.9"), v4];
    assert_eq!([of(&delivered[1]), of(&delivered[4])], [reservation.clone(), reservation]);
    assert_eq!([of(&delivered[2]), of(&delivered[3])], [pin.clone(), pin]);
    assert!(delivered[1..].iter().all(|row| row["why"] == "by hand"), "{delivered:?}");
    daemon.stop();
}

#[test]
fn hooks_at_least_once_after_kill() {
    let house = house(HOOK);
    // After the second event and the last lease, the hook kills the daemon, which cannot know that the event
    // was delivered.
    let kills = "cat >>\"${0%/*}/delivered\"\n[ \"$(wc -l <\"${0%/*}/delivered\")\" = 2 ] || exit 0\n\
        while [ ! -e \"${0%/*}/leased\" ]; do sleep 0.01; done\nkill -9 $PPID";
    script(&house, "hook.sh", kills);
    let mut daemon = house.start();
    let (id, addresses) = leases(&mut daemon.wire(), 5);
    std::fs::write(house.path("leased"), "").unwrap();
    assert!(!daemon.wait().success(), "the hook killed the daemon");
    assert_eq!(delivered(&house).len(), 2);
    script(&house, "hook.sh", WRITES);
    let daemon = house.start();
    daemon.wire().release(&id, &addresses[0]);
    let delivered = until_delivered(&house, 8);
    let ids = ids(&delivered);
    assert_eq!(ids[2], ids[1], "possibly undelivered events are delivered again: {ids:?}");
    assert!(
        ids[2..].windows(2).all(|pair| pair[1] == pair[0] + 1),
        "the events must be in order and complete: {ids:?}"
    );
    assert_eq!(events(&delivered)[7], "released");
    daemon.stop();
}

#[test]
fn hooks_continue_after_any_stop_and_do_not_repeat_recorded_deliveries() {
    let house = house(HOOK);
    script(&house, "hook.sh", WRITES);
    let daemon = house.start();
    leases(&mut daemon.wire(), 3);
    until("no event is queued", || (hook(&daemon)["behind"] == 0).then_some(()));
    daemon.kill();
    let daemon = house.start();
    leases(&mut daemon.wire(), 2);
    let delivered = until_delivered(&house, 7);
    let ids = ids(&delivered);
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
    daemon.stop();
    assert_eq!(super::support::delivered(&house).len(), 7);
}

#[test]
fn hooks_never_block_an_address() {
    let house = house("[[hook]]\nname = \"test\"\ncommand = [\"./hook.sh\"]\ntimeout = \"1h\"\n");
    script(&house, "hook.sh", "touch \"${0%/*}/began\"; exec sleep 1000");
    let daemon = house.start();
    let mut wire = daemon.wire();
    let begun = Instant::now();
    let (id, addresses) = leases(&mut wire, 10);
    until("the hook hangs", || house.path("began").exists().then_some(()));
    for address in &addresses {
        wire.release(&id, address);
    }
    wire.release_pool(&id);
    assert!(begun.elapsed() < PATIENCE);
    let row = hook(&daemon);
    assert_eq!(row["behind"], 22, "{row}");
    let begun = Instant::now();
    assert!(daemon.stop().success());
    assert!(begun.elapsed() < PATIENCE, "a hanging hook must not delay the end of the daemon");
}

#[test]
fn a_failing_hook_is_logged_once_shown_and_retried_until_it_works() {
    let house = house(HOOK);
    script(&house, "hook.sh", "echo 'no key' >&2; exit 3");
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    let row = until("the hook fails", || Some(hook(&daemon)).filter(|row| row["last_error"].is_string()));
    let error = row["last_error"].as_str().unwrap();
    assert!(error.contains("exit status: 3") && error.contains("no key"), "{error}");
    assert_eq!(row["behind"], 2, "{row}");
    let text = String::from_utf8(house.gipam(&["status"]).stdout).unwrap();
    assert!(text.contains("\nhook ") && text.contains("2 events queued; failing since"), "{text}");
    script(&house, "hook.sh", WRITES);
    assert_eq!(events(&until_delivered(&house, 2)), ["subnet_granted", "leased"]);
    let row = until("the hook works again", || Some(hook(&daemon)).filter(|row| row["behind"] == 0));
    assert_eq!(row["failing_since"], Value::Null);
    assert_eq!(
        house.log().matches("retrying; later events for this hook are queued").count(),
        1,
        "{}",
        house.log()
    );
    assert_eq!(house.log().matches("works again").count(), 1, "{}", house.log());
    daemon.stop();
}

#[test]
fn a_hook_that_takes_too_long_is_killed_with_its_children() {
    let house = house("[[hook]]\nname = \"test\"\ncommand = [\"./hook.sh\"]\ntimeout = \"200ms\"\n");
    script(&house, "hook.sh", "sleep 1000 & echo $! >\"${0%/*}/child\"; wait");
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    let row = until("the hook failed", || Some(hook(&daemon)).filter(|row| row["last_error"].is_string()));
    assert!(row["last_error"].as_str().unwrap().contains("took longer than 200ms"), "{row}");
    // The hook may be retried meanwhile; every child that it names must be gone in the end.
    script(&house, "hook.sh", WRITES);
    until_delivered(&house, 2);
    let child = fs::read_to_string(house.path("child")).unwrap();
    let stat = format!("/proc/{}/stat", child.trim());
    until("the child is gone", || {
        let text = fs::read_to_string(&stat).unwrap_or_default();
        (text.is_empty() || text.contains(") Z ")).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_hook_gets_only_its_events_and_a_new_hook_only_later_ones() {
    let house = house("");
    script(&house, "hook.sh", WRITES);
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    daemon.stop();
    house.configure(
        &(super::support::POOLS.to_owned() + HOOK + "events = [\"released\", \"subnet_granted\"]\n"),
    );
    let daemon = house.start();
    let mut wire = daemon.wire();
    let (id, addresses) = leases(&mut wire, 2);
    wire.release(&id, &addresses[0]);
    assert_eq!(events(&until_delivered(&house, 2)), ["subnet_granted", "released"]);
    until("no event is queued", || (hook(&daemon)["behind"] == 0).then_some(()));
    daemon.stop();
    let all = HOOK.replace("test", "second") + "from = \"start\"\n";
    house.configure(&(super::support::POOLS.to_owned() + &all));
    fs::remove_file(house.path("delivered")).unwrap();
    let daemon = house.start();
    let delivered = until_delivered(&house, 6);
    assert_eq!(
        events(&delivered),
        ["subnet_granted", "leased", "subnet_granted", "leased", "leased", "released"]
    );
    daemon.stop();
}

#[test]
fn events_pruned_before_delivery_are_reported_as_a_gap() {
    let toml = format!("history = 5\n{}{HOOK}", super::support::POOLS);
    let house = super::daemon::House::with_toml(&toml);
    script(&house, "hook.sh", "exit 1");
    let daemon = house.start();
    let mut wire = daemon.wire();
    let (id, _) = wire.subnet(false);
    // History is pruned a thousand rows at a time, between requests, while the hook is stuck with the rows
    // already read.
    for _ in 0..700 {
        let address = wire.address(&id, "", Value::Null);
        wire.release(&id, &address);
    }
    daemon.stop();
    let daemon = house.start();
    until("the hook fails", || hook(&daemon)["last_error"].is_string().then_some(()));
    let books = Connection::open(house.path("gipam.db")).unwrap();
    let oldest = || books.query_row("SELECT min(seq) FROM history", [], |row| row.get::<_, i64>(0)).unwrap();
    until("history is pruned", || (oldest() > 1000).then_some(()));
    daemon.wire().release_pool(&id);
    script(&house, "hook.sh", WRITES);
    let gap =
        until("the gap is delivered", || delivered(&house).into_iter().find(|event| event["event"] == "gap"));
    let delivered = until("the last event is delivered", || {
        Some(delivered(&house)).filter(|delivered| events(delivered).last() == Some(&"subnet_released"))
    });
    let at = delivered.iter().position(|event| *event == gap).unwrap();
    // There is no event before the gap if pruning was faster than the first read.
    let before = at.checked_sub(1).map_or(0, |before| delivered[before]["id"].as_u64().unwrap());
    assert_eq!(gap["first"].as_u64().unwrap(), before + 1);
    assert_eq!(gap["last"].as_u64().unwrap() + 1, delivered[at + 1]["id"].as_u64().unwrap());
    assert!(house.log().contains("were pruned before they were delivered"), "{}", house.log());
    daemon.stop();
}

#[test]
fn hooks_follow_a_reload() {
    let house = house(HOOK);
    script(&house, "hook.sh", WRITES);
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    until_delivered(&house, 2);
    script(&house, "other.sh", "cat >>\"${0%/*}/other\"");
    let with = |hooks: &str| house.configure(&(super::support::POOLS.to_owned() + hooks));
    with(&HOOK.replace("hook.sh", "other.sh"));
    let path = house.path("./other.sh").display().to_string();
    let line = format!("hook test is changed: {path}; it continues where it left off");
    assert_eq!(house.json(&["reload", "--dry-run"]), json!([line]));
    assert_eq!(hook(&daemon)["target"], house.path("./hook.sh").display().to_string());
    assert_eq!(house.json(&["reload"]), json!([line]));
    leases(&mut daemon.wire(), 1);
    let other = until("the other program gets the event", || {
        fs::read_to_string(house.path("other")).ok().filter(|text| text.lines().count() == 2)
    });
    assert!(other.contains("subnet_granted"), "{other}");
    with("");
    let line = "hook test is removed: its undelivered events are dropped";
    assert_eq!(house.json(&["reload"]), json!([line]));
    leases(&mut daemon.wire(), 1);
    with(HOOK);
    let line = format!("hook test is added: {}, from now on", house.path("./hook.sh").display());
    assert_eq!(house.json(&["reload"]), json!([line]));
    daemon.wire().subnet(true);
    let delivered = until_delivered(&house, 3);
    assert_eq!(delivered.len(), 3);
    assert!(delivered[2]["subnet"].as_str().unwrap().starts_with("2001:db8:"), "{}", delivered[2]);
    daemon.stop();
}

#[test]
fn one_hook_does_not_wait_for_another() {
    let house = house(&format!("{HOOK}[[hook]]\nname = \"stuck\"\ncommand = [\"./stuck.sh\"]\n"));
    script(&house, "hook.sh", WRITES);
    script(&house, "stuck.sh", "echo 'not today' >&2; exit 1");
    let daemon = house.start();
    leases(&mut daemon.wire(), 4);
    assert_eq!(ids(&until_delivered(&house, 5)), [1, 2, 3, 4, 5]);
    let row = || daemon.view("/v1/status")["hooks"][1].clone();
    let stuck = until("the other hook fails", || Some(row()).filter(|row| row["last_error"].is_string()));
    assert_eq!((&stuck["hook"], &stuck["behind"]), (&"stuck".into(), &5.into()));
    let (config, books) = (house.path("gipam.toml"), house.path("gipam.db"));
    let paths = [config.to_str().unwrap(), books.to_str().unwrap()];
    let said = house.gipam(&["--config", paths[0], "--file", paths[1], "doctor", "--json"]);
    let findings: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
    let of = |check: &str| findings.iter().find(|row| row["check"] == check).unwrap();
    assert_eq!(of("hook test")["verdict"], "well", "{findings:#?}");
    assert_eq!(of("hook stuck")["verdict"], "warning", "{findings:#?}");
    assert!(of("hook stuck")["found"].as_str().unwrap().contains("5 events queued"), "{findings:#?}");
    daemon.stop();
}
