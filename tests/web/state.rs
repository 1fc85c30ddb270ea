//! What needs attention: hooks, pools and subnets that fill up, and changes by hand, as the page receives
//! them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::support::{Site, TOML};

/// A page that follows the events.
struct Follower<'a> {
    site: &'a Site,
    id: String,
}

impl<'a> Follower<'a> {
    fn new(site: &'a Site) -> Self {
        let id = Self::field(&site.get("/v1/events").text(), "id");
        Self { site, id }
    }

    fn field(text: &str, name: &str) -> String {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    /// Follows the events until `says` accepts the status: every change sends an event.
    fn until(&mut self, what: &str, says: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..100 {
            let status = self.site.json("/v1/status");
            if says(&status) {
                return status;
            }
            let fields = format!("Host: localhost\r\nLast-Event-ID: {}\r\n", self.id);
            let event = self.site.ask("GET", "/v1/events", &fields).text();
            assert_eq!(Self::field(&event, "event"), "change", "{what}: {status}");
            self.id = Self::field(&event, "id");
        }
        panic!("timed out waiting until {what}");
    }
}

#[test]
fn a_failing_hook_is_shown_without_its_target_and_again_when_it_works() {
    let hook = "[[hook]]\nname = \"dns\"\ncommand = [\"./hook.sh\", \"--password=secret\"]\n";
    let site = Site::new(&format!("{TOML}{hook}"));
    let script = site.house.path("hook.sh");
    fs::write(&script, "#!/bin/sh\n[ -e \"${0%/*}/well\" ] || { echo no name server >&2; exit 1; }\n")
        .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut follower = Follower::new(&site);
    let status = follower
        .until("the hook is listed and idle", |status| status["hooks"].as_array().unwrap().len() == 1);
    assert_eq!(
        status["hooks"],
        json!([{"hook": "dns", "target": "", "upto": 0, "behind": 0, "failing_since": null, "last_error": null, "passed_over": 0,
            "delivered": 0, "failures": 0}])
    );
    site.daemon.wire().subnet(false);
    let status = follower.until("the hook fails", |status| status["hooks"][0]["failing_since"].is_string());
    assert_eq!(status["hooks"][0]["behind"], 1, "{status}");
    assert!(status["hooks"][0]["last_error"].as_str().unwrap().contains("no name server"), "{status}");
    assert!(!status.to_string().contains("secret"), "{status}");
    fs::write(site.house.path("well"), "").unwrap();
    let status = follower.until("the hook works", |status| status["hooks"][0]["upto"] == 1);
    assert_eq!(
        (&status["hooks"][0]["failing_since"], &status["hooks"][0]["behind"]),
        (&Value::Null, &json!(0))
    );
}

#[test]
fn filling_up_is_an_event_when_it_is_detected() {
    let site = Site::new(
        "http = \"0\"\n[gc]\nengine = \"\"\n[[pool]]\nname = \"lan\"\n\
        v4 = { base = \"198.51.100.0/27\", size = 28 }\nsubnet_cooling = \"0\"\n",
    );
    let mut follower = Follower::new(&site);
    let mut wire = site.daemon.wire();
    let ids = [wire.subnet(false).0, wire.subnet(false).0];
    let status =
        follower.until("the pool is full", |status| status["filling"].as_array().unwrap().len() == 1);
    let row = &status["filling"][0];
    assert_eq!((&row["pool"], &row["percent"], &row["warn_at"]), (&json!("lan"), &json!(100), &json!(80)));
    ids.iter().for_each(|id| wire.release_pool(id));
    follower.until("the pool is empty", |status| status["filling"] == json!([]));
}

#[test]
fn reservations_and_pins_by_hand_are_shown() {
    let site = Site::new(TOML);
    let mut follower = Follower::new(&site);
    site.daemon.wire().subnet(false);
    for command in [&["reserve", "198.51.100.128/28"][..], &["pin", "printer", "198.51.100.20"]] {
        let done = site.house.gipam(command);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    follower.until("the pin is counted", |status| status["pinned"] == 1);
    let pinned = site.json("/v1/leases?by_hand=true&all=true&limit=1");
    assert_eq!((&pinned["matching"], &pinned["rows"][0]["address"]), (&json!(1), &json!("198.51.100.20")));
    assert_eq!(pinned["rows"][0]["pinned_to"], "printer");
    let reserved = site.json("/v1/reserved");
    let by_hand = reserved.as_array().unwrap().iter().filter(|row| row["origin"] == "by hand");
    assert_eq!(by_hand.map(|row| row["first"].clone()).collect::<Vec<_>>(), ["198.51.100.128"], "{reserved}");
}
