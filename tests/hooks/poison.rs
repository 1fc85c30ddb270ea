//! Events that a hook can never accept, and names that could cause such events.

use std::fs;

use rusqlite::Connection;
use serde_json::json;

use super::daemon::{PATIENCE, until};
use super::support::{HOOK, POOLS, WRITES, delivered, events, hook, house, leases, script, until_delivered};
use super::webhook::{delivered as told_of, receiver};

#[test]
fn an_event_that_a_command_never_accepts_is_reported_and_skipped() {
    let house = house(HOOK);
    script(
        &house,
        "hook.sh",
        "[ \"$EVENT\" != leased ] || { echo 'what is this?' >&2; exit 65; }\ncat >>\"${0%/*}/delivered\"",
    );
    let daemon = house.start();
    let mut wire = daemon.wire();
    let (id, addresses) = leases(&mut wire, 2);
    wire.release(&id, &addresses[0]);
    let delivered = until_delivered(&house, 2);
    assert_eq!(events(&delivered), ["subnet_granted", "released"]);
    let row = until("no event is queued", || Some(hook(&daemon)).filter(|row| row["behind"] == 0));
    assert_eq!((&row["passed_over"], &row["failing_since"]), (&json!(2), &json!(null)));
    let status = String::from_utf8(house.gipam(&["status"]).stdout).unwrap();
    assert!(status.contains("rejected events were skipped, see the log: 2 by test"), "{status}");
    let log = house.log();
    assert!(log.contains("error: hook test: event ") && log.contains("(leased) is skipped"), "{log}");
    assert!(log.contains("what is this?"), "{log}");
}

/// `E2BIG`: a retry would have the same arguments and the same environment.
#[test]
fn an_argument_list_that_is_too_long_does_not_block_the_hook() {
    let house = house("");
    let word = "n".repeat(140_000);
    house.configure(&format!("{POOLS}[[hook]]\nname = \"test\"\ncommand = [\"/bin/true\", \"{word}\"]\n"));
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    let passed = |row: &serde_json::Value| row["behind"] == 0 && row["passed_over"] == 2;
    let row = until("both events are skipped", || Some(hook(&daemon)).filter(passed));
    assert_eq!(row["failing_since"], json!(null));
    let log = house.log();
    assert!(log.contains("/bin/true cannot be started: Argument list too long"), "{log}");
    assert!(!log.contains(&word[..1_000]), "its arguments are not shown anywhere");
}

#[test]
fn any_other_failure_is_retried_and_no_event_is_skipped() {
    let house = house(HOOK);
    script(&house, "hook.sh", "[ -e \"${0%/*}/well\" ] || exit 1\ncat >>\"${0%/*}/delivered\"");
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    until("the hook fails", || hook(&daemon)["failing_since"].is_string().then_some(()));
    fs::write(house.path("well"), "").unwrap();
    assert_eq!(events(&until_delivered(&house, 2)), ["subnet_granted", "leased"]);
    assert_eq!(hook(&daemon)["passed_over"], 0);
}

#[test]
fn a_batch_that_a_server_never_accepts_is_sent_one_by_one() {
    let (address, asked) = receiver(&["413 Too Large", "200 OK", "422 No", "200 OK"]);
    let house = house("");
    let daemon = house.start();
    leases(&mut daemon.wire(), 2);
    daemon.stop();
    let hooked = format!("[[hook]]\nname = \"web\"\nurl = \"http://{address}/\"\nfrom = \"start\"\n");
    house.configure(&(POOLS.to_owned() + &hooked));
    let daemon = house.start();
    let sizes: Vec<usize> = (0..4).map(|_| told_of(&asked.recv_timeout(PATIENCE).unwrap().1).len()).collect();
    assert_eq!(sizes, [3, 1, 1, 1]);
    let row = until("no event is queued", || Some(hook(&daemon)).filter(|row| row["behind"] == 0));
    assert_eq!((&row["passed_over"], &row["last_error"]), (&json!(1), &json!(null)));
}

/// P33: the Engine accepts names of any length and with any characters; books of an earlier version contain
/// such names.
#[test]
fn p33_a_name_of_any_length_and_with_any_characters_reaches_a_command_cut_and_on_one_line() {
    let house = house("");
    let daemon = house.start();
    let (_, addresses) = leases(&mut daemon.wire(), 1);
    daemon.stop();
    let books = Connection::open(house.path("gipam.db")).unwrap();
    let address = addresses[0].split('/').next().unwrap();
    let name = format!("\u{1b}]0;x\u{7}\nforged\u{9b}\u{2028}\u{202e}{}", "n".repeat(140_000));
    let (serial, generation): (i64, i64) = books
        .query_row("SELECT serial, generation FROM history WHERE address = ?1", [address], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let sql = "INSERT INTO names (subnet, address, generation, container, container_id, network) VALUES (?1, ?2, ?3, ?4, 'c', ?4)";
    books.execute(sql, rusqlite::params![serial, address, generation, name]).unwrap();
    drop(books);
    house.configure(&format!("{POOLS}{HOOK}from = \"start\"\n"));
    script(&house, "hook.sh", &format!("printf '%s' \"$EVENT_NETWORK\" >>\"${{0%/*}}/network\"\n{WRITES}"));
    let daemon = house.start();
    let all = until_delivered(&house, 2);
    assert_eq!(events(&all), ["subnet_granted", "leased"]);
    let said = fs::read_to_string(house.path("network")).unwrap();
    let shown = [said.as_str(), all[1]["network"].as_str().unwrap(), all[1]["holder"].as_str().unwrap()];
    for text in shown {
        assert!(text.len() <= 255 && text.contains("forged"), "{text:?}");
        assert!(
            !text.contains(|letter: char| letter.is_control() || ['\u{2028}', '\u{202e}'].contains(&letter)),
            "{text:?}"
        );
    }
    // Every other command that reads the books shortens the name, too.
    for arguments in
        [&["leases"][..], &["leases", "--json"], &["status", "--json"], &["history"], &["who", address]]
    {
        let output = house.gipam(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.len() < 20_000, "{arguments:?}: {} bytes", text.len());
        let bad = |letter: char| {
            letter != '\n' && (letter.is_control() || ['\u{2028}', '\u{202e}'].contains(&letter))
        };
        assert!(!text.contains(bad) && !text.contains("\nforged"), "{arguments:?}: {text:?}");
    }
    assert_eq!(hook(&daemon)["passed_over"], 0);
    assert!(delivered(&house).len() >= 2);
}

/// A hook whose output contains terminal control characters or a forged log line.
#[test]
fn the_output_of_a_hook_is_shown_as_one_line_everywhere() {
    let house = house(HOOK);
    script(&house, "hook.sh", "printf 'bad\\033[2J\\nerror: forged\\302\\233\\342\\200\\250' >&2; exit 1");
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    until("the hook fails", || hook(&daemon)["failing_since"].is_string().then_some(()));
    let status = String::from_utf8(house.gipam(&["status"]).stdout).unwrap();
    for text in [house.log(), status, hook(&daemon)["last_error"].as_str().unwrap().to_owned()] {
        let bad = |letter: char| letter != '\n' && (letter.is_control() || letter == '\u{2028}');
        assert!(!text.contains(bad) && !text.contains("\nerror: forged"), "{text:?}");
    }
}
