//! FILES as the program uses them: one daemon per file, whatever path names it, a mistyped path that does not
//! create a directory, an empty lease file, a restore while a daemon runs, and pools that are missing from
//! the books or contradict them.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Output;

use daemon::House;
use serde_json::Value;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Checks that the command failed and printed each of these words.
fn refused(house: &House, arguments: &[&str], words: &[&str]) {
    let output = house.gipam(arguments);
    let said = text(&output);
    assert!(!output.status.success(), "{arguments:?}: {said}");
    assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
}

#[test]
fn a_second_daemon_is_kept_out_whatever_it_calls_the_books() {
    let house = House::new(&daemon::POOLS);
    let daemon = house.start();
    let (id, _) = daemon.wire().subnet(false);
    daemon.wire().address(&id, "", Value::Null);
    symlink(house.path("gipam.db"), house.path("link.db")).unwrap();
    symlink(house.directory.path(), house.path("linked")).unwrap();
    fs::hard_link(house.path("gipam.db"), house.path("hard.db")).unwrap();
    for name in ["link.db", "linked/gipam.db", "hard.db"] {
        let mut second = House::new(&daemon::POOLS);
        second.set("--file", &house.path(name));
        let (code, said) = second.refuse();
        assert_eq!(code, 1, "{name}: {said}");
        assert!(said.contains("in use by another gipam"), "{name}: {said}");
    }
    fs::remove_file(house.path("hard.db")).unwrap();
    assert_eq!(daemon.view("/v1/leases").as_array().unwrap().len(), 1);
    // The other path leads to the same books and the same WAL.
    daemon.kill();
    let mut second = House::new(&daemon::POOLS);
    second.set("--file", &house.path("link.db"));
    let daemon = second.start();
    assert_eq!(daemon.view("/v1/leases").as_array().unwrap().len(), 1);
}

#[test]
fn the_log_says_at_start_where_the_books_are_and_whether_they_are_new() {
    let house = House::new(&daemon::POOLS);
    let books = house.path("gipam.db").display().to_string();
    let daemon = house.start();
    assert!(house.log().contains(&format!("the books {books} are new and hold 0 subnets and 0 leases")));
    let (id, _) = daemon.wire().subnet(false);
    daemon.wire().address(&id, "", Value::Null);
    daemon.kill();
    drop(house.start());
    let log = house.log();
    assert!(log.contains(&format!("the books {books} hold 1 subnet and 1 lease")), "{log}");
    assert!(!log.contains("are new"), "{log}");
}

#[test]
fn a_mistyped_path_does_not_create_a_directory() {
    let mut house = House::new(&daemon::POOLS);
    house.set("--file", &house.path("no/such/gipam.db"));
    let (code, said) = house.refuse();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not exist; correct the path") && said.contains("mkdir -p"), "{said}");
    assert!(!house.path("no").exists());
    // A person does not type the default path, so gipam may create its directory.
    let mut house = House::new(&daemon::POOLS);
    house.unset("--file");
    house.variables.push(("STATE_DIRECTORY".to_owned(), house.path("state/gipam").display().to_string()));
    drop(house.start());
    assert!(house.path("state/gipam/gipam.db").exists());
}

#[test]
fn a_backup_does_not_overwrite_files_or_create_directories() {
    let house = House::new(&daemon::POOLS);
    let _daemon = house.start();
    assert!(house.gipam(&["backup", "copy.db"]).status.success());
    let before = fs::read(house.path("copy.db")).unwrap();
    refused(&house, &["backup", "copy.db"], &["never overwrites", "give another name"]);
    assert!(fs::read(house.path("copy.db")).unwrap() == before);
    refused(&house, &["backup", "no/such/copy.db"], &["does not exist; correct the path", "mkdir -p"]);
    assert!(!house.path("no").exists());
}

#[test]
fn a_restore_is_refused_while_a_daemon_runs_and_reports_what_it_restored() {
    let house = House::new(&daemon::POOLS);
    let daemon = house.start();
    let (id, _) = daemon.wire().subnet(false);
    daemon.wire().address(&id, "", Value::Null);
    let file = house.path("gipam.db").display().to_string();
    assert!(house.gipam(&["backup", "copy.db"]).status.success());
    refused(&house, &["restore", "copy.db", "--file", &file], &["stop it first"]);
    // The restore is also refused if the daemon's socket does not answer: the lock shows that the daemon has
    // the books open.
    let elsewhere = house.path("elsewhere.sock").display().to_string();
    let output = house.gipam(&["restore", "copy.db", "--file", &file]);
    assert!(!output.status.success(), "{}", text(&output));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gipam"));
    command.current_dir(house.directory.path()).env_clear().env("GIPAM_CONFIG", house.path("gipam.toml"));
    let output =
        command.args(["restore", "copy.db", "--file", &file, "--admin", &elsewhere]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(daemon.stop().success());
    let said = house.json(&["restore", "copy.db", "--file", &file]);
    assert_eq!((&said["subnets"], &said["leases"]), (&1.into(), &1.into()), "{said}");
    assert!(said["replaced_books"].as_str().unwrap().ends_with("gipam.db.replaced-1"), "{said}");
}

#[test]
fn a_restore_never_takes_a_lease_file_for_the_books() {
    let house = House::new(&daemon::POOLS);
    let daemon = house.start();
    daemon.wire().subnet(false);
    assert!(house.gipam(&["backup", "copy.db"]).status.success());
    assert!(daemon.stop().success());
    let old = "{\"v4\":\"198.18.0.0/16\",\"v4ab\":24,\"allocated\":null,\"free\":null}";
    fs::write(house.path("leases.json"), old).unwrap();
    let file = house.path("leases.json").display().to_string();
    let output = house.gipam(&["restore", "copy.db", "--file", &file]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(fs::read_to_string(house.path("leases.json")).unwrap(), old);
    assert!(house.path("leases.db").exists());
}

#[test]
fn an_empty_lease_file_is_refused_instead_of_ignored() {
    for content in ["", " \n"] {
        let mut house = House::new(&daemon::POOLS);
        fs::write(house.path("leases.json"), content).unwrap();
        house.set("--file", &house.path("leases.json"));
        let (code, said) = house.refuse();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("is empty") && said.contains("rm "), "{said}");
        assert!(!house.path("leases.db").exists());
        // If books made from the lease file exist, gipam uses them.
        fs::remove_file(house.path("leases.json")).unwrap();
        drop(house.start());
        fs::write(house.path("leases.json"), content).unwrap();
        drop(house.start());
        assert!(house.log().contains("leases.json is empty"), "{}", house.log());
    }
}

const V4_IN_TOML: &str = r#"
[[pool]]
name = "lan"
v4 = { base = "198.51.100.0/24", size = 28 }
"#;

/// Starts with books whose only pool is `lan` with IPv4, and with these flags and variables but no
/// configuration file.
fn pools_from_books(flags: &[&str], variables: &[(&str, &str)]) -> (Vec<(String, String, u64)>, String) {
    let mut house = House::with_toml(V4_IN_TOML);
    drop(house.start());
    house.configure("");
    house.arguments.extend(flags.iter().map(ToString::to_string));
    let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    house.variables.extend(variables.iter().map(owned));
    let daemon = house.start();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| (text(&row["pool"]), text(&row["base"]), row["size"].as_u64().unwrap());
    (daemon.view("/v1/pools").as_array().unwrap().iter().map(row).collect(), house.log())
}

fn row(name: &str, base: &str, size: u64) -> (String, String, u64) {
    (name.to_owned(), base.to_owned(), size)
}

#[test]
fn a_family_that_the_books_lack_is_never_ignored_silently() {
    let lan = [row("lan", "198.51.100.0/24", 28)];
    for (flags, variables, who) in [
        (&["-v6", "2001:db8:77::/48"][..], &[][..], "-v6 2001:db8:77::/48 (size /64)"),
        (&[], &[("GIPAM_V6", "2001:db8:77::/48")], "GIPAM_V6 2001:db8:77::/48 (size /64)"),
        (&["-v6", "2001:db8:77::/48"], &[("GIPAM_V6AB", "56")], "-v6 2001:db8:77::/48 (size /56)"),
    ] {
        let (pools, log) = pools_from_books(flags, variables);
        assert_eq!(pools, lan, "a pool that was closed by hand would come back: {log}");
        assert!(
            log.contains(who) && log.contains("lan (198.51.100.0/24 in /28)"),
            "a warning names both settings: {log}"
        );
        assert!(log.contains("gipam pool add default --v6 2001:db8:77::/48"), "{log}");
    }
}

#[test]
fn a_family_that_the_pool_of_the_flags_lacks_is_added_to_it() {
    let mut house = House::new(&["-v4", "198.51.100.0/24"]);
    drop(house.start());
    house.arguments.extend(["-v6".to_owned(), "2001:db8:77::/48".to_owned()]);
    let pools = house.start().view("/v1/pools");
    assert_eq!(
        (&pools[0]["base"], &pools[1]["base"]),
        (&"198.51.100.0/24".into(), &"2001:db8:77::/48".into())
    );
}

#[test]
fn a_family_for_a_pool_that_was_closed_by_hand_is_not_added_with_a_warning() {
    let mut house = House::new(&["-v4", "198.51.100.0/24"]);
    let daemon = house.start();
    daemon.wire().subnet(false);
    for change in [&["pool", "add", "other", "--v4", "203.0.113.0/24"][..], &["pool", "close", "default"]] {
        assert!(house.gipam(change).status.success(), "{change:?}");
    }
    drop(daemon);
    house.arguments.extend(["-v6".to_owned(), "2001:db8:77::/48".to_owned()]);
    let daemon = house.start();
    assert_eq!(daemon.view("/v1/pools").as_array().unwrap().len(), 2);
    let log = house.log();
    assert!(
        log.contains(
            "-v6 2001:db8:77::/48 (size /64) has no effect, because pool default of the books is closed"
        ),
        "{log}"
    );
}

#[test]
fn a_difference_from_the_books_is_reported_with_its_flag_or_variable() {
    let lan = [row("lan", "198.51.100.0/24", 28)];
    let (pools, log) = pools_from_books(&["-v4", "198.18.0.0/16"], &[]);
    assert_eq!(pools, lan);
    assert!(log.contains("-v4 198.18.0.0/16") && log.contains("198.51.100.0/24"), "{log}");
    let (pools, log) = pools_from_books(&[], &[("GIPAM_V4", "198.51.100.0/24"), ("GIPAM_V4AB", "27")]);
    assert_eq!(pools, lan);
    assert!(log.contains("GIPAM_V4 198.51.100.0/24 (size /27)") && log.contains("size /28"), "{log}");
    let (pools, log) = pools_from_books(&["-v4", "198.51.100.0/24", "-v4ab", "28"], &[]);
    assert_eq!(pools, lan);
    assert!(!log.contains("differs"), "{log}");
    // A size alone does not define a pool.
    let (pools, log) = pools_from_books(&["-v4ab", "26"], &[]);
    assert_eq!(pools, lan);
    assert!(log.contains("-v4ab 26 also needs"), "{log}");
    let (_, log) = pools_from_books(&[], &[("GIPAM_V6AB", "56")]);
    assert!(log.contains("GIPAM_V6AB 56 also needs"), "{log}");
}
