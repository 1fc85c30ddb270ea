//! What a person does with the page.

use serde_json::json;

use super::browser::Browser;
use super::site::{Site, TOML};

const LEASES: &str = "document.querySelectorAll('#leases tbody tr').length";

pub fn rows_appear(browser: &mut Browser) {
    let site = Site::populated();
    let held = site.daemon.view("/v1/subnets").as_array().unwrap().len();
    let mut tab = site.open(browser, 1280, 900, false);
    assert_eq!(tab.value("document.querySelectorAll('#subnets tbody tr').length"), held);
    assert_eq!(tab.value(LEASES), 25, "a page of them");
    assert_eq!(tab.value("document.querySelectorAll('.pool').length"), 3);
    assert!(
        tab.value("document.querySelectorAll('#areas .area').length") == 4,
        "and one outside of all pools"
    );
    assert!(
        tab.value("document.querySelector('#leases .pages p').textContent")
            .as_str()
            .unwrap()
            .contains("leases")
    );
    assert_eq!(tab.value("document.querySelectorAll('#events li').length"), 20);
    assert_eq!(tab.value("document.querySelectorAll('.chart .line').length"), 2);
    let kept = tab.value(
        "performance.getEntriesByType('resource').every((entry) => entry.name.startsWith(location.origin))",
    );
    assert_eq!(kept, true, "nothing from elsewhere");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

pub fn searching(browser: &mut Browser) {
    let site = Site::populated();
    let mut tab = site.open(browser, 1280, 900, false);
    tab.value("document.querySelector('#leases-search').focus()");
    tab.write("mail-");
    tab.until("document.querySelectorAll('#leases tbody tr').length === 4");
    tab.value("document.querySelector('#leases-search').value = ''; document.querySelector('#leases-search').dispatchEvent(new Event('input'))");
    tab.until("document.querySelectorAll('#leases tbody tr').length === 25");
    let first = "document.querySelector('#leases tbody td').firstChild.textContent";
    let before = tab.value(first);
    tab.value("[...document.querySelectorAll('#leases .pages button')].at(-1).click()");
    tab.until(&format!("{first} !== {before}"));
    tab.value("document.querySelector('#subnets th:nth-child(8) button').click()");
    tab.until("document.querySelector('#subnets th:nth-child(8)').getAttribute('aria-sort') === 'ascending'");
    tab.value("document.querySelector('#subnets th:nth-child(8) button').click()");
    tab.until("document.querySelector('#subnets tbody td').innerText.startsWith('198.51.100.16/28')");
    tab.value("document.querySelector('#subnets-search').focus()");
    tab.write("10.20.1.77");
    tab.until("document.querySelectorAll('#subnets tbody tr').length === 1");
    tab.write("nothing");
    tab.until("document.querySelector('#subnets .empty').innerText.includes('No subnets match')");
    tab.value("document.querySelector('#leases-state').value = 'cooling'; document.querySelector('#leases-state').dispatchEvent(new Event('change'))");
    tab.until("[...document.querySelectorAll('#leases tbody tr')].every((row) => row.innerText.includes('cooling')) && document.querySelectorAll('#leases tbody tr').length > 3");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

pub fn live(browser: &mut Browser) {
    let site = Site::new(TOML);
    let mut tab = site.open(browser, 1280, 900, false);
    let mut wire = site.daemon.wire();
    let (id, prefix) = wire.subnet(false);
    tab.until(&format!("document.querySelector('#subnets tbody')?.innerText.includes('{prefix}')"));
    wire.address(&id, "", json!({"com.docker.network.endpoint.name": "newcomer"}));
    tab.until("document.querySelector('#leases tbody')?.innerText.includes('newcomer')");
    tab.until("document.querySelector('#events').innerText.includes('newcomer')");
    tab.until("document.querySelector('#areas .cell.used') !== null");
    // The focus stays where it is while the page changes.
    tab.value("document.querySelector('#areas .cell.used').focus()");
    wire.release_pool(&id);
    tab.until("document.querySelector('#subnets .empty').innerText.includes('No network has a subnet yet')");
    tab.until("document.activeElement.classList.contains('cell')");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

/// Nothing happens, and the page never says that nobody answers.
pub fn quiet(browser: &mut Browser) {
    let site = Site::new(TOML);
    let mut tab = site.open(browser, 1280, 900, false);
    tab.until("document.querySelector('#live').dataset.state === 'live'");
    tab.value(
        "window.seen = []; window.from = performance.now(); \
         new MutationObserver(() => window.seen.push(document.querySelector('#live').dataset.state)) \
         .observe(document.querySelector('#live'), { attributes: true }); 0",
    );
    for seconds in (1..=6).map(|ten| 10 * ten) {
        tab.until(&format!("performance.now() - window.from > {seconds}000"));
        assert_eq!(tab.value("window.seen.join()"), "", "within {seconds} s");
    }
    assert_eq!(tab.value("document.querySelector('#live').dataset.state"), "live");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

pub fn state(browser: &mut Browser) {
    let site = Site::troubled();
    let mut tab = site.open(browser, 1280, 900, false);
    let text = |tab: &mut super::browser::Tab, of: &str| {
        let text = tab.value(&format!("document.querySelector('{of}').innerText"));
        text.as_str().unwrap().to_owned()
    };
    let (notes, state) = (text(&mut tab, "#notes"), text(&mut tab, "#state"));
    for words in [
        "Hook dns fails: ",
        "could not reach any name server",
        "Filling up: subnet 198.51.100.16/28 is 92\u{a0}% full",
    ] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    for words in [
        "Does not answer since",
        "1 of 2 fail",
        "events wait",
        "Fails since",
        "could not reach any name server",
        "nothing waits",
        "of pool dmz",
        "said from 60\u{a0}% on",
        "198.51.100.128-198.51.100.143 reserved",
        "10.20.0.250 pinned to printer",
    ] {
        assert!(state.contains(words), "{words}: {state}");
    }
    // What is mended goes by itself, and the focus stays where it is meanwhile.
    let button = "[...document.querySelectorAll('#state button')].find((button) => button.textContent === '10.20.0.0/24')";
    tab.value(&format!("{button}.focus()"));
    std::fs::write(site.house.path("well"), "").unwrap();
    tab.until("!document.querySelector('#notes').innerText.includes('Hook') && !document.querySelector('#state').innerText.includes('Fails')");
    assert_eq!(tab.value("document.activeElement.textContent"), "10.20.0.0/24");
    tab.press("Enter");
    tab.until("document.querySelectorAll('#crumbs li').length === 3");
    let done = site.house.gipam(&["unpin", "10.20.0.250"]);
    assert!(done.status.success());
    tab.until("!document.querySelector('#state').innerText.includes('printer')");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

pub fn restart(browser: &mut Browser) {
    let mut site = Site::new(TOML);
    let port = site.address.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    let mut tab = site.open(browser, 1280, 900, false);
    assert!(site.daemon.stop().success());
    tab.until("document.querySelector('#live').dataset.state === 'lost'");
    site.house.configure(&format!("http = \"{port}\"\n{TOML}"));
    site.daemon = site.house.start();
    let (_, prefix) = site.daemon.wire().subnet(false);
    tab.until("document.querySelector('#live').dataset.state === 'live'");
    tab.until(&format!("document.querySelector('#subnets tbody').innerText.includes('{prefix}')"));
}

pub fn keyboard(browser: &mut Browser) {
    let site = Site::populated();
    let mut tab = site.open(browser, 1280, 900, false);
    let crumbs = "document.querySelectorAll('#crumbs li').length";
    tab.value("document.querySelector('#areas .cell').focus()");
    tab.press("ArrowRight");
    let label = tab.value("document.activeElement.getAttribute('aria-label')");
    assert!(label.as_str().unwrap().starts_with("198.51.100.16/28"), "{label}");
    assert!(
        tab.value("document.querySelector('#map-detail').innerText")
            .as_str()
            .unwrap()
            .contains("198.51.100.16/28")
    );
    tab.press("Enter");
    tab.until(&format!("{crumbs} === 3"));
    tab.until("document.querySelectorAll('#areas .cell').length === 16 && document.activeElement.classList.contains('cell')");
    assert_eq!(tab.value("document.querySelectorAll('#areas .cell.gateway').length"), 1);
    tab.press("Escape");
    tab.until(&format!("{crumbs} === 2"));
    tab.value("history.back()");
    tab.until(&format!("{crumbs} === 3"));
    tab.value("document.querySelector('#map-leases').click()");
    tab.until("[...document.querySelectorAll('#leases tbody tr')].length === 12 && !document.querySelector('#leases .chip').hidden");
    tab.value("location.hash = 'map=203.0.113.128/25'");
    tab.until(
        "document.querySelector('#map-detail').innerText.includes('neither in a pool nor in a subnet')",
    );
    tab.troubles();
}

pub fn empty(browser: &mut Browser) {
    let site = Site::new(TOML);
    let mut tab = site.open(browser, 1280, 900, false);
    let text = tab.value("document.querySelector('#main').innerText");
    let text = text.as_str().unwrap();
    for words in [
        "docker network create --ipam-driver gipam my-network",
        "Nobody has an address",
        "Nothing has happened yet",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

/// From a lease file of the earlier program: 400 subnets with 250 addresses each.
pub fn many(browser: &mut Browser) {
    let mut house = super::daemon::House::with_toml("http = \"0\"\n[gc]\nengine = \"\"\n");
    let subnet = |at: usize| {
        let addresses: Vec<String> =
            (1..=250).map(|host| format!("10.{}.{}.{host}", 20 + at / 256, at % 256)).collect();
        json!({"id": format!("{at:016}"), "v": 4, "pool": format!("10.{}.{}.0/24", 20 + at / 256, at % 256), "idx": 250,
            "allocated": addresses, "free": []})
    };
    let file = json!({"v4": "10.0.0.0/8", "v4ab": 24, "v4idx": 400, "allocated": (0..400).map(subnet).collect::<Vec<_>>(), "free": []});
    std::fs::write(house.path("lease.json"), file.to_string()).unwrap();
    let named = house.path("lease.json");
    house.set("--file", &named);
    let site = Site::of(house);
    let mut tab = site.open(browser, 1280, 900, false);
    assert!(tab.value("document.querySelector('#summary').innerText").as_str().unwrap().contains("100,000"));
    assert_eq!(tab.value(LEASES), 25);
    tab.value("document.querySelector('#leases-search').focus()");
    tab.write("10.21.143.250");
    tab.until("document.querySelectorAll('#leases tbody tr').length === 1");
    assert!(
        tab.value("document.querySelectorAll('*').length").as_u64().unwrap() < 12_000,
        "what the browser holds is bounded"
    );
    tab.value("location.hash = 'map=10.0.0.0/8'");
    tab.until("document.querySelectorAll('#crumbs li').length === 2 && document.querySelectorAll('#areas .cell').length > 200");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}
