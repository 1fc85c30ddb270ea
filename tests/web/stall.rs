//! A disk that hangs: Docker's calls wait, and every view for people answers and says why.

use std::fs;

use super::daemon::{House, until};
use super::http::Wire;
use super::support::{Site, TOML};
use super::timeshift::compile;

#[test]
fn while_the_disk_hangs_health_page_and_views_answer_and_say_so() {
    let mut house = House::with_toml(TOML);
    let (library, stall) = (house.path("stall.so"), house.path("stall"));
    compile("stall.c", &library);
    for (name, value) in [("LD_PRELOAD", &library), ("STALL", &stall)] {
        house.variables.push((name.to_owned(), value.display().to_string()));
    }
    let site = Site::of(house);
    fs::write(&stall, "").unwrap();
    let mut docker = Wire::unix(&site.daemon.socket);
    let body = br#"{"AddressSpace":"local","Pool":"","SubPool":"","Options":{},"V6":false}"#;
    docker.send(&Wire::request("plugin.moby.localhost", "IpamDriver.RequestPool", body)).unwrap();
    until("the status says that the disk hangs", || {
        let status = site.house.json(&["status"]);
        status["stalled"].as_u64().filter(|_| status["writable"] == false)
    });
    assert_eq!((site.get("/healthz").status, site.get("/").status), (200, 200));
    let ready = site.get("/readyz");
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("the disk has held up a write for "), "{}", ready.text());
    let shown = site.json("/v1/status");
    assert!(shown["stalled"].as_u64().is_some() && shown["writable"] == false, "{shown}");
    assert_eq!(site.sample("gipam_books_writable"), Some(0.0));
    let screen = site.house.gipam(&["status"]);
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    assert!(screen.contains("CANNOT BE WRITTEN: the disk has held up a write for "), "{screen}");
    fs::remove_file(&stall).unwrap();
    assert_eq!(docker.answer().unwrap().status, 200, "Docker waited, and nothing was lost");
    let status = site.house.json(&["status"]);
    assert_eq!(
        (&status["stalled"], &status["writable"], &status["subnets"]),
        (&().into(), &true.into(), &1.into())
    );
}
