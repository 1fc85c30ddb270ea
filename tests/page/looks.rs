//! The appearance of the page: contrast, names for screen readers, widths; and screenshots for people.

use super::browser::{Browser, Tab};
use super::site::{Site, TOML};

/// Every text whose contrast with its background is below 4.5 (3 for large text), by WCAG 2's formula.
pub const FAINT: &str = r"(() => {
  const parse = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest('noscript, .hidden, button:disabled')) continue;
    const style = getComputedStyle(element);
    let [ink, paper] = [parse(style.color), back(element)];
    if (element.namespaceURI.endsWith('svg')) {
      ink = parse(style.fill);
      const shape = element.parentElement.querySelector(':scope > rect.c');
      const fill = shape && parse(getComputedStyle(shape).fill);
      if (shape && fill.length < 3) continue; // a pattern
      if (fill) paper = fill;
    }
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) bad.push(`${ratio.toFixed(2)} ${node.data.trim().slice(0, 30)} (${element.className.baseVal ?? element.className})`);
  }
  return [...new Set(bad)];
})()";

/// Controls and images that a screen reader could not name; headings that skip a level; ids used twice.
pub const NAMELESS: &str = r"(() => {
  const bad = [];
  const named = (element) => (element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.alt ?? element.textContent ?? '').trim();
  for (const element of document.querySelectorAll('button, a, input, select, [role=button], [role=img], [role=region]')) {
    if (element.checkVisibility() && !named(element)) bad.push(element.outerHTML.slice(0, 120));
  }
  for (const image of document.images) if (!image.hasAttribute('alt')) bad.push('an image without alt');
  const levels = [...document.querySelectorAll('h1, h2, h3')].map((heading) => Number(heading.tagName[1]));
  levels.forEach((level, i) => { if (i > 0 && level > levels[i - 1] + 1) bad.push(`h${level} after h${levels[i - 1]}`); });
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  ids.forEach((id, i) => { if (ids.indexOf(id) !== i) bad.push(`duplicate id ${id}`); });
  for (const section of document.querySelectorAll('[aria-labelledby]')) {
    if (!document.getElementById(section.getAttribute('aria-labelledby'))) bad.push(section.id);
  }
  if (!document.documentElement.lang || !document.title) bad.push('no language or title');
  return bad;
})()";

pub fn readable(browser: &mut Browser) {
    let site = Site::populated();
    {
        // With the keyboard alone: the first tab stop skips the header, and the focus is visible.
        let mut tab = site.open(browser, 1280, 900, false);
        tab.press("Tab");
        assert_eq!(tab.value("document.activeElement.className"), "skip");
        assert_ne!(tab.value("getComputedStyle(document.activeElement).outlineStyle"), "none");
    }
    let troubled = Site::troubled();
    for dark in [false, true] {
        let mut tab = troubled.open(browser, 1280, 900, dark);
        assert_eq!(tab.value(FAINT), serde_json::json!([]), "troubled, dark: {dark}");
        assert_eq!(tab.value(NAMELESS), serde_json::json!([]), "troubled");
    }
    let (hosts, _plan) = Site::among_hosts();
    for dark in [false, true] {
        let mut tab = hosts.open(browser, 1280, 900, dark);
        assert_eq!(tab.value(FAINT), serde_json::json!([]), "several hosts, dark: {dark}");
        assert_eq!(tab.value(NAMELESS), serde_json::json!([]), "several hosts");
    }
    for dark in [false, true] {
        let mut tab = site.open(browser, 1280, 900, dark);
        for at in ["", "map=198.51.100.16/28", "map=10.20.0.0/16"] {
            tab.value(&format!("location.hash = '{at}'"));
            tab.until(&format!(
                "document.querySelectorAll('#crumbs li').length === {}",
                if at.is_empty() {
                    1
                } else if at.ends_with("16") {
                    2
                } else {
                    3
                }
            ));
            assert_eq!(tab.value(FAINT), serde_json::json!([]), "dark: {dark}, {at}");
            assert_eq!(tab.value(NAMELESS), serde_json::json!([]), "{at}");
        }
    }
}

/// Elements that extend beyond the right edge, or are cut off without a way to scroll to them.
pub const BEYOND: &str = r"(() => {
  const bad = document.documentElement.scrollWidth > innerWidth ? [`the page is ${document.documentElement.scrollWidth} wide`] : [];
  for (const element of document.querySelectorAll('main *, header *')) {
    const box = element.getBoundingClientRect();
    if (box.width > 0 && box.right > innerWidth + 1 && !element.closest('.scroll, nav, .hidden, .defs')) bad.push(element.outerHTML.slice(0, 100));
  }
  return bad.slice(0, 5);
})()";

pub fn widths(browser: &mut Browser) {
    let site = Site::populated();
    {
        let mut tab = site.open(browser, 1280, 900, false);
        for (width, at) in
            [(1920, ""), (1280, "map=10.20.0.0/24"), (768, ""), (390, "map=10.20.0.0/24"), (320, "")]
        {
            tab.size(width, 800);
            tab.value(&format!("location.hash = '{at}'"));
            tab.until(&format!(
                "document.querySelectorAll('#crumbs li').length === {}",
                if at.is_empty() { 1 } else { 3 }
            ));
            tab.until("[...document.querySelectorAll('.grid')].every((grid) => Math.abs(grid.viewBox.baseVal.width - document.querySelector('#areas').clientWidth) < 2)");
            assert_eq!(tab.value(BEYOND), serde_json::json!([]), "{width}");
        }
    }
    let site = Site::troubled();
    let mut tab = site.open(browser, 1280, 900, false);
    for width in [1920, 768, 320] {
        tab.size(width, 800);
        assert_eq!(tab.value(BEYOND), serde_json::json!([]), "troubled, {width}");
    }
}

pub fn screens(browser: &mut Browser) {
    let site = Site::populated();
    let mut tab = site.open(browser, 390, 800, false);
    let hidden = "[...document.querySelectorAll('header nav a, #find')].filter((link) => { const box = link.getBoundingClientRect(); \
        return box.width === 0 || box.left < 0 || box.right > innerWidth || document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2) !== link; }) \
        .map((link) => link.textContent)";
    for width in [390, 320] {
        tab.size(width, 800);
        tab.value("window.scrollTo(0, 0)");
        assert_eq!(tab.value(hidden), serde_json::json!([]), "{width}");
        let links = tab.value("[...document.querySelectorAll('header nav a')].map((link) => Boolean(document.querySelector(link.getAttribute('href'))))");
        assert_eq!(links, serde_json::json!(vec![true; 7]));
    }
    tab.size(1920, 1000);
    let used = "document.querySelector('#main').getBoundingClientRect().width / innerWidth > 0.9";
    tab.until(used);
    let next_to = |one: &str, other: &str| {
        format!(
            "document.querySelector('{one}').getBoundingClientRect().right <= document.querySelector('{other}').getBoundingClientRect().left"
        )
    };
    for (one, other) in [("#pools", "#usage"), ("#subnets", "#leases")] {
        assert_eq!(tab.value(&next_to(one, other)), true, "{one} is next to {other}");
    }
}

/// A screenshot of every view.
pub fn pictures(browser: &mut Browser) {
    let (site, bare, troubled) = (Site::with_names(), Site::new(TOML), Site::troubled());
    let (many, (hosts, _plan)) = (Site::with_six_hundred_subnets(), Site::among_hosts());
    for (name, site, width, dark, at, part, most) in [
        ("page-light", &site, 1280, false, "", "body", 1_330),
        ("page-dark", &site, 1280, true, "", "body", 1_330),
        ("tables-light", &site, 1280, false, "", "#subnets", 700),
        ("leases-dark", &site, 1280, true, "", "#leases", 700),
        ("usage-light", &site, 1280, false, "", "#usage", 600),
        ("subnet-light", &site, 1280, false, "map=10.20.0.0/24", "#map", 700),
        ("pool-dark", &site, 1280, true, "map=10.20.0.0/16", "#map", 700),
        ("wide-light", &site, 1280, false, "map=2001:db8:d:1::/64", "#map", 700),
        ("phone-light", &site, 390, false, "", "body", 1_500),
        ("phone-leases", &site, 390, false, "", "#leases", 1_200),
        ("phone-dark", &site, 390, true, "map=198.51.100.16/28", "#map", 900),
        ("trouble-light", &troubled, 1280, false, "", "body", 900),
        ("state-light", &troubled, 1280, false, "", "#state", 900),
        ("state-dark", &troubled, 1280, true, "", "#state", 900),
        ("state-phone", &troubled, 390, false, "", "#state", 1_500),
        ("state-well", &site, 1280, false, "", "#state", 900),
        ("story-light", &site, 1280, false, "of=web-3", "#story", 1_200),
        ("story-phone", &site, 390, true, "of=10.20.0.7", "#story", 1_500),
        ("history-dark", &site, 1280, true, "", "#history", 1_000),
        ("screen-light", &site, 1920, false, "", "body", 2_000),
        ("screen-dark", &many, 2560, true, "", "body", 1_600),
        ("many-light", &many, 1280, false, "map=lan", "#map", 1_200),
        ("many-phone", &many, 390, false, "map=lan", "#map", 1_500),
        ("many-page", &many, 1280, false, "", "body", 2_500),
        ("hosts-light", &hosts, 1280, false, "", "#map", 900),
        ("hosts-dark", &hosts, 1280, true, "", "#map", 900),
        ("hosts-lan", &hosts, 1280, false, "map=198.51.100.0/24", "#map", 700),
        ("hosts-lan-dark", &hosts, 1280, true, "map=198.51.100.0/24", "#map", 700),
        ("hosts-state", &hosts, 1280, false, "", "#state", 900),
        ("hosts-phone", &hosts, 390, false, "", "#map", 1_500),
        ("empty-light", &bare, 1280, false, "", "body", 2_700),
    ] {
        let mut tab = site.open(browser, width, 860, dark);
        if !at.is_empty() {
            tab.value(&format!("location.hash = '{at}'"));
            tab.until("document.querySelectorAll('#crumbs li').length > 1 || document.querySelector('#story tbody tr')");
        }
        save(&mut tab, name, part, most);
    }
}

/// Takes a screenshot of a part of the page, which must not be blank; saves it to a directory if one is given.
pub fn save(tab: &mut Tab<'_>, name: &str, part: &str, most: u32) {
    tab.value("window.scrollTo(0, 0); document.querySelector('#main').focus({preventScroll: true}); new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
    let picture = tab.picture(part, most);
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 5_000, "{name}");
    if let Some(directory) = std::env::var_os("GIPAM_SCREENSHOTS").map(std::path::PathBuf::from) {
        std::fs::write(directory.join(format!("{name}.png")), picture).unwrap();
    }
}
