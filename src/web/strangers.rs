//! Whether a request comes from the page itself, or from a page of another site that is open in the same browser.
//!
//! Browsers send it themselves: `Sec-Fetch-Site` with every request to a place that they trust, as loopback is, and
//! `Origin` with all that crosses sites. Such a page cannot read our answers, but it could make us work and learn from
//! how long that takes.
//!
//! Promises: requests of another site are refused, except for the page itself when a person follows a link to it; requests
//! that no browser sends (a scraper, a prober, `curl`) are not.

use crate::server::HttpRequest;

/// Whether a request comes from the page, from a person or not from a browser.
pub fn is_ours(request: &HttpRequest) -> bool {
    let mut sites = request.values("sec-fetch-site");
    let is_from_here = sites.all(|site| ["same-origin", "none"].contains(&site.trim()));
    (is_from_here || is_a_link(request)) && request.values("origin").all(|origin| is_origin(request, origin))
}

/// A person follows a link on another site to the page. What it opens asks for the rest by itself.
fn is_a_link(request: &HttpRequest) -> bool {
    let says = |name: &str, value: &str| request.value(name).is_some_and(|said| said.trim() == value);
    request.path == "/" && says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document")
}

/// Whether an `Origin` is the very place that is asked.
fn is_origin(request: &HttpRequest, origin: &str) -> bool {
    let place = origin.trim().strip_prefix("http://").or_else(|| origin.trim().strip_prefix("https://"));
    place.is_some_and(|place| request.value("host").is_some_and(|host| host.eq_ignore_ascii_case(place)))
}
