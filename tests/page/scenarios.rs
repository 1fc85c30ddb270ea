//! Actions of a person on the web page.

use serde_json::json;

use super::browser::Browser;
use super::site::{Site, TOML};

const LEASES: &str = "document.querySelectorAll('#leases tbody tr').length";

pub fn rows_appear(browser: &mut Browser) {
    let site = Site::populated();
    let held = site.daemon.view("/v1/subnets").as_array().unwrap().len();
    let mut tab = site.open(browser, 1280, 900, false);
    assert_eq!(tab.value("document.querySelectorAll('#subnets tbody tr').length"), held);
    assert_eq!(tab.value(LEASES), 25, "the first page of leases");
    assert_eq!(tab.value("document.querySelectorAll('.pool').length"), 3);
    assert!(
        tab.value("document.querySelectorAll('#areas .area').length") == 4,
        "three pools, and one area for subnets outside all pools"
    );
    assert!(
        tab.value("document.querySelector('#leases .pages p').textContent")
            .as_str()
            .unwrap()
            .contains("leases")
    );
    assert_eq!(tab.value("document.querySelectorAll('#history tbody tr').length"), 25);
    assert_eq!(tab.value("document.querySelectorAll('.chart .line').length"), 2);
    let kept = tab.value(
        "performance.getEntriesByType('resource').every((entry) => entry.name.startsWith(location.origin))",
    );
    assert_eq!(kept, true, "nothing is loaded from other hosts");
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
    tab.until("document.querySelector('#history tbody').innerText.includes('newcomer')");
    tab.until("document.querySelector('#areas .cell.used') !== null");
    // The focus stays where it is while the page changes.
    tab.value("document.querySelector('#areas .cell.used').focus()");
    wire.release_pool(&id);
    tab.until("document.querySelector('#subnets .empty').innerText.includes('No network has a subnet yet')");
    tab.until("document.activeElement.classList.contains('cell')");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

/// While nothing happens, the page never reports a lost connection.
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

pub fn slices(browser: &mut Browser) {
    let site = Site::new(TOML);
    let mut tab = site.open(browser, 1280, 900, false);
    let state = tab.value("document.querySelector('#state').innerText");
    assert!(!state.as_str().unwrap().contains("slice"), "a host alone has no plan: {state}");
    drop(tab);
    let (site, _plan) = Site::among_hosts();
    let mut tab = site.open(browser, 1280, 900, false);
    let text = |tab: &mut super::browser::Tab, of: &str| {
        let text = tab.value(&format!("document.querySelector('{of}').innerText"));
        text.as_str().unwrap().to_owned()
    };
    let state = text(&mut tab, "#state");
    for words in [
        "Host a of 3 holds 2 slices, with room for 14 more subnets.",
        "Other hosts have 5 slices; 25 are free.",
        "Plan file: ",
    ] {
        assert!(state.contains(words), "{words}: {state}");
    }
    let legend = text(&mut tab, "#legend");
    assert!(legend.contains("of another host") && legend.contains("of no host yet"), "{legend}");
    let cells =
        "[...document.querySelectorAll('.cell.others')].map((cell) => cell.getAttribute('aria-label'))";
    let labels = tab.value(cells).to_string();
    assert!(
        labels.contains("10.20.16.0 – 10.20.31.255 b: of host b, room for 16 subnets of /24"),
        "{labels}"
    );
    tab.value("location.hash = 'map=198.51.100.0/24'");
    tab.until("document.querySelectorAll('#crumbs li').length > 1");
    let labels = tab.value(cells).to_string();
    assert!(labels.contains("198.51.100.32 – 198.51.100.47 b: of host b, 16 addresses"), "{labels}");
    let legend = text(&mut tab, "#legend");
    assert!(legend.contains("of another host 32") && !legend.contains("reserved"), "{legend}");
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
        "Hook dns is failing: ",
        "could not reach any name server",
        "Filling up: subnet 198.51.100.16/28 is 92\u{a0}% full",
    ] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    for words in [
        "Does not answer since",
        "1 of 2 failing",
        "events queued",
        "Failing since",
        "could not reach any name server",
        "nothing queued",
        "of pool dmz",
        "warn_at is 60\u{a0}%, since",
        "198.51.100.128-198.51.100.143 reserved",
        "10.20.0.250 pinned to printer",
    ] {
        assert!(state.contains(words), "{words}: {state}");
    }
    // The colour of a note shows how bad the problem is.
    let severities = "[...document.querySelectorAll('#notes .note')].map((note) => `${note.classList[1]} ${note.innerText.split(' ')[0]}`).sort().join()";
    assert_eq!(tab.value(severities), "bad Docker,bad Hook,warn Filling");
    // A solved problem disappears without a reload, and the focus stays where it is meanwhile.
    let button = "[...document.querySelectorAll('#state button')].find((button) => button.textContent === '10.20.0.0/24')";
    tab.value(&format!("{button}.focus()"));
    std::fs::write(site.house.path("well"), "").unwrap();
    tab.until("!document.querySelector('#notes').innerText.includes('Hook') && !document.querySelector('#state').innerText.includes('Failing')");
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
    // The browser itself logs the 404 for a prefix that gipam does not know.
    let troubles = tab.troubles();
    assert!(troubles.len() == 1 && troubles[0].contains("/v1/map?of=203.0.113.128"), "{troubles:?}");
}

/// Stories open from the page's search, and from any name shown on the page.
pub fn stories(browser: &mut Browser) {
    let site = Site::populated();
    let mut tab = site.open(browser, 1280, 900, false);
    let rows = |part: &str| format!("document.querySelectorAll('#story .story-{part} tbody tr').length");
    tab.press("/");
    assert_eq!(tab.value("document.activeElement.id"), "find");
    for (what, leases, subnets) in [
        ("mail-2", 1, 0),
        ("02:42:ac:06:05:01", 1, 0),
        ("10.20.0.0/24", 25, 1),
        ("10.20.1.7", 3, 1),
        ("nobody", 0, 0),
    ] {
        tab.value("document.querySelector('#find').value = ''; document.querySelector('#find').focus()");
        tab.write(what);
        tab.press("Enter");
        tab.until(&format!("document.querySelector('#story-title').innerText === 'Story of {what}'"));
        tab.until(&format!("{} === {leases} && {} === {subnets}", rows("leases"), rows("subnets")));
        // The history comes after the tables.
        let history = "document.querySelector('#story .story-history .sheet').innerText";
        let is_unknown = leases == 0;
        tab.until(&format!(
            "{history} !== '' && {history}.includes('The history has no entry') === {is_unknown}"
        ));
    }
    // From a holder to its address, and from there to the network's subnet on the map.
    tab.value(
        "[...document.querySelectorAll('#leases a')].find((link) => /^build-/.test(link.textContent)).click()",
    );
    tab.until("/^Story of build-/.test(document.querySelector('#story-title').innerText)");
    tab.until("document.querySelector('#story .story-leases tbody td a') !== null");
    tab.value("document.querySelector('#story .story-leases tbody td a').click()");
    tab.until("/^Story of 10.20/.test(document.querySelector('#story-title').innerText)");
    tab.until("document.querySelector('#story .story-history tbody').innerText.includes('leased')");
    tab.until("document.querySelector('#story .story-subnets tbody button') !== null");
    tab.value("document.querySelector('#story .story-subnets tbody button').click()");
    tab.until(
        "document.querySelectorAll('#crumbs li').length === 3 && document.querySelector('#story').hidden",
    );
    // An address on the map has a story, too.
    tab.value("document.querySelector('#areas .cell.gateway').dispatchEvent(new MouseEvent('click', { bubbles: true }))");
    tab.until("/^Story of .*[.:]/.test(document.querySelector('#story-title').innerText) && !document.querySelector('#story').hidden");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

pub fn history(browser: &mut Browser) {
    let site = Site::populated();
    let mut tab = site.open(browser, 1280, 900, false);
    let first = "document.querySelector('#history tbody tr').innerText";
    let latest = tab.value(first);
    let button = |text: &str| {
        format!(
            "[...document.querySelectorAll('#history .pages button')].find((button) => button.textContent === '{text}')"
        )
    };
    tab.value(&format!("{}.click()", button("Older")));
    tab.until(&format!("{first} !== {latest}"));
    tab.value(&format!("{}.click()", button("Newer")));
    tab.until(&format!("{first} === {latest} && {}.disabled", button("Newer")));
    tab.value("document.querySelector('#history-of').focus()");
    tab.write("printer");
    tab.press("Enter");
    tab.until("document.querySelectorAll('#history tbody tr').length === 1");
    assert!(tab.value(first).as_str().unwrap().contains("203.0.113.7"));
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

/// Visible rows can be saved as a file, and a name that a spreadsheet would evaluate as a formula stays a
/// name.
pub fn files(browser: &mut Browser) {
    let site = Site::populated();
    let mut wire = site.daemon.wire();
    let (id, _) = wire.subnet(false);
    wire.address(&id, "", json!({"com.docker.network.endpoint.name": "=1+1, \"two\""}));
    let mut tab = site.open(browser, 1280, 900, false);
    tab.until("document.querySelector('#summary').innerText.includes('285')");
    tab.value("URL.createObjectURL = (blob) => { blob.text().then((text) => (window.saved = text)); return '#'; }; HTMLAnchorElement.prototype.click = function () { window.called = this.download; }; 0");
    let save = |section: &str| {
        format!(
            "window.saved = null; [...document.querySelectorAll('{section} button')].find((button) => button.textContent === 'CSV').click()"
        )
    };
    tab.value(&save("#leases"));
    tab.until("window.saved !== null");
    assert_eq!(tab.value("window.called"), "gipam-leases.csv");
    let saved = tab.value("window.saved").as_str().unwrap().to_owned();
    assert_eq!(saved.lines().count(), 286, "all rows, not only those on the page, and a heading");
    assert!(saved.starts_with("subnet,address,"), "{}", saved.lines().next().unwrap());
    assert!(saved.contains("\"'=1+1, \"\"two\"\"\""), "{saved}");
    tab.value(&save("#history"));
    tab.until("window.saved !== null && window.saved.includes('subnet granted')");
    // The button Copy puts the visible rows on the clipboard, for a spreadsheet, and confirms that.
    tab.value("navigator.clipboard.writeText = async (text) => { window.copied = text; }; window.button = [...document.querySelectorAll('#leases button')].find((button) => button.textContent === 'Copy'); button.click()");
    tab.until("window.copied !== undefined && button.textContent === 'Done'");
    let copied = tab.value("window.copied").as_str().unwrap().to_owned();
    assert_eq!(copied.lines().count(), 26, "a heading and the rows of this page: {copied}");
    assert!(copied.starts_with("subnet\taddress\t"), "{copied}");
    let shown = tab.value("document.querySelector('#leases tbody td a').textContent");
    assert_eq!(copied.lines().nth(1).and_then(|line| line.split('\t').nth(1)), shown.as_str());
    tab.until("button.textContent === 'Copy'");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

/// The map names the network, the holder and the address under the pointer, and its legend explains every
/// colour.
pub fn pointing(browser: &mut Browser) {
    let site = Site::with_names();
    let mut tab = site.open(browser, 1280, 900, false);
    let point = |cell: &str, share: f64| {
        format!(
            "(() => {{ const cell = {cell}; const box = cell.getBoundingClientRect(); cell.dispatchEvent(new PointerEvent('pointermove', \
             {{ bubbles: true, clientX: box.left + box.width * {share}, clientY: box.top + 3 }})); \
             return document.querySelector('#map-detail').innerText; }})()"
        )
    };
    let free = "[...document.querySelectorAll('#areas .grid')[0].querySelectorAll('.c.free')].at(-1)";
    let said = tab.value(&point(free, 0.5)).as_str().unwrap().to_owned();
    assert!(
        said.starts_with("198.51.100.152") && said.contains("free, room for 13 subnets of /28"),
        "{said}"
    );
    let used = "document.querySelector('#areas .cell.used .c')";
    let said = tab.value(&point(used, 0.99)).as_str().unwrap().to_owned();
    assert!(said.starts_with("198.51.100.31") && said.contains("198.51.100.16/28 web"), "{said}");
    let spans = "(() => { const cells = [...document.querySelectorAll('#areas .grid')[0].querySelectorAll('rect.c')]; \
        const wide = cells.map((cell) => Math.round(cell.getBoundingClientRect().width)); return Math.round(wide.at(-1) / wide[0]); })()";
    assert_eq!(tab.value(spans), 13, "free space is drawn to scale");
    let states = "[...new Set([...document.querySelectorAll('#areas .cell')].map((cell) => cell.classList[1]))].every((state) => document.querySelector(`#legend .c.${state}`))";
    assert_eq!(tab.value(states), true, "the legend has every state");
    tab.value("location.hash = 'map=198.51.100.16/28'");
    tab.until("document.querySelectorAll('#crumbs li').length === 3");
    assert_eq!(tab.value(states), true, "the legend has every state of a subnet");
    let said = tab.value(&point(used, 0.5)).as_str().unwrap().to_owned();
    assert!(said.contains("web-") && said.contains("used"), "{said}");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

pub fn trends(browser: &mut Browser) {
    let site = Site::populated();
    let mut tab = site.open(browser, 1280, 900, false);
    let now = "[...document.querySelectorAll('#charts h3 b')].map((value) => value.textContent).join()";
    assert_eq!(tab.value(now), "284,9");
    tab.value("[...document.querySelectorAll('#pools button')].find((button) => button.ariaLabel === 'Trend of pool lan').click()");
    tab.until(&format!("{now} === '249,4'"));
    assert_eq!(tab.value("document.querySelector('#usage-pool').value"), "lan");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

pub fn empty(browser: &mut Browser) {
    let site = Site::new(TOML);
    let mut tab = site.open(browser, 1280, 900, false);
    let text = tab.value("document.querySelector('#main').innerText");
    let text = text.as_str().unwrap();
    for words in [
        "docker network create --ipam-driver gipam my-network",
        "No container has an address",
        "Nothing has happened yet",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(tab.troubles(), Vec::<String>::new());
}

/// A lease file of the old gipam: 400 subnets with 250 addresses each.
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
        "the browser's memory is bounded"
    );
    tab.value("location.hash = 'map=10.0.0.0/8'");
    tab.until("document.querySelectorAll('#crumbs li').length === 2 && document.querySelectorAll('#areas .cell').length > 200");
    assert_eq!(tab.troubles(), Vec::<String>::new());
}
