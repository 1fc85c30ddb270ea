//! `gipam doctor --edge`: in which way the provider gives IPv6 prefixes to this host, and the lines of a pool that suit it.
//!
//! Promises: reads addresses and routes, and asks the router how it sends packets to an unused address of each prefix (see
//! `probe::ask_router`); changes nothing on this host. What these do not show is said to be unknown or probable.

use std::io;
use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::edge_signs::{EdgeSign, EdgeSigns, SMALL};
use crate::plan::prefix::Prefix;
use crate::probe::{RouterAnswer, RouterQuestion, ask_router};

/// The longest line of a comment, if no word is longer.
const WIDTH: usize = 110;

/// In which way a prefix leads to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeCase {
    /// Its packets arrive at this host.
    Routed,
    /// The router looks for each address on the link.
    OnLink,
    /// It arrives at this host for a limited time, and may change.
    Changing,
}

/// How the router sends packets to an unused address of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeProbe {
    /// It looks for the address on the link.
    Solicits,
    /// It sends them to this host.
    SendsHere,
    /// Unknown: it answers this host's own address, but not the unused one.
    OnlyOwn,
    /// Unknown: it answers nothing.
    Silent,
    /// Unknown: it was not asked.
    NotAsked,
}

/// A prefix, how it leads to this host, and a pool that suits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeFinding {
    pub case: EdgeCase,
    pub prefix: String,
    /// The interface to the router.
    pub uplink: String,
    /// What addresses and routes show.
    pub why: String,
    pub probe: EdgeProbe,
    /// What the router did.
    pub router: String,
    /// The lines for the configuration file.
    pub lines: String,
}

/// What is known about one prefix.
#[derive(Debug)]
struct EdgePrefix {
    prefix: Prefix,
    sign: EdgeSign,
    /// A part without addresses of this host; `None` if they are everywhere.
    free: Option<Prefix>,
    /// An address of it that nobody has.
    unused: Ipv6Addr,
}

/// What the router answered about a prefix, or why it was not asked.
type EdgeAnswer = Result<RouterAnswer, String>;

/// Finds out the cases of this host.
pub fn edge_cases() -> io::Result<Vec<EdgeFinding>> {
    let signs = EdgeSigns::read()?;
    let Some((uplink, router)) = signs.uplink() else { return Ok(Vec::new()) };
    let prefixes: Vec<EdgePrefix> =
        signs.prefixes(uplink).into_iter().map(|found| EdgePrefix::new(&signs, found)).collect();
    if prefixes.is_empty() {
        return Ok(Vec::new());
    }
    let asked = ask(uplink, router, &prefixes);
    let answer = |at: usize| match &asked {
        Ok(answers) => answers.get(at).copied().ok_or_else(String::new),
        Err(error) => Err(error.clone()),
    };
    let mut inner = [0; 5];
    // Without random bits, the person gets a prefix that is less likely to be unique.
    let _ = rustix::rand::getrandom(&mut inner, rustix::rand::GetRandomFlags::empty());
    let findings = prefixes.iter().enumerate().map(|(at, prefix)| {
        let router = router.map_or_else(String::new, |router| format!(" {router}"));
        prefix.finding(uplink, &router, answer(at), inner)
    });
    Ok(findings.collect())
}

fn ask(uplink: &str, router: Option<Ipv6Addr>, prefixes: &[EdgePrefix]) -> Result<Vec<RouterAnswer>, String> {
    let router = router.ok_or("the default route does not name a router")?;
    let question = |it: &EdgePrefix| {
        let own = match it.sign {
            EdgeSign::Address { own, .. } => Some(own),
            EdgeSign::Discard | EdgeSign::Delegated => None,
        };
        RouterQuestion { unused: it.unused, own }
    };
    let questions: Vec<RouterQuestion> = prefixes.iter().map(question).collect();
    ask_router(uplink, router, &questions).map_err(|error| error.to_string())
}

impl EdgePrefix {
    fn new(signs: &EdgeSigns, (prefix, sign): (Prefix, EdgeSign)) -> Self {
        let free = signs.free_part(prefix);
        // Of so many addresses, a random one is unused.
        let mut random = [0xa5; 16];
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        let space = free.unwrap_or(prefix);
        let bits = u128::from_ne_bytes(random) & (space.last() - space.first());
        Self { prefix, sign, free, unused: Ipv6Addr::from_bits(space.first() | bits) }
    }

    fn finding(&self, uplink: &str, router: &str, answer: EdgeAnswer, inner: [u8; 5]) -> EdgeFinding {
        let case = match (self.sign, &answer) {
            (EdgeSign::Delegated, _) => EdgeCase::Changing,
            (_, Ok(RouterAnswer::Solicits)) => EdgeCase::OnLink,
            (_, Ok(RouterAnswer::SendsHere)) | (EdgeSign::Discard, _) => EdgeCase::Routed,
            (EdgeSign::Address { .. }, _) => EdgeCase::OnLink,
        };
        let (probe, router) = self.asked(router, answer);
        EdgeFinding {
            case,
            prefix: self.prefix.to_string(),
            uplink: uplink.to_owned(),
            why: self.why(probe).to_owned(),
            probe,
            router,
            lines: self.lines(case, uplink, inner),
        }
    }

    fn why(&self, probe: EdgeProbe) -> &'static str {
        match self.sign {
            EdgeSign::Discard => "a route of this host discards packets to its unused parts",
            EdgeSign::Delegated => {
                "a route of DHCP says that it was delegated to this host for a limited time"
            }
            EdgeSign::Address { expires: true, .. } => {
                "this host has an address of it with a limited lifetime: the prefix may change"
            }
            EdgeSign::Address { .. } if probe.is_known() => "this host has an address of it",
            EdgeSign::Address { .. } => {
                "this host has an address of it; if the provider routes it to this host instead, write discard = true in place of ndp_proxy"
            }
        }
    }

    /// What the router did, or why that is unknown.
    fn asked(&self, router: &str, answer: EdgeAnswer) -> (EdgeProbe, String) {
        let Self { prefix, unused, .. } = self;
        match answer {
            Ok(RouterAnswer::Solicits) => (
                EdgeProbe::Solicits,
                format!("the router{router} looked on the link for {unused}, which nobody has"),
            ),
            Ok(RouterAnswer::SendsHere) => {
                let text = format!(
                    "the router{router} sent a packet for {unused}, which nobody has, to this host, and did not look for it on the link"
                );
                (EdgeProbe::SendsHere, text)
            }
            Ok(RouterAnswer::OnlyOwn) => {
                let text = format!(
                    "the router{router} answers this host's address, but not {unused}, which nobody has: the provider may drop \
                     packets from it; ask whether containers may have addresses of the prefix"
                );
                (EdgeProbe::OnlyOwn, text)
            }
            Ok(RouterAnswer::Silent) => {
                let text = format!(
                    "the router{router} did not answer, so how it sends packets to {prefix} is unknown"
                );
                (EdgeProbe::Silent, text)
            }
            Err(error) => {
                let text = format!("the router was not asked how it sends packets to {prefix}: {error}");
                (EdgeProbe::NotAsked, text)
            }
        }
    }

    /// The lines of a pool for this case. Of a prefix on the uplink, the pool gets a part without addresses of this host.
    fn lines(&self, case: EdgeCase, uplink: &str, [a, b, c, d, e]: [u8; 5]) -> String {
        let is_whole = case != EdgeCase::OnLink && !matches!(self.sign, EdgeSign::Address { .. });
        let part = if is_whole { Some(self.prefix) } else { self.free };
        let Some(part) = part else { return String::new() };
        let size = if is_whole { 64 } else { SMALL.max(part.length()) };
        let pool = "[[pool]]\nname = \"public\"\n";
        match case {
            EdgeCase::Routed => {
                format!("{pool}v6 = {{ base = \"{part}\", size = {size} }}\ndiscard = true\n")
            }
            EdgeCase::OnLink => {
                format!("{pool}v6 = {{ base = \"{part}\", size = {size} }}\nndp_proxy = \"{uplink}\"\n")
            }
            EdgeCase::Changing => {
                let outer = self.prefix.length();
                let length = outer.max(48);
                format!(
                    "{pool}v6 = {{ base = \"fd{a:02x}:{b:02x}{c:02x}:{d:02x}{e:02x}::/{length}\", size = 64 }}\n\
                     translate = \"nptv6\"\nouter = \"pd:{uplink}/{outer}\"\n"
                )
            }
        }
    }
}

impl EdgeProbe {
    const fn is_known(self) -> bool {
        matches!(self, Self::Solicits | Self::SendsHere)
    }
}

impl EdgeFinding {
    /// The finding as lines of a configuration file, with comments.
    pub fn text(&self) -> String {
        let Self { case, prefix, uplink, why, probe, router, lines } = self;
        let said = match case {
            EdgeCase::Routed => format!("{prefix} is routed to this host, by {uplink}."),
            EdgeCase::OnLink if *probe == EdgeProbe::Solicits => {
                format!(
                    "{prefix} is on the link of {uplink}: the router looks for each of its addresses there."
                )
            }
            EdgeCase::OnLink => format!("{prefix} is probably on the link of {uplink}."),
            EdgeCase::Changing => format!("{prefix} leads to this host by {uplink}, and may change."),
        };
        let texts = [said, sentence(why), sentence(router), "See docs/ipv6.md.".to_owned()];
        texts.iter().map(|text| comment(text)).collect::<String>() + lines
    }
}

/// The text as comment lines that are not too long to read.
fn comment(text: &str) -> String {
    let (mut lines, mut width) = ("#".to_owned(), 1);
    for word in text.split(' ') {
        if width + word.len() >= WIDTH {
            lines.push_str("\n#  ");
            width = 3;
        }
        lines.extend([" ", word]);
        width += 1 + word.len();
    }
    lines + "\n"
}

/// The text with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::edge_signs::{OwnAddress, OwnRoute};
    use super::*;

    fn own(text: &str, interface: &str, expires: bool) -> OwnAddress {
        let (address, length) = text.split_once('/').unwrap();
        let (address, length) = (address.parse().unwrap(), length.parse().unwrap());
        OwnAddress { address, length, interface: interface.to_owned(), expires }
    }

    fn route(prefix: &str, discards: bool, interface: &str, via: Option<&str>, dynamic: bool) -> OwnRoute {
        let (prefix, interface) = (Prefix::parse(prefix).unwrap(), Some(interface.to_owned()));
        OwnRoute { prefix, discards, interface, via: via.map(|via| via.parse().unwrap()), dynamic }
    }

    /// What is found if the router answers so.
    fn found(addresses: &[OwnAddress], routes: &[OwnRoute], answer: EdgeAnswer) -> Vec<EdgeFinding> {
        let signs = EdgeSigns { addresses: addresses.to_vec(), routes: routes.to_vec() };
        let Some((uplink, router)) = signs.uplink() else { return Vec::new() };
        let router = format!(" {}", router.unwrap());
        let finding =
            |found| EdgePrefix::new(&signs, found).finding(uplink, &router, answer.clone(), [1, 2, 3, 4, 5]);
        signs.prefixes(uplink).into_iter().map(finding).collect()
    }

    fn shown(addresses: &[OwnAddress], routes: &[OwnRoute], answer: EdgeAnswer) -> Vec<(EdgeCase, String)> {
        found(addresses, routes, answer).into_iter().map(|found| (found.case, found.lines)).collect()
    }

    fn pool(base: &str, last: &str) -> String {
        format!("[[pool]]\nname = \"public\"\nv6 = {{ base = \"{base}\", size = 80 }}\n{last}\n")
    }

    #[test]
    fn a_part_of_an_on_link_prefix_is_free_of_the_hosts_and_the_routers_addresses() {
        let default = route("::/0", false, "eth0", Some("2001:db8:1::1"), false);
        let low = own("2001:db8:1::2/64", "eth0", false);
        let high = own("2001:db8:1:0:9000::2/64", "eth0", false);
        let proxy = "ndp_proxy = \"eth0\"";
        for answer in [Ok(RouterAnswer::Solicits), Ok(RouterAnswer::Silent), Err("no right".to_owned())] {
            let one = shown(std::slice::from_ref(&low), std::slice::from_ref(&default), answer.clone());
            assert_eq!(one, [(EdgeCase::OnLink, pool("2001:db8:1:0:8000::/65", proxy))]);
            let both = shown(&[low.clone(), high.clone()], std::slice::from_ref(&default), answer);
            assert_eq!(both, [(EdgeCase::OnLink, pool("2001:db8:1:0:c000::/66", proxy))]);
        }
    }

    #[test]
    fn what_the_router_does_decides_and_without_an_answer_the_likeliest_case_is_called_probable() {
        let default = route("::/0", false, "eth0", Some("2001:db8:1::1"), false);
        let address = own("2001:db8:1::2/64", "eth0", false);
        let one =
            |answer| found(std::slice::from_ref(&address), std::slice::from_ref(&default), answer).remove(0);
        let routed = one(Ok(RouterAnswer::SendsHere));
        assert_eq!((routed.case, routed.probe), (EdgeCase::Routed, EdgeProbe::SendsHere));
        assert_eq!(routed.lines, pool("2001:db8:1:0:8000::/65", "discard = true"));
        assert!(
            one(Ok(RouterAnswer::Solicits)).text().starts_with("# 2001:db8:1::/64 is on the link of eth0: ")
        );
        for (answer, probe) in [
            (Ok(RouterAnswer::OnlyOwn), EdgeProbe::OnlyOwn),
            (Ok(RouterAnswer::Silent), EdgeProbe::Silent),
            (Err("no right".to_owned()), EdgeProbe::NotAsked),
        ] {
            let finding = one(answer);
            assert_eq!((finding.case, finding.probe), (EdgeCase::OnLink, probe));
            let text = finding.text().replace("\n#   ", " ");
            assert!(text.starts_with("# 2001:db8:1::/64 is probably on the link of eth0.\n"), "{text}");
            assert!(text.contains("write discard = true in place of ndp_proxy"), "{text}");
        }
    }

    #[test]
    fn a_discard_route_shows_a_routed_prefix_and_one_of_dhcp_a_changing_one() {
        let default = route("::/0", false, "eth0", Some("fe80::1"), true);
        let link = own("2001:db8:9::2/128", "eth0", true);
        let fixed = route("2001:db8:8::/56", true, "lo", None, false);
        let lines =
            "[[pool]]\nname = \"public\"\nv6 = { base = \"2001:db8:8::/56\", size = 64 }\ndiscard = true\n";
        for answer in [RouterAnswer::SendsHere, RouterAnswer::Silent] {
            let found = shown(std::slice::from_ref(&link), &[default.clone(), fixed.clone()], Ok(answer));
            assert_eq!(found, [(EdgeCase::Routed, lines.to_owned())]);
        }
        let looked_for =
            shown(std::slice::from_ref(&link), &[default.clone(), fixed], Ok(RouterAnswer::Solicits));
        assert_eq!(looked_for, [(EdgeCase::OnLink, pool("2001:db8:8:80::/57", "ndp_proxy = \"eth0\""))]);
        let delegated = route("2001:db8:c1::/56", true, "lo", None, true);
        let lines = "[[pool]]\nname = \"public\"\nv6 = { base = \"fd01:0203:0405::/56\", size = 64 }\ntranslate = \"nptv6\"\n\
                     outer = \"pd:eth0/56\"\n";
        let changing = shown(&[link], &[default, delegated], Ok(RouterAnswer::SendsHere));
        assert_eq!(changing, [(EdgeCase::Changing, lines.to_owned())]);
        let without = shown(&[own("2001:db8:1::2/64", "eth0", false)], &[], Ok(RouterAnswer::Silent));
        assert_eq!(without, [], "without a default route");
    }

    #[test]
    fn comments_are_wrapped_and_lose_no_word() {
        let words = ["word"; 60].join(" ");
        let text = comment(&words);
        assert!(text.lines().all(|line| line.starts_with("# ") && line.len() <= WIDTH), "{text}");
        assert_eq!(text.matches("word").count(), 60);
        assert_eq!(text.lines().count(), 3);
    }
}
