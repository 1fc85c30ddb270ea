//! SLICES THAT HOSTS CLAIM THROUGH ETCD: real daemons and a real etcd with one member on loopback.
//!
//! Promises: the store answers as its model; hosts that join own different slices; what they own goes on without etcd, what
//! needs etcd is refused within 2 s; hosts that were forgotten, and a store that was restored, lose no network. Needs etcd
//! (scripts/etcd.sh).

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "etcd/contested.rs"]
mod contested;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/etcd.rs"]
mod etcd;
#[path = "support/http.rs"]
mod http;

use std::fs;
use std::time::{Duration, Instant};

use daemon::{Daemon, House, until};
use etcd::Etcd;
use gipam::claims::etcd::EtcdStore;
use gipam::claims::machine::calls::{Compare, Effect, Pairs, StoreCall, StoreReply};
use gipam::config::EtcdSettings;
use http::Wire;
use serde_json::{Value, json};

const POOL: &str = "[[pool]]\nname = \"routed\"\nv4 = { base = \"10.8.0.0/16\", size = 24, slice = 22 }\n";

fn plan(name: &str, endpoint: &str) -> String {
    let number = name.as_bytes()[0];
    format!(
        "[gc]\nengine = \"\"\n[plan]\nhost = \"{name}\"\netcd = [\"{endpoint}\"]\nvia = [\"192.0.2.{number}\"]\n"
    )
}

/// A host: its files and its daemon.
struct Host {
    house: House,
    daemon: Option<Daemon>,
}

impl Host {
    fn new(toml: &str) -> Host {
        let house = House::with_toml(toml);
        let daemon = Some(house.start());
        Host { house, daemon }
    }

    /// A host of the plan that has joined; the first one makes the plan.
    fn member(name: &str, etcd: &Etcd) -> Host {
        let host = Host::new(&(plan(name, &etcd.endpoint()) + POOL));
        let is_first = etcd.control(&["get", "--keys-only", "/gipam/plan"]).trim().is_empty();
        host.done(if is_first { &["join", "--new"] } else { &["join"] });
        host
    }

    fn wire(&self) -> Wire {
        self.daemon.as_ref().unwrap().wire()
    }

    /// A command that must succeed.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.house.gipam(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// A command that must be refused.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.house.gipam(arguments);
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn stop(&mut self) {
        self.daemon.take().unwrap().stop();
    }

    fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    fn start(&mut self) {
        self.daemon = Some(self.house.start());
    }

    /// The slices that it holds.
    fn held(&self) -> Vec<String> {
        let rows = self.house.json(&["slices"]);
        let own =
            rows.as_array().unwrap().iter().filter(|row| !row["used"].is_null() && row["state"] == "held");
        own.map(|row| row["slice"].as_str().unwrap().to_owned()).collect()
    }

    fn subnets(&self) -> usize {
        self.house.json(&["subnets"]).as_array().unwrap().len()
    }
}

fn by_number(prefix: &str) -> Value {
    json!({"AddressSpace": "local", "Pool": prefix, "SubPool": "", "Options": {}, "V6": false})
}

fn settings(etcd: &Etcd) -> EtcdSettings {
    let endpoint = gipam::config::EtcdEndpoint { secure: false, address: etcd.address.parse().unwrap() };
    EtcdSettings {
        endpoints: vec![endpoint],
        prefix: "/gipam/".to_owned(),
        via: Vec::new(),
        user: None,
        ca: None,
        identity: None,
        server_name: None,
        timeout: 1_500,
    }
}

#[test]
fn the_store_answers_as_its_model() {
    let etcd = Etcd::start();
    // Keys of others, next to those of the plan.
    etcd.control(&["put", "/gipam", "x"]);
    etcd.control(&["put", "/gipam0", "x"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut store = EtcdStore::new(settings(&etcd));
    let mut model = Pairs::new();
    let mut both = |call: StoreCall| {
        let reply = runtime.block_on(store.call(&call)).unwrap();
        assert_eq!(reply, call.apply(&mut model), "{call:?}");
        reply
    };
    let compare =
        |key: &str, value: Option<&str>| Compare { key: key.to_owned(), value: value.map(str::to_owned) };
    let put = |key: &str, value: &str| Effect::Put { key: key.to_owned(), value: value.to_owned() };
    let transact =
        |compares: &[Compare], effect: Effect| StoreCall::Transact { compares: compares.to_vec(), effect };
    both(StoreCall::List);
    both(StoreCall::Get { keys: vec!["plan".to_owned(), "host/a".to_owned()] });
    assert_eq!(both(transact(&[compare("plan", None)], put("plan", "1"))), StoreReply::Done);
    let again = both(transact(&[compare("plan", None), compare("host/a", None)], put("plan", "2")));
    assert_eq!(again, StoreReply::Differs([("plan".to_owned(), "1".to_owned())].into()));
    both(transact(&[compare("plan", Some("1")), compare("host/a", None)], put("host/a", "ä")));
    both(transact(&[compare("host/a", Some("a"))], Effect::Delete { key: "host/a".to_owned() }));
    both(StoreCall::Get { keys: vec!["plan".to_owned(), "host/a".to_owned(), "host/b".to_owned()] });
    both(transact(&[compare("host/a", Some("ä"))], Effect::Delete { key: "host/a".to_owned() }));
    both(transact(&[compare("host/a", None)], Effect::Delete { key: "host/a".to_owned() }));
    // More than one page.
    for number in 0..1_100 {
        both(transact(&[], put(&format!("slice/{number:04}"), "x")));
    }
    let StoreReply::Pairs(all) = both(StoreCall::List) else { panic!("no list") };
    assert_eq!(all.len(), 1_101);
}

#[test]
fn hosts_that_join_own_different_slices_and_an_owner_is_named() {
    let etcd = Etcd::start();
    let mut a = Host::new(&(plan("a", &etcd.endpoint()) + POOL));
    let none = a.wire().refused("RequestPool", &by_number(""));
    assert!(none.contains("host a has not joined the plan") && none.contains("gipam join"), "{none}");
    assert!(a.refused(&["join"]).contains("the store has no plan; create it: gipam join --new"));
    assert!(a.done(&["join", "--new", "--dry-run"]).contains("a plan would be created"));
    assert_eq!(etcd.control(&["get", "--prefix", "/gipam/"]), "", "a dry run changes nothing");
    let said = a.done(&["join", "--new"]);
    assert!(said.contains("host a takes part in plan"), "{said}");
    assert!(a.refused(&["join", "--new"]).contains("has a plan already"));
    let b = Host::member("b", &etcd);
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        of_a.push(a.wire().subnet(false).1);
        of_b.push(b.wire().subnet(false).1);
    }
    assert!(of_a.iter().all(|subnet| !of_b.contains(subnet)), "{of_a:?} {of_b:?}");
    let text = b.wire().refused("RequestPool", &by_number(&of_a[0]));
    assert!(text.contains("belongs to host a"), "{text}");
    let (slices_a, slices_b) = (a.held(), b.held());
    assert!(slices_a.len() >= 2 && slices_a.iter().all(|slice| !slices_b.contains(slice)), "{slices_a:?}");
    // Nobody tells a host what others claim, but it looks.
    until("each host knows all slices", || {
        let known = |host: &Host| {
            let rows = host.house.json(&["slices"]);
            rows.as_array().unwrap().iter().filter(|row| row["state"] == "held").count()
        };
        [&a, &b].iter().all(|host| known(host) == slices_a.len() + slices_b.len()).then_some(())
    });
    // The books have what etcd has, and a restart changes nothing.
    let before = etcd.control(&["get", "--prefix", "/gipam/slice/"]);
    a.stop();
    a.start();
    a.wire().subnet(false);
    assert_eq!(a.held(), slices_a);
    let after = etcd.control(&["get", "--prefix", "/gipam/slice/"]);
    assert_eq!(before, after);
}

#[test]
fn an_existing_host_joins_with_its_networks_and_loses_none() {
    let etcd = Etcd::start();
    let first = Host::member("a", &etcd);
    first.wire().pool(&by_number("10.8.4.0/24"));
    // A host without a plan, with a network in the slice of the other.
    let mut b = Host::new(
        "[gc]\nengine = \"\"\n[[pool]]\nname = \"routed\"\nv4 = { base = \"10.8.0.0/16\", size = 24 }\n",
    );
    let mut ids = Vec::new();
    for prefix in ["10.8.0.0/24", "10.8.1.0/24", "10.8.5.0/24", "10.8.80.0/24"] {
        ids.push(b.wire().pool(&by_number(prefix)).0);
    }
    let address = b.wire().address(&ids[2], "", json!({}));
    b.stop();
    b.house.configure(&(plan("b", &etcd.endpoint()) + POOL));
    b.start();
    let would = b.done(&["join", "--dry-run"]);
    assert!(would.contains("slice 10.8.4.0/22 belongs to host a: networks in it would go on"), "{would}");
    assert!(would.contains("slice 10.8.0.0/22 would belong to this host"), "{would}");
    let said = b.done(&["join"]);
    assert!(said.contains("slice 10.8.0.0/22 belongs to this host"), "{said}");
    assert!(said.contains("slice 10.8.80.0/22 belongs to this host"), "{said}");
    assert!(
        said.contains("slice 10.8.4.0/22 cannot be claimed: slice 10.8.4.0/22 belongs to host a"),
        "{said}"
    );
    // All networks are still there, and an address can be released and given in the one that overlaps.
    assert_eq!(b.subnets(), 4);
    b.wire().release(&ids[2], &address);
    b.wire().address(&ids[2], "", json!({}));
    let text = b.wire().refused("RequestPool", &by_number("10.8.6.0/24"));
    assert!(text.contains("belongs to host a"), "{text}");
    assert!(b.done(&["join"]).contains("host b takes part"), "repeating it succeeds");
}

#[test]
fn without_etcd_own_slices_go_on_and_the_rest_is_refused_within_two_seconds() {
    let mut etcd = Etcd::start();
    let mut a = Host::member("a", &etcd);
    let first = a.wire().subnet(false).0;
    etcd.stop();
    a.wire().subnet(false);
    a.wire().address(&first, "", json!({}));
    let began = Instant::now();
    let text = a.wire().refused("RequestPool", &by_number("10.8.252.0/24"));
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    assert!(text.contains("did not answer within 2 s") && text.contains(&etcd.address), "{text}");
    assert!(text.contains("check etcd, then try again"), "{text}");
    // A daemon starts without etcd and serves what it owns.
    a.kill();
    a.start();
    a.wire().subnet(false);
    a.wire().refused("RequestPool", &by_number("10.8.252.0/24"));
    let status = a.house.json(&["status"]);
    assert!(status.to_string().contains("onnection refused"), "{status}");
    // Long pauses between attempts end with a request that needs the store.
    until("etcd is away for some seconds, so that attempts pause", || {
        let status = a.done(&["status"]);
        ["(4 s)", "(5 s)", "(6 s)"].iter().any(|away| status.contains(away)).then_some(())
    });
    etcd.go_on();
    a.wire().pool(&by_number("10.8.252.0/24"));
}

#[test]
fn other_hosts_are_seen_and_without_etcd_people_see_since_when_it_is_gone() {
    let mut etcd = Etcd::start();
    let mut a = Host::member("a", &etcd);
    let b = Host::member("b", &etcd);
    let (_, others) = b.wire().subnet(false);
    // A claim notes the other hosts in the books.
    a.wire().subnet(false);
    let who = others.replace(".0/24", ".9");
    until("the slice of host b", || (a.house.json(&["who", &who])[0]["host"] == "b").then_some(()));
    let names = |host: &Host| {
        let rows = host.house.json(&["hosts"]);
        let names = rows.as_array().unwrap().iter().map(|row| row["host"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), rows[1]["slices"].clone())
    };
    assert_eq!(names(&a), (vec!["a".to_owned(), "b".to_owned()], json!(1)));
    etcd.stop();
    let begun = Instant::now();
    let said = a.refused(&["hosts", "forget", "b", "--yes"]);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(said.contains("the plan's store did not answer within 2 s"), "{said}");
    let stale = |host: &Host| {
        let store = host.house.json(&["status"])["plan"]["store"].clone();
        (store["stale_since"].is_string() && store["trouble"].is_string()).then_some(())
    };
    until("the status of a host says so", || stale(&a));
    // A host that nobody asks notices it, too.
    until("the status of the other host says so", || stale(&b));
    a.stop();
    a.start();
    assert_eq!(names(&a), (vec!["a".to_owned(), "b".to_owned()], Value::Null), "from the books");
    etcd.go_on();
    until("etcd answers again", || stale(&a).is_none().then_some(()));
    until("the slices of host b are known again", || (names(&a).1 == json!(1)).then_some(()));
}

#[test]
fn a_host_that_came_later_is_in_the_books_of_the_others() {
    let etcd = Etcd::start();
    let a = Host::member("a", &etcd);
    let _b = Host::member("b", &etcd);
    // After a restore of etcd, hosts that any books know are awaited.
    until("a has noted b", || {
        let books = rusqlite::Connection::open(a.house.path("gipam.db")).unwrap();
        let row = books.query_row("SELECT value FROM meta WHERE key = 'claims.hosts'", [], |row| row.get(0));
        row.is_ok_and(|hosts: String| hosts.contains("\"name\":\"b\"")).then_some(())
    });
}

#[test]
fn a_spare_slice_is_claimed_before_room_ends() {
    let mut etcd = Etcd::start();
    let a = Host::member("a", &etcd);
    for _ in 0..4 {
        a.wire().subnet(false);
    }
    // A slice has four subnets: the next one comes without etcd.
    until("a spare slice", || (a.held().len() == 2).then_some(()));
    etcd.stop();
    a.wire().subnet(false);
}

#[test]
fn a_forgotten_host_loses_its_slices_keeps_its_networks_and_can_join_again() {
    let etcd = Etcd::start();
    let a = Host::member("a", &etcd);
    let mut b = Host::member("b", &etcd);
    let (id, subnet) = b.wire().subnet(false);
    let address = b.wire().address(&id, "", json!({}));
    b.stop();
    a.wire().refused("RequestPool", &by_number(&subnet));
    a.done(&["hosts", "forget", "b", "--yes"]);
    a.wire().pool(&by_number(&subnet));
    b.start();
    until("the host knows", || {
        let text = b.wire().refused("RequestPool", &by_number(""));
        text.contains("was forgotten by a person").then_some(())
    });
    b.wire().release(&id, &address);
    let said = b.done(&["join"]);
    assert!(said.contains("cannot be claimed") && said.contains("belongs to host a"), "{said}");
    let next = b.wire().subnet(false).1;
    assert!(!a.held().is_empty() && next != subnet, "{next}");
    assert_eq!(b.subnets(), 2);
}

#[test]
fn a_host_that_runs_while_it_is_forgotten_joins_again_without_a_restart() {
    let etcd = Etcd::start();
    let a = Host::member("a", &etcd);
    let b = Host::member("b", &etcd);
    let subnet = b.wire().subnet(false).1;
    until("a knows the slice", || {
        let text = a.wire().refused("RequestPool", &by_number(&subnet));
        text.contains("belongs to host b").then_some(())
    });
    a.done(&["hosts", "forget", "b", "--yes"]);
    assert!(b.refused(&["join"]).contains("was forgotten by a person"), "it learns of it now");
    let said = b.done(&["join"]);
    assert!(said.contains("belongs to this host") && !said.contains("cannot be claimed"), "{said}");
    b.wire().subnet(false);
    assert_eq!(b.held().len(), 1, "nobody had taken its slice");
}

#[test]
fn nothing_is_given_back_before_repair_has_compared_the_books_with_the_engine() {
    const LAN: &str = "[[pool]]\nname = \"lan\"\nv4 = { base = \"10.9.0.0/24\", slice = 28, shared = true, by_number = \"10.9.0.240/30\" }\n";
    let etcd = Etcd::start();
    let host = |name: &str, engine: &str| {
        let toml = plan(name, &etcd.endpoint()).replace("engine = \"\"", &format!("engine = {engine:?}"));
        Host::new(&(toml + LAN))
    };
    // b cannot ask its Engine, a has no repair.
    let (a, b) = (host("a", ""), host("b", "/nonexistent.sock"));
    a.done(&["join", "--new"]);
    b.done(&["join"]);
    let slices = || etcd.control(&["get", "--prefix", "--keys-only", "/gipam/slice/"]);
    for (host, address) in [(&b, "10.9.0.241"), (&a, "10.9.0.242")] {
        let id = host.wire().pool(&by_number("10.9.0.0/24")).0;
        let given = host.wire().address(&id, address, json!({}));
        assert!(slices().contains("-32"), "{}", slices());
        host.wire().release(&id, &given);
    }
    until("the address of a is given back", || (!slices().contains("0a0900f2-32")).then_some(()));
    assert!(slices().contains("0a0900f1-32"), "{}", slices());
}

#[test]
fn a_reload_with_a_plan_file_instead_gives_no_slice_up() {
    let etcd = Etcd::start();
    let mut a = Host::member("a", &etcd);
    a.wire().subnet(false);
    let held = a.held();
    let file = a.house.path("plan.toml");
    let division = "[[pool]]\nbase = \"10.8.0.0/16\"\nslice = 22\n[[host]]\nname = \"a\"\nvia = [\"192.0.2.1\"]\nslices = []\n";
    fs::write(&file, division).unwrap();
    a.house.configure(&(format!("[gc]\nengine = \"\"\n[plan]\nhost = \"a\"\nfile = {file:?}\n") + POOL));
    let said = a.done(&["reload"]);
    assert!(said.contains("who decides about slices changes at the next start"), "{said}");
    assert_eq!(a.held(), held);
    a.wire().subnet(false);
    a.house.configure(&(plan("a", &etcd.endpoint()) + POOL));
    a.stop();
    a.start();
    assert_eq!(a.held(), held);
}

#[test]
fn a_host_whose_memory_of_the_plan_is_unreadable_gives_what_it_owns_and_can_join_again() {
    let etcd = Etcd::start();
    let mut a = Host::member("a", &etcd);
    a.wire().subnet(false);
    a.stop();
    let books = rusqlite::Connection::open(a.house.path("gipam.db")).unwrap();
    books.execute("UPDATE meta SET value = '{' WHERE key = 'claims'", []).unwrap();
    drop(books);
    a.start();
    a.wire().subnet(false);
    let text = a.wire().refused("RequestPool", &by_number("10.8.252.0/24"));
    assert!(text.contains("row claims, cannot be read") && text.contains("gipam join"), "{text}");
    // Its old id still has the slice: a person forgets it, and the network goes on meanwhile.
    let said = a.done(&["join"]);
    assert!(said.contains("host a takes part in plan"), "{said}");
    a.wire().pool(&by_number("10.8.252.0/24"));
}

#[test]
fn after_a_restore_of_etcd_every_host_confirms_its_slices() {
    let mut etcd = Etcd::start();
    let a = Host::member("a", &etcd);
    let b = Host::member("b", &etcd);
    let first = a.wire().subnet(false).1;
    etcd.stop();
    let copy = etcd.directory.path().join("copy");
    copy_all(&etcd.data(), &copy);
    etcd.go_on();
    // The backup does not have this slice.
    let other = if first.starts_with("10.8.128.") { "10.8.144" } else { "10.8.128" };
    let later = b.wire().pool(&by_number(&format!("{other}.0/24"))).1;
    etcd.stop();
    fs::remove_dir_all(etcd.data()).unwrap();
    copy_all(&copy, &etcd.data());
    etcd.go_on();
    let said = a.done(&["join", "--restored"]);
    assert!(said.contains("every host has confirmed its own"), "{said}");
    let text = a.wire().refused("RequestPool", &by_number(&later));
    assert!(text.contains("hosts have not confirmed their slices yet: b"), "{text}");
    // It would look within a minute; this makes it look now.
    b.done(&["join"]);
    let text = until("claims go on, and the slice still has its owner", || {
        let answer = a.wire().call("IpamDriver.RequestPool", by_number(&later).to_string());
        let text = answer.text();
        assert!(!text.contains("PoolID"), "{text}");
        text.contains("belongs to host b").then_some(text)
    });
    assert!(text.contains(&format!("{other}.0/22")), "{text}");
    a.wire().pool(&by_number("10.8.192.0/24"));
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn certificates_and_passwords_are_used_and_a_wrong_one_is_named() {
    let mut etcd = Etcd::stopped("https");
    let house = House::with_toml("");
    certificates::make(|name, text| fs::write(house.path(name), text).unwrap());
    let file = |name: &str| house.path(name).display().to_string();
    etcd.arguments =
        ["--cert-file", &file("server.pem"), "--key-file", &file("server.key"), "--client-cert-auth"]
            .map(str::to_owned)
            .into();
    etcd.arguments.extend(["--trusted-ca-file".to_owned(), file("ca.pem")]);
    etcd.go_on();
    let tls = format!(
        "ca = {:?}\ncert = {:?}\nkey = {:?}\n",
        file("ca.pem"),
        file("engine.pem"),
        file("engine.key")
    );
    let control = |arguments: &[&str]| {
        let (ca, cert, key) = (file("ca.pem"), file("engine.pem"), file("engine.key"));
        etcd.control(&[&["--cacert", &ca, "--cert", &cert, "--key", &key], arguments].concat())
    };
    control(&["user", "add", "root:root"]);
    control(&["user", "grant-role", "root", "root"]);
    control(&["user", "add", "gipam:secret"]);
    control(&["role", "add", "gipam"]);
    control(&["role", "grant-permission", "gipam", "--prefix=true", "readwrite", "/gipam/"]);
    control(&["user", "grant-role", "gipam", "gipam"]);
    control(&["auth", "enable"]);
    let user = format!("user = \"gipam\"\npassword_file = {:?}\n", file("password"));
    house.configure(&(plan("a", &etcd.endpoint()) + &tls + &user + "timeout = \"1500ms\"\n" + POOL));
    fs::write(house.path("password"), "wrong\n").unwrap();
    let mut a = Host { daemon: Some(house.start()), house };
    let text = a.refused(&["join", "--new"]);
    assert!(text.contains("authentication failed, invalid user ID or password"), "{text}");
    // The next attempt reads the file again.
    fs::write(a.house.path("password"), "secret\n").unwrap();
    a.done(&["join", "--new"]);
    a.wire().subnet(false);
    a.stop();
    // A server that nobody signed whom this host trusts.
    fs::write(a.house.path("ca.pem"), certificates::Authority::new().pem()).unwrap();
    a.start();
    let text = a.wire().refused("RequestPool", &by_number("10.8.252.0/24"));
    assert!(text.contains("certificate"), "{text}");
}
