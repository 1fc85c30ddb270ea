//! The command line as a person or a script uses it: the binary, run with arguments, without a daemon or with
//! a stand-in that gives one prepared answer.
//!
//! Does not start the driver; other tests do that.

#![cfg(test)]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A separate directory with its own environment.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gipam"));
        // An empty file of the test, so that a file in this machine's /etc does not matter.
        let configuration = self.write("empty.toml", "");
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("GIPAM_CONFIG", configuration);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        Done::from(self.command(arguments).output().unwrap())
    }

    /// A stand-in for the daemon that reads one request, waits for the gate, and gives this answer.
    fn daemon(&self, status: &str, body: &str, gate: Option<mpsc::Receiver<()>>) -> JoinHandle<String> {
        let listener = UnixListener::bind(self.path("admin.sock")).unwrap();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 65536];
            let mut length = 0;
            while !complete(&asked[..length]) {
                length += stream.read(&mut asked[length..]).unwrap();
            }
            if let Some(gate) = gate {
                gate.recv().unwrap();
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked[..length].to_vec()).unwrap()
        })
    }

    /// Sends a command to the stand-in.
    fn ask(&self, arguments: &[&str]) -> Done {
        let admin = self.path("admin.sock");
        self.run(&[&["--admin", admin.to_str().unwrap()], arguments].concat())
    }
}

/// Whether head and body of a request are complete.
fn complete(asked: &[u8]) -> bool {
    let text = String::from_utf8_lossy(asked);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

struct Done {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn help_has_one_line_per_command_in_groups_of_80_columns() {
    let place = Place::new();
    for spelling in ["--help", "-help", "-h"] {
        let help = place.run(&[spelling]);
        assert_eq!((help.code, help.err.as_str()), (0, ""), "{spelling}");
        for group in ["Show:", "Change:", "Repair:", "Files:", "Options of the driver"] {
            assert!(help.out.contains(&format!("\n\n{group}")), "{group}: {}", help.out);
        }
        assert!(help.out.lines().all(|line| line.chars().count() <= 80), "{}", help.out);
        let definition = gipam::cli::definition();
        let commands = definition.get_subcommands().map(clap::Command::get_name);
        // Options of the driver are not in a command's help; there, -v4 and similar ones are written with one
        // dash.
        let options =
            definition.get_arguments().filter_map(clap::Arg::get_long).map(|long| format!("-{long}"));
        let others = ["--all", "--holder", "--replace", "--force", "--since", "--dry-run"].map(str::to_owned);
        for word in commands.map(str::to_owned).chain(options).chain(others) {
            assert!(help.out.contains(&word), "{word} is missing");
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = Place::new().run(&["--version"]);
    assert_eq!((version.code, version.out), (0, format!("gipam {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn usage_errors_exit_with_2_and_say_what_is_wrong() {
    let place = Place::new();
    for (arguments, said) in [
        (&["frobnicate"][..], "unrecognized subcommand 'frobnicate'"),
        (&["pools", "--nope"], "unexpected argument '--nope'"),
        (&["-v4"], "a value is required for '--v4"),
        (&["--v4", "10.0.0.0/24", "pools"], "options that start the driver belong to gipam serve"),
        (&["--json"], "--json needs a command"),
        (&["release", "10.0.0.0/24"], "repeat with --force"),
        (&["release", "10.0.0.7/24"], "gipam: 10.0.0.7/24 may still be in use"),
        (&["release"], "required arguments were not provided"),
        (&["export", "--format", "yaml"], "invalid value 'yaml'"),
        (&["--config", "none.toml"], "none.toml cannot be read"),
    ] {
        let done = place.run(arguments);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}: {}", done.err);
        assert!(done.err.contains(said), "{arguments:?}: {}", done.err);
    }
}

#[test]
fn a_bare_command_line_in_the_old_spelling_starts_the_driver() {
    let place = Place::new();
    for arguments in [
        &["-v6", "fe80::/56", "-v4", "no prefix"][..],
        &["--v4", "no prefix"],
        &["-v4=no prefix"],
        &["serve", "-v4", "no prefix"],
        &["-v4", "no prefix", "serve", "-unix=false"],
    ] {
        let done = place.run(arguments);
        assert_eq!(done.code, 2, "{}", done.err);
        assert!(done.err.contains("-v4: \"no prefix\" is not a prefix; write it like"), "{}", done.err);
    }
    let done = Done::from(place.command(&[]).env("GIPAM_V6", "fe80::/56x").output().unwrap());
    assert_eq!(done.code, 2);
    assert!(done.err.contains("GIPAM_V6: \"fe80::/56x\" is not a prefix"), "{}", done.err);
}

#[test]
fn config_check_names_file_line_and_key() {
    let place = Place::new();
    let file =
        place.write("bad.toml", "log = \"info\"\n[[pool]]\nname = \"a\"\nv4 = { base = \"10.0.0.9/8\" }\n");
    let done = place.run(&["config", "check", "bad.toml"]);
    let expected = format!(
        "gipam: the configuration cannot be used: {}, line 4, column 15, key pool[1].v4.base: 10.0.0.9/8 has host \
         bits set; write 10.0.0.0/8\n",
        file.display()
    );
    assert_eq!((done.code, done.out, done.err), (2, String::new(), expected));
}

#[test]
fn config_check_accepts_a_valid_file_and_ignores_variables() {
    let place = Place::new();
    place.write("good.toml", "[[pool]]\nname = \"lan\"\nv4.base = \"10.20.0.0/16\"\n");
    let done =
        Done::from(place.command(&["config", "check", "good.toml"]).env("GIPAM_V4", "x").output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert_eq!(done.out, "good.toml is valid (drivers: gipam; pools: lan)\n");
}

#[test]
fn config_show_says_where_each_value_comes_from() {
    let place = Place::new();
    let mut command = place.command(&["config", "show", "--json", "--file", "x.json"]);
    let done = Done::from(command.env("GIPAM_LOG", "debug").output().unwrap());
    let rows: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let row = |key: &str| rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    assert_eq!(
        (row("log")["value"].as_str(), row("log")["origin"].as_str()),
        (Some("debug"), Some("GIPAM_LOG"))
    );
    assert_eq!(row("file")["origin"], "--file");
    assert_eq!(row("cooling")["origin"], "default");
}

#[test]
fn a_missing_daemon_is_exit_code_6_and_books_of_another_are_not_shown() {
    let place = Place::new();
    place.write("lease.db", "");
    for arguments in [&["status"][..], &["pools"], &["leases", "--all"], &["history", "web"], &["export"]] {
        let done = place.ask(arguments);
        assert_eq!((done.code, done.out.as_str()), (6, ""), "{arguments:?}: {}", done.err);
        assert!(
            done.err.contains("no daemon answers at") && done.err.contains("--file PATH"),
            "{}",
            done.err
        );
    }
    let done = place.ask(&["release", "10.0.0.0/24", "10.0.0.7", "--force"]);
    assert_eq!(done.code, 6, "{}", done.err);
}

const LEASES: &str = r#"[
    {"subnet":"10.20.0.0/24","address":"10.20.0.1","kind":"gateway","holder":null,"mac":null,"state":"leased",
     "since":"2026-01-02T03:04:05Z","id":"local/10.20.0.0/24#1","space":"local"},
    {"subnet":"10.20.0.0/24","address":"10.20.0.2","kind":null,"holder":"we\u001b[31mb","mac":"02:42:0a:14:00:02",
     "state":"leased","since":null,"id":null,"space":"local","network":"web","later":"unknown keys are ignored"}]"#;

#[test]
fn a_view_is_an_aligned_table_without_control_codes() {
    let place = Place::new();
    let daemon = place.daemon("200 OK", LEASES, None);
    let done = place.ask(&["leases"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    let expected = "\
SUBNET        ADDRESS    KIND     HOLDER         NETWORK  MAC                STATE   SINCE
10.20.0.0/24  10.20.0.1  gateway  -              -        -                  leased  2026-01-02T03:04:05Z
10.20.0.0/24  10.20.0.2  unknown  we\\u{1b}[31mb  web      02:42:0a:14:00:02  leased  -
";
    assert_eq!(done.out, expected);
    assert!(daemon.join().unwrap().starts_with("GET /v1/leases HTTP/1.1\r\n"));
}

#[test]
fn subnets_have_a_column_for_the_network() {
    let row = |prefix: &str, network: &str| {
        format!(
            r#"{{"id":"local/{prefix}#1","prefix":"{prefix}","pool":"lan","space":"local","range":null,"gateway":null,
             "leases":0,"cooling":0,"since":null,"options":{{}},"network":{network}}}"#
        )
    };
    let place = Place::new();
    let rows = [row("10.20.0.0/24", "\"front\""), row("10.20.1.0/24", "null")].join(",");
    let _daemon = place.daemon("200 OK", &format!("[{rows}]"), None);
    let done = place.ask(&["subnets"]);
    assert_eq!(
        done.out,
        "\
SUBNET        NETWORK  POOL  SPACE  RANGE  GATEWAY  LEASES  SINCE  ID
10.20.0.0/24  front    lan   local  -      -             0  -      local/10.20.0.0/24#1
10.20.1.0/24  -        lan   local  -      -             0  -      local/10.20.1.0/24#1
"
    );
}

#[test]
fn json_is_passed_on_with_keys_that_this_version_does_not_know() {
    let place = Place::new();
    let daemon = place.daemon("200 OK", LEASES, None);
    let done = place.ask(&["leases", "--all", "--json"]);
    let (came, went): (serde_json::Value, serde_json::Value) =
        (serde_json::from_str(LEASES).unwrap(), serde_json::from_str(&done.out).unwrap());
    assert_eq!((done.code, went), (0, came));
    assert!(daemon.join().unwrap().starts_with("GET /v1/leases?all=true HTTP/1.1\r\n"));
}

#[test]
fn a_refusal_has_the_exit_code_of_its_kind_and_its_text() {
    for (status, kind, code) in [
        ("400 Bad Request", "invalid", 2),
        ("404 Not Found", "missing", 3),
        ("403 Forbidden", "taken", 4),
        ("503 Service Unavailable", "exhausted", 5),
        ("503 Service Unavailable", "unavailable", 1),
        ("500 Internal Server Error", "failed", 1),
    ] {
        let place = Place::new();
        let daemon = place.daemon(status, &format!(r#"{{"Err":"no, because","kind":"{kind}"}}"#), None);
        let done = place.ask(&["release", "10.0.0.0/24", "10.0.0.7", "--force"]);
        assert_eq!((done.code, done.err.as_str()), (code, "gipam: no, because\n"), "{kind}");
        let asked = daemon.join().unwrap();
        assert!(asked.starts_with("POST /v1/release HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.ends_with(
                r#"{"subnet":"10.0.0.0/24","address":"10.0.0.7","force":true,"without_engine":false}"#
            ),
            "{asked}"
        );
    }
}

#[test]
fn history_requests_the_name_as_it_was_typed() {
    let place = Place::new();
    let daemon = place.daemon("200 OK", "[]", None);
    let done = place.ask(&["history", "2001:db8::1", "--limit", "7"]);
    let nothing = "gipam: no event matches 2001:db8::1\n";
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (3, "", nothing));
    assert!(daemon.join().unwrap().starts_with("GET /v1/history?of=2001%3Adb8%3A%3A1&limit=7 HTTP/1.1\r\n"));
}

#[test]
fn a_filter_without_matches_and_an_empty_list_print_a_message_instead_of_a_table() {
    let filtered = [
        (&["leases", "--holder", "web", "--since", "2h"][..], "no lease matches --holder web, --since 2h"),
        (&["leases", "192.0.2.0/24"], "no lease matches 192.0.2.0/24"),
        (&["leases", "--state", "pinned"], "no lease matches --state pinned"),
        (&["history", "web"], "no event matches web"),
    ];
    for (arguments, said) in filtered {
        let place = Place::new();
        let daemon = place.daemon("200 OK", "[]", None);
        let done = place.ask(arguments);
        daemon.join().unwrap();
        assert_eq!((done.code, done.out.as_str()), (3, ""), "{arguments:?}");
        assert_eq!(done.err, format!("gipam: {said}\n"));
        let place = Place::new();
        let daemon = place.daemon("200 OK", "[]", None);
        let json = place.ask(&[arguments, &["--json"]].concat());
        daemon.join().unwrap();
        assert_eq!(
            (json.code, json.out.as_str()),
            (0, "[]\n"),
            "--json does not add this message: {arguments:?}"
        );
    }
    for (command, said) in
        [("leases", "lease"), ("subnets", "subnet"), ("pools", "pool"), ("reserve", "reservation")]
    {
        let place = Place::new();
        let daemon = place.daemon("200 OK", "[]", None);
        let done = place.ask(&[command]);
        daemon.join().unwrap();
        assert_eq!((done.code, done.out.as_str()), (0, ""), "{command}");
        assert_eq!(done.err, format!("gipam: no {said} yet\n"));
    }
}

#[test]
fn import_sends_the_file_and_its_name() {
    let place = Place::new();
    let file = place.write("lease.json", "{\"v4\": \"10.0.0.0/8\"}");
    let daemon = place.daemon("200 OK", r#"{"subnets":2,"leases":5}"#, None);
    let done = place.ask(&["import", "lease.json", "--replace"]);
    let expected = format!("imported {}\nsubnets: 2\nleases:  5\n", file.display());
    assert_eq!((done.code, done.out), (0, expected), "{}", done.err);
    let asked = daemon.join().unwrap();
    let body = asked.split_once("\r\n\r\n").unwrap().1;
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["content"], "{\"v4\": \"10.0.0.0/8\"}");
    assert_eq!(
        (body["name"].as_str().map(Path::new), &body["replace"]),
        (Some(file.as_path()), &true.into())
    );
}

#[test]
fn an_export_is_printed_unchanged() {
    let place = Place::new();
    let daemon = place.daemon("200 OK", "{\n  \"v6\": \"\"\n}", None);
    assert_eq!(place.ask(&["export"]).out, "{\n  \"v6\": \"\"\n}");
    assert!(daemon.join().unwrap().starts_with("GET /v1/export?format=leases.json HTTP/1.1\r\n"));
}

#[test]
fn a_reader_that_leaves_early_is_not_a_failure() {
    let place = Place::new();
    let (open, gate) = mpsc::channel();
    let daemon = place.daemon("200 OK", LEASES, Some(gate));
    let admin = place.path("admin.sock");
    let mut child = place.command(&["leases", "--admin", admin.to_str().unwrap()]).spawn().unwrap();
    drop(child.stdout.take());
    open.send(()).unwrap();
    let done = Done::from(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    daemon.join().unwrap();
}

#[test]
fn a_broken_default_configuration_does_not_hide_the_views() {
    let place = Place::new();
    let broken = place.write("broken.toml", "log = 1");
    let daemon = place.daemon("200 OK", "[]", None);
    let mut command = place.command(&["pools", "--admin", place.path("admin.sock").to_str().unwrap()]);
    let done = Done::from(command.env("GIPAM_CONFIG", broken).output().unwrap());
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.starts_with("gipam: ignoring the configuration file: "), "{}", done.err);
    daemon.join().unwrap();
}
