// What gipam keeps in the kernel of the host, what probes found on LANs, and prefixes that may change.

import { count, h, list, more, plural, tale, word } from "./dom.js";

// The kinds of objects in the kernel, as people call them.
const KINDS = { proxies: "neighbour and ARP proxy entries", discards: "discard routes", translations: "prefix translations", routes: "routes to other hosts" };
// How many refused objects of a kind are shown, and how many addresses in quarantine.
export const SHOWN = 5;

const kindName = (kind) => KINDS[kind] ?? kind;
const capital = (text) => text[0].toUpperCase() + text.slice(1);
const missing = ({ wanted, kept }) => Math.max(0, wanted - kept);
const isTrouble = (row) => missing(row) > 0 || Boolean(row.error);

export function kernel(status) {
  const row = (found) => {
    const { kind, wanted, kept, unmade, error } = found;
    const state = wanted ? word(isTrouble(found) ? "bad" : "good", `${count(kept)} of ${count(wanted)} in place`) : word(error ? "bad" : "", "none needed yet");
    return h("li", {}, h("span", { class: "line wraps" }, h("strong", {}, capital(kindName(kind))), state),
      error ? h("span", { class: "error" }, error) : null,
      unmade.slice(0, SHOWN).map(({ prefix, why }) => h("span", { class: "error" }, h("span", { class: "mono" }, prefix), `: ${why}`)),
      unmade.length > SHOWN ? h("span", { class: "hint" }, `and ${count(unmade.length - SHOWN)} more: `, h("code", {}, "gipam doctor")) : null);
  };
  return list(status.kernel.map(row), status.kernel.some(isTrouble) ? h("li", { class: "hint" }, "What to do: ", h("code", {}, "gipam doctor")) : []);
}

// What the title of the kernel's card warns of.
export function kernelTag({ kernel }) {
  const all = kernel.reduce((sum, row) => sum + missing(row), 0);
  return all ? `${count(all)} missing` : kernel.some(isTrouble) ? "no effect" : null;
}

export function probes({ probes: { pools, quarantined, sent, found, unprobed }, strangers }, show) {
  const pool = ({ pool, interface: on, error }) => h("li", {},
    h("span", { class: "line wraps" }, h("strong", {}, `pool ${pool}`), error ? word("bad", "not probed") : word("good", `probed on ${on}`)),
    error ? h("span", { class: "error" }, "Addresses are given without a probe: ", error) : null);
  const stranger = ({ address, mac }) => h("li", {}, tale(address, "mono"), ", in use by ", mac ? tale(mac, "mono") : "an unknown MAC");
  const quarantine = h("li", {}, word("warn", `${plural(quarantined, "address", "addresses")} in quarantine`), ": machines on the LAN have them that are not containers of this host. ",
    h("button", { type: "button", class: "link words", "data-key": "quarantine", onclick: show }, "Show in the table"));
  return list(pools.map(pool),
    quarantined ? [quarantine, ...strangers.map(stranger), more(quarantined, strangers.length, "gipam leases --state quarantined")] : h("li", {}, "No address is in quarantine."),
    h("li", { class: "hint" }, `Since the start: ${plural(sent, "packet", "packets")} sent, ${plural(found, "machine", "machines")} found, ${plural(unprobed, "address", "addresses")} given without a probe.`));
}

// How many subnets are stale, of all pools.
const stale = (rows) => rows.reduce((sum, row) => sum + row.stale, 0);

export function sources({ sources }) {
  const row = ({ pool, family, source, base, former, stale }) => {
    const state = base === null ? word("warn", "no prefix yet") : stale ? word("warn", `${plural(stale, "subnet", "subnets")} on an earlier prefix`) : word("good", "all subnets on it");
    const from = source ? `from ${source}` : "from the configuration";
    return h("li", {}, h("span", { class: "line wraps" }, h("strong", {}, `pool ${pool} (${family})`), state),
      h("span", { class: "hint" }, base === null ? null : [h("span", { class: "mono" }, base), " "], from),
      base !== null && former.length && stale ? h("span", { class: "hint" }, "earlier: ", h("span", { class: "mono" }, former.join(", ")), "; to move the subnets: ", h("code", {}, "gipam renumber")) : null);
  };
  return list(sources.map(row));
}

export function sourcesTag({ sources }) {
  const all = stale(sources);
  return all ? `${count(all)} on an earlier prefix` : sources.some((row) => row.base === null) ? "no prefix" : null;
}

// The problems that are also shown at the top of the page, each with this link at its end.
export function troubles({ kernel, probes, sources }, link) {
  const note = (kind, title, text) => h("p", { class: `note ${kind}` }, h("strong", {}, title), text, " ", link.cloneNode(true));
  const notes = [];
  const rows = kernel.filter(isTrouble);
  const told = (row) => (missing(row) ? `${kindName(row.kind)} (${count(missing(row))} of ${count(row.wanted)})` : `${kindName(row.kind)}: ${row.error}`);
  const isMissing = rows.some((row) => missing(row));
  if (rows.length) notes.push(note("bad", isMissing ? "Missing in the kernel: " : "In the kernel, but without effect: ", `${rows.map(told).join(", ")}.`));
  const blind = (probes?.pools ?? []).filter((row) => row.error);
  if (blind.length) notes.push(note("bad", `Addresses of pool ${blind.map((row) => row.pool).join(", ")} are given without a probe: `, `${blind[0].error}.`));
  const waiting = sources.filter((row) => row.base === null);
  if (waiting.length) notes.push(note("warn", `Pool ${waiting[0].pool} has no ${waiting[0].family} prefix yet: `, `gipam waits for ${waiting[0].source}.`));
  if (stale(sources)) {
    const pools = [...new Set(sources.filter((row) => row.stale).map((row) => row.pool))].join(", ");
    notes.push(note("warn", `${plural(stale(sources), "subnet is", "subnets are")} on an earlier prefix of pool ${pools}. `, ["To move them: ", h("code", {}, "gipam renumber"), "."]));
  }
  return notes;
}
