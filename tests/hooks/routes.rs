//! `routes_changed`: a hook gets all routes of the plan after each start and reload, and when the plan changes.

use serde_json::Value;

use super::daemon::{House, until};
use super::support::{HOOK, WRITES, delivered, script};

/// The plan file of two hosts; the second has this slice.
fn plan(slice: &str) -> String {
    format!(
        "[[pool]]\nbase = \"10.8.0.0/16\"\nslice = 20\n[[host]]\nname = \"a\"\nvia = [\"192.0.2.11\"]\nslices = [\"10.8.0.0/20\"]\n\
         [[host]]\nname = \"b\"\nvia = [\"192.0.2.12\"]\nslices = [{slice:?}]\n"
    )
}

#[test]
fn a_hook_gets_all_routes_after_each_start_and_reload_and_when_the_plan_changes() {
    let house = House::with_toml("");
    std::fs::write(house.path("plan.toml"), plan("10.8.16.0/20")).unwrap();
    house.configure(&format!(
        "[gc]\nengine = \"\"\n[plan]\nfile = {:?}\nhost = \"a\"\n[[pool]]\nname = \"routed\"\n\
         v4 = {{ base = \"10.8.0.0/16\", size = 24, slice = 20 }}\n{HOOK}events = [\"routes_changed\"]\n",
        house.path("plan.toml")
    ));
    script(&house, "hook.sh", &format!("env >\"${{0%/*}}/variables\"\n{WRITES}"));
    let get = |count: usize| -> Value {
        let all = until(&format!("{count} events; {}", house.log()), || {
            Some(delivered(&house)).filter(|delivered| delivered.len() >= count)
        });
        assert_eq!(all.len(), count, "{all:?}");
        all.last().cloned().unwrap()
    };
    let daemon = house.start();
    let first = get(1);
    assert_eq!((&first["event"], &first["id"]), (&"routes_changed".into(), &Value::Null));
    assert_eq!(first["routes"], house.json(&["routes"]));
    assert_eq!(first["routes"][1]["via"], "192.0.2.12", "{first}");
    let variables = std::fs::read_to_string(house.path("variables")).unwrap();
    assert!(
        variables.contains("EVENT=routes_changed\n") && !variables.contains("EVENT_ROUTES"),
        "{variables}"
    );
    // A commit that does not change a slice is not an event.
    daemon.wire().subnet(false);
    std::fs::write(house.path("plan.toml"), plan("10.8.32.0/20")).unwrap();
    house.json(&["reload"]);
    let second = get(2);
    assert_eq!(second["routes"], house.json(&["routes"]));
    assert_eq!(second["routes"][1]["prefix"], "10.8.32.0/20", "{second}");
    house.json(&["reload"]);
    assert_eq!(get(3)["routes"], second["routes"]);
    daemon.stop();
    let daemon = house.start();
    assert_eq!(get(4)["routes"], second["routes"]);
    daemon.stop();
}
