//! POOLS THAT SEVERAL HOSTS DIVIDE: what the views say of slices and hosts, and the routes to other hosts'
//! slices, applied by the real `ip` in separate network namespaces.
//!
//! Promises: a full host is shown as full; what `gipam routes --format ip` prints can be applied again and
//! after a slice has changed hands, and packets then go where it says. Each namespace ends with its process.
//! Needs root or user namespaces, util-linux and iproute2.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use daemon::House;
use gipam::claims::division::{Division, HostPlan, SlicedPool};
use gipam::claims::{HostsPlan, PlanPlace};
use gipam::plan::Plan;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{Cannot, Reply, Request, SliceRequest, Space, SubnetRequest, Wanted};
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings};
use gipam::store::Books;
use gipam::view::Refusal;
use gipam::view::routes::{RouteFormat, RouteKind, RouteRow, RoutedHost, rows, text};
use gipam::view::sink::Sink;
use gipam::view::views::View;
use serde_json::{Value, json};

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

/// Runs a script in a new network namespace and returns what it prints.
fn in_namespace(script: &str, arguments: &[&str]) -> String {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let output = unshare.args(["--net", "sh", "-euc", script, "sh"]).args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    printed
}

fn host(name: &str, number: u8, slices: &[&str]) -> RoutedHost {
    let via = [format!("192.0.2.{number}"), format!("2001:db8::{number}")];
    let slices = slices.iter().map(|slice| prefix(slice)).collect();
    RoutedHost { name: name.to_owned(), via: via.map(|via| via.parse().unwrap()).into(), slices }
}

/// The routes of host `a` before and after one slice of each family has moved from `b` to `a`, and one the
/// other way.
fn before_and_after() -> [String; 2] {
    let (low, high) = (["10.8.0.0/20", "2001:db8:8::/52"], ["10.8.16.0/20", "2001:db8:8:1000::/52"]);
    [(low, high), (high, low)].map(|(own, others)| {
        let rows = rows(&[host("a", 11, &own), host("b", 12, &others)], "a").unwrap();
        text(&rows, RouteFormat::Ip)
    })
}

const LINK: &str = "ip link set lo up
ip link add eth7 type veth peer name peer7
ip link set peer7 up
ip link set eth7 up
ip address add 192.0.2.11/24 dev eth7
ip -6 address add 2001:db8::11/64 dev eth7 nodad
apply() { printf %s \"$1\" | ip -batch -; ip route show proto 171; ip -6 route show proto 171; echo .; }
";

#[test]
fn routes_for_ip_can_be_applied_twice_and_after_slices_changed_hands() {
    let [before, after] = before_and_after();
    let script = format!("{LINK}apply \"$1\"; apply \"$1\"; apply \"$2\"; apply \"$1\"");
    let printed = in_namespace(&script, &[&before, &after]);
    let tables: Vec<Vec<&str>> =
        printed.split(".\n").map(|table| table.lines().map(str::trim).collect()).collect();
    let [first, again, moved, back, _] = &tables[..] else { panic!("{printed}") };
    assert_eq!(first.len(), 4, "{printed}");
    let has = |table: &[&str], start: &str| table.iter().any(|line| line.starts_with(start));
    for (own, other) in [("10.8.0.0/20", "10.8.16.0/20"), ("2001:db8:8::/52", "2001:db8:8:1000::/52")] {
        let via = if own.contains(':') { "2001:db8::12" } else { "192.0.2.12" };
        assert!(
            has(first, &format!("blackhole {own}")) && has(first, &format!("{other} via {via}")),
            "{printed}"
        );
        assert!(
            has(moved, &format!("blackhole {other}")) && has(moved, &format!("{own} via {via}")),
            "{printed}"
        );
    }
    assert_eq!((again, back, moved.len()), (first, first, 4), "{printed}");
}

#[test]
fn a_network_that_fills_its_slice_keeps_its_own_route() {
    let [before, _] = before_and_after();
    let script = format!(
        "{LINK}ip address add 10.8.0.1/20 dev peer7\nip -6 address add 2001:db8:8::1/52 dev peer7 nodad
apply \"$1\" >&2; ip route get 10.8.0.9; ip -6 route get 2001:db8:8::9"
    );
    let printed = in_namespace(&script, &[&before]);
    let found: Vec<&str> = printed.lines().filter(|line| line.contains("dev peer7")).collect();
    assert_eq!(found.len(), 2, "{printed}");
}

#[test]
fn packets_to_another_hosts_slice_reach_it_and_those_to_unused_space_of_its_own_are_discarded() {
    let [before, _] = before_and_after();
    // The other host is a second namespace, kept by a process that ends with its standard input.
    let script = format!(
        "{LINK}mkfifo \"$2\"; unshare --net cat \"$2\" & other=$!; exec 3>\"$2\"
until [ \"$(readlink /proc/$other/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do :; done
ip link set peer7 netns $other
nsenter --net --target $other sh -euc 'ip link set lo up; ip link set peer7 up
ip address add 192.0.2.12/24 dev peer7; ip -6 address add 2001:db8::12/64 dev peer7 nodad
ip address add 10.8.17.2/32 dev lo; ip -6 address add 2001:db8:8:1000::2/128 dev lo nodad'
knock() {{ bash -c \"</dev/tcp/$1/9\" 2>&1 | sed -n \"s|.*connect: |$1 |p\"; }}
knock 10.8.17.2; knock 2001:db8:8:1000::2
apply \"$1\" >&2
for address in 10.8.17.2 2001:db8:8:1000::2 10.8.3.3 2001:db8:8::3:3; do knock $address; done
exec 3>&-; wait $other"
    );
    let directory = tempfile::tempdir().unwrap();
    let printed = in_namespace(&script, &[&before, directory.path().join("fifo").to_str().unwrap()]);
    // A closed port refuses a connection, so the packet has arrived; the kernel itself refuses to send to a
    // discard route.
    let expected = [
        "10.8.17.2 Network is unreachable",
        "2001:db8:8:1000::2 Network is unreachable",
        "10.8.17.2 Connection refused",
        "2001:db8:8:1000::2 Connection refused",
        "10.8.3.3 Invalid argument",
        "2001:db8:8::3:3 Invalid argument",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

/// Books of host `a`: a divided pool of /24 in slices of /20, with these slices and this many subnets.
fn books(slices: &[(&str, SliceRequest)], subnets: usize) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gipam.db");
    let base = Base::new(prefix("10.8.0.0/16"), 24, AddressOrder::Sequential);
    let v4 = Some(Base { slice: Some(20), ..base });
    let pool = PoolSettings {
        name: "routed".to_owned(),
        v4,
        v6: None,
        cooling: 0,
        subnet_cooling: 0,
        closed: false,
        provenance: Default::default(),
    };
    let settings = Settings { pools: vec![pool], ..Settings::default() };
    let (mut plan, mut books) = (Plan::new(settings.clone()), Books::open(&path).unwrap());
    books.put_settings(&settings).unwrap();
    let mut ask = |request: &Request| {
        plan.advance(gipam::clock::now());
        let decision = plan.decide(request, 7);
        for change in &decision.changes {
            books.write(&plan, change).unwrap();
            plan.apply(change);
        }
        books.write_counters(&plan).unwrap();
        assert!(!matches!(decision.reply.unwrap(), Reply::Claim(_)), "the subnets lie in the slices");
    };
    let own = |slice: &&str| SliceRequest::Owned { prefix: prefix(slice), claim: "plan".into() };
    let (owned, later): (Vec<&str>, Vec<&SliceRequest>) =
        slices.iter().map(|(slice, then)| (*slice, then)).unzip();
    owned.iter().for_each(|slice| ask(&Request::Slice(Box::new(own(slice)))));
    for _ in 0..subnets {
        ask(&Request::Subnet(SubnetRequest {
            space: Space::Local,
            family: Family::V4,
            wanted: Wanted::Any { size: None },
            range: None,
            options: BTreeMap::default(),
            pools: None,
            in_use: [].into(),
            in_a_row: 0,
            dead: Arc::default(),
            cannot: Cannot::default(),
        }));
    }
    later.into_iter().for_each(|request| ask(&Request::Slice(Box::new(request.clone()))));
    books.commit().unwrap();
    books.close().unwrap();
    (directory, path)
}

/// A slice that stays as it is.
fn held(slice: &'static str) -> (&'static str, SliceRequest) {
    (slice, SliceRequest::Owned { prefix: prefix(slice), claim: "plan".into() })
}

/// The answer of a view of these books, where `b` is another host with these slices.
fn view(books: &Path, path: &str, others: &[&str]) -> Result<Value, Refusal> {
    let pool = SlicedPool { base: prefix("10.8.0.0/16"), slice: 20, shared: None, by_number: None };
    let planned = |RoutedHost { name, via, slices }| HostPlan { name, via, slices, record: None };
    let hosts = [host("a", 11, &["10.8.0.0/20"]), host("b", 12, others)].map(planned);
    let known = HostsPlan {
        host: "a".to_owned(),
        id: None,
        place: PlanPlace::File("/etc/gipam/plan.toml".into()),
        division: Some(Arc::new(Division::new(vec![pool], hosts.into(), BTreeSet::new()))),
        error: None,
        refused: BTreeMap::new(),
        store: None,
    };
    let mut none = |_| Ok(());
    let mut sink = Sink::new(&mut none);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    View::open(books, gipam::clock::now())?.among(Some(Arc::new(known))).answer(path, query, &mut sink)?;
    Ok(serde_json::from_slice(&sink.rest()).unwrap())
}

#[test]
fn a_host_that_has_filled_its_slices_has_a_full_pool_however_large_the_base_is() {
    for (subnets, free, full) in [(16, 0, "100%"), (4, 12, "25%"), (0, 16, "0%")] {
        let (_directory, path) = books(&[held("10.8.0.0/20")], subnets);
        let pools = view(&path, "/v1/pools", &[]).unwrap();
        assert_eq!((&pools[0]["free"], &pools[0]["full"]), (&json!(free), &json!(full)));
        let plan = view(&path, "/v1/status", &[]).unwrap()["plan"].clone();
        assert_eq!((&plan["held"], &plan["room"], &plan["host"]), (&json!(1), &json!(free), &json!("a")));
    }
    let (_directory, path) = books(&[], 0);
    assert_eq!(
        view(&path, "/v1/pools", &[]).unwrap()[0]["full"],
        "0%",
        "nothing is filled where nothing is owned"
    );
}

#[test]
fn slices_are_listed_with_their_hosts_the_room_left_and_what_nobody_has() {
    let lost = ("10.8.16.0/20", SliceRequest::Lost { prefix: prefix("10.8.16.0/20") });
    let (_directory, path) = books(&[held("10.8.0.0/20"), lost], 17);
    let rows = view(&path, "/v1/slices", &["10.8.16.0/20", "10.8.32.0/20"]).unwrap();
    let texts = |row: &Value| {
        let text = |key: &str| row[key].to_string().replace('"', "");
        ["slice", "pool", "host", "state", "used", "room", "contested"].map(text).join(" ")
    };
    assert_eq!(
        rows.as_array().unwrap().iter().map(texts).collect::<Vec<_>>(),
        [
            "10.8.0.0/20 routed a held 16 0 false",
            "10.8.16.0/20 routed b lost 1 0 true",
            "10.8.32.0/20 routed b held null null false",
            "10.8.48.0/20 routed null free 0 16 false",
            "10.8.64.0/18 routed null free 0 64 false",
            "10.8.128.0/17 routed null free 0 128 false",
        ]
    );
    let page = view(&path, "/v1/slices?limit=1&sort=-room&search=routed", &["10.8.32.0/20"]).unwrap();
    assert_eq!((&page["matching"], &page["rows"][0]["slice"]), (&json!(6), &json!("10.8.128.0/17")));
}

#[test]
fn who_names_the_host_in_whose_slice_an_address_lies() {
    let (_directory, path) = books(&[held("10.8.0.0/20")], 1);
    let who = |address: &str| view(&path, &format!("/v1/who?address={address}"), &["10.8.32.0/20"]).unwrap();
    let others = who("10.8.33.7");
    assert_eq!((&others[0]["host"], &others[0]["slice"]), (&json!("b"), &json!("10.8.32.0/20")));
    assert_eq!(who("10.8.0.7")[0]["host"], Value::Null);
}

#[test]
fn routes_come_from_the_books_for_this_host_and_from_the_plan_for_any_other() {
    let (_directory, path) = books(&[held("10.8.0.0/20"), held("10.8.48.0/20")], 0);
    let routes = |query: &str| -> Vec<RouteRow> {
        let rows = view(&path, &format!("/v1/routes{query}"), &["10.8.32.0/20"]).unwrap();
        serde_json::from_value(rows).unwrap()
    };
    let kinds = |rows: &[RouteRow]| {
        rows.iter().map(|row| (row.prefix.clone(), row.host.clone(), row.kind)).collect::<Vec<_>>()
    };
    let row = |prefix: &str, host: &str, kind| (prefix.to_owned(), host.to_owned(), kind);
    let own = [
        row("10.8.0.0/20", "a", RouteKind::Discard),
        row("10.8.32.0/20", "b", RouteKind::Via),
        row("10.8.48.0/20", "a", RouteKind::Discard),
    ];
    assert_eq!(kinds(&routes("")), own, "the slice that the books have and the plan does not name");
    assert_eq!(routes("?host=B")[0].kind, RouteKind::Via, "as host b needs it; the case does not matter");
    let unknown = view(&path, "/v1/routes?host=z", &[]).unwrap_err();
    assert_eq!(unknown.text, "the plan has no host z; it has a, b");
}

/// The page for people who run several hosts: its example is a valid plan, with the routes and refusals that
/// it shows.
#[test]
fn the_page_shows_what_its_own_plan_gives() {
    let page = include_str!("../docs/many-hosts.md");
    let block = |start: &str| page.split(start).nth(1).unwrap().split("```").next().unwrap();
    let file = block("```toml\n");
    let parse = |text: &str| Division::parse(text, Path::new("/p"));
    let hosts = parse(file).unwrap().hosts.into_iter();
    let hosts: Vec<RoutedHost> =
        hosts.map(|HostPlan { name, via, slices, .. }| RoutedHost { name, via, slices }).collect();
    let routes = text(&rows(&hosts, "a").unwrap(), RouteFormat::Ip);
    assert!(page.contains(&format!("```\n{routes}```")), "{routes}");
    let refusals = [
        ("10.8.16.0/20", "10.8.0.0/20"),
        ("10.8.16.0/20", "10.8.16.0/21"),
        ("10.8.16.0/20", "10.9.0.0/20"),
        ("10.8.16.0/20", "10.8.17.0/20"),
        ("[\"192.0.2.12\", \"2001:db8::12\"]", "[]"),
    ];
    for (from, to) in refusals {
        let said = parse(&file.replace(from, to)).unwrap_err().lines().concat();
        let refusal = said.split(": ").skip(1).collect::<Vec<_>>().join(": ");
        assert!(page.contains(&format!("`{refusal}`")), "{refusal}");
    }
}

/// The configuration of this host in a plan of two.
fn among_two(directory: &Path) -> House {
    let plan = directory.join("plan.toml");
    let text = "[[pool]]\nbase = \"10.8.0.0/16\"\nslice = 20\n[[host]]\nname = \"a\"\nvia = [\"192.0.2.11\"]\n\
        slices = [\"10.8.0.0/20\"]\n[[host]]\nname = \"b\"\nvia = [\"2001:db8::12\"]\nslices = [\"10.8.16.0/20\"]\n";
    std::fs::write(&plan, text).unwrap();
    House::with_toml(&format!(
        "[gc]\nengine = \"\"\n[plan]\nfile = {plan:?}\nhost = \"a\"\n[[pool]]\nname = \"routed\"\n\
         v4 = {{ base = \"10.8.0.0/16\", size = 24, slice = 20 }}\n"
    ))
}

#[test]
fn the_commands_answer_the_same_with_a_daemon_and_from_the_books_and_the_plan_file() {
    let directory = tempfile::tempdir().unwrap();
    let house = among_two(directory.path());
    let daemon = house.start();
    daemon.wire().subnet(false);
    let [configuration, books] =
        ["gipam.toml", "gipam.db"].map(|name| house.path(name).display().to_string());
    let admin = house.admin().display().to_string();
    let options =
        ["--config".to_owned(), configuration, "--file".to_owned(), books, "--admin".to_owned(), admin];
    let answers = || {
        let output = |arguments: &[&str]| {
            let arguments = [arguments, &options.each_ref().map(String::as_str)].concat();
            let output = house.plain(&arguments);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            (text, String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (routes, warning) = output(&["routes"]);
        let others = output(&["routes", "--host", "b", "--format", "frr"]).0;
        let status: Value = serde_json::from_str(&output(&["status", "--json"]).0).unwrap();
        let plan = status["plan"].clone();
        (routes, warning, others, output(&["slices"]).0, output(&["who", "10.8.17.1"]).0, plan)
    };
    let running = answers();
    assert_eq!(
        running.0,
        "route replace blackhole 10.8.0.0/20 proto 171 metric 65535 # a\n\
         # missing: 10.8.16.0/20: host b has no IPv4 address\n"
    );
    assert!(running.1.contains("no route to 10.8.16.0/20: host b has no IPv4 address"), "{}", running.1);
    assert_eq!(running.2, "ip route 10.8.0.0/20 192.0.2.11\nip route 10.8.16.0/20 blackhole\n");
    assert!(running.3.contains("10.8.0.0/20") && running.3.contains("free"), "{}", running.3);
    assert!(running.4.contains("b: the address lies in its slice 10.8.16.0/20"), "{}", running.4);
    assert_eq!(
        (&running.5["host"], &running.5["held"], &running.5["room"]),
        (&json!("a"), &json!(1), &json!(15))
    );
    let screen = house.gipam(&["status"]).stdout;
    let screen = String::from_utf8_lossy(&screen).into_owned();
    assert!(
        screen.contains("plan       host a of 2: 1 slice held, room for 15 more subnets, 14 free"),
        "{screen}"
    );
    let doctor =
        house.plain(&["doctor", "--config", &options[1], "--file", &options[3], "--admin", &options[5]]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("well    plan: host a holds 1 slice"), "{doctor}");
    daemon.stop();
    let offline = answers();
    assert_eq!(
        (&offline.0, &offline.2, &offline.3, &offline.4),
        (&running.0, &running.2, &running.3, &running.4)
    );
    assert_eq!(offline.5, running.5);
}
