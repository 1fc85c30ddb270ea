//! A hook's URL or command may contain a password, which must never be shown.

use std::net::TcpListener;

use super::daemon::{House, until};
use super::support::{POOLS, hook, house, leases, script};

/// Everything that gipam prints or serves, and the log.
fn everything(house: &House, page: &str) -> String {
    let config = house.path("gipam.toml").display().to_string();
    let admin = house.admin().display().to_string();
    let mut said = house.log();
    for arguments in [
        &["status", "--admin", &admin][..],
        &["status", "--json", "--admin", &admin],
        &["history", "--json", "--admin", &admin],
        &["doctor", "--admin", &admin, "--config", &config],
        &["config", "show", "--config", &config],
        &["config", "show", "--json", "--config", &config],
        &["config", "check", "--config", &config],
    ] {
        let output = house.plain(arguments);
        said += &String::from_utf8_lossy(&output.stdout);
        said += &String::from_utf8_lossy(&output.stderr);
    }
    for path in ["/", "/v1/status", "/v1/history", "/metrics"] {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(page).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        stream.read_to_string(&mut said).unwrap();
    }
    said
}

fn page_of(house: &House) -> String {
    until("the log names the page's address", || {
        let log = house.log();
        Some(log.split("are at http://").nth(1)?.split('/').next()?.to_owned())
    })
}

#[test]
fn the_url_and_the_arguments_of_a_hook_are_never_shown() {
    // The port of a listener that is already closed.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hooks = format!(
        "[[hook]]\nname = \"plain\"\nurl = \"http://{nobody}/services/T0s3cret?token=s3cret1234\"\n\
         [[hook]]\nname = \"named\"\nurl = \"http://inventory.example/s3cret/path?token=s3cret5678\"\nconnect = \"{nobody}\"\n\
         [[hook]]\nname = \"program\"\ncommand = [\"./hook.sh\", \"--password\", \"s3cret-word\", \"--key=s3cret-key\"]\n"
    );
    let house = house("");
    house.configure(&format!("http = \"0\"\n{POOLS}{hooks}"));
    script(&house, "hook.sh", "echo \"cannot log in with $2 and $3\" >&2; exit 1");
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    until("all hooks fail", || {
        let hooks = daemon.view("/v1/status")["hooks"].clone();
        hooks.as_array().unwrap().iter().all(|row| row["last_error"].is_string()).then_some(())
    });
    let row = hook(&daemon);
    assert!(row["last_error"].as_str().unwrap().contains("cannot reach"), "{row}");
    assert_eq!(row["target"], format!("http://{nobody}/..."));
    let page = page_of(&house);
    let said = everything(&house, &page);
    assert!(
        !said.contains("s3cret"),
        "{}",
        said.lines().filter(|line| line.contains("s3cret")).collect::<String>()
    );
    // A reload prints the changes, too.
    house.configure(&format!(
        "http = \"0\"\n{POOLS}{}",
        hooks.replace("s3cret1234", "s3cret9999").replace("s3cret-word", "s3cret-again")
    ));
    let output = house.gipam(&["reload"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &everything(&house, &page);
    assert!(output.status.success() && said.contains("hook plain is changed"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn a_mistake_in_a_hook_is_reported_without_its_url_or_arguments() {
    for toml in [
        "url = \"http://user:s3cret@inventory.example/\"",
        "url = \"http://inventory.example/s3cret\"",
        "url = \"https//s3cret\"",
        "url = \"http://192.0.2.7/a b?s3cret\"",
        "command = \"notify --password s3cret\"",
        "command = [\"x\", 5]\nurl = \"s3cret\"",
        "url = [\"http://192.0.2.7/s3cret\"]",
        "url = \"http://192.0.2.7/s3cret\nconnect = \"x\"",
    ] {
        let house: House = house(&format!("[[hook]]\nname = \"x\"\n{toml}\n"));
        let (code, said) = house.refuse();
        assert_eq!(code, 2, "{toml}: {said}");
        assert!(said.contains("gipam.toml, line") && !said.contains("s3cret"), "{toml}: {said}");
    }
}
