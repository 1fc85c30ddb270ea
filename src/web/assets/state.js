// What a person should check: the Engine and repair, what is filling up, hooks, reservations and pins made by hand, and what is at
// the edge (the kernel, LANs, prefixes).

import { $, ask, count, h, list, meter, more, plural, redraw, stamp, word } from "./dom.js";
import * as edge from "./edge.js";
import { onMap } from "./map.js";

const at = (text) => h("time", { datetime: text }, stamp(text));
const since = (text) => text ? [" since ", at(text)] : [];

// The maximum number of entries of one kind that are shown.
const SHOWN = 20;

// The status, with reservations and pins made by hand, and addresses in quarantine; the most important entries come first, at most SHOWN of each kind.
export async function look() {
  const [status, reserved, pins] = await Promise.all([ask("status"), ask("reserved"), ask("leases", { by_hand: true, all: true, limit: SHOWN })]);
  const strangers = status.probes?.quarantined ? (await ask("leases", { state: "quarantined", all: true, limit: edge.SHOWN })).rows : [];
  const byHand = reserved.filter(({ origin }) => origin === "by hand");
  const failingFirst = status.hooks.toSorted((a, b) => !a.failing_since - !b.failing_since);
  const fullestFirst = status.filling.toSorted((a, b) => !!a.subnet - !!b.subnet || b.percent - a.percent);
  return {
    ...status, strangers: strangers.map(({ address, mac }) => ({ address, mac })),
    hooks: failingFirst.slice(0, SHOWN), hooks_all: status.hooks.length,
    filling: fullestFirst.slice(0, SHOWN), filling_all: status.filling.length,
    by_hand: {
      reserved: byHand.slice(0, SHOWN).map(({ first, last }) => `${first}-${last}`), reserved_all: byHand.length,
      pinned: pins.rows.map(({ address, subnet, pinned_to }) => ({ address, subnet, to: pinned_to })), pinned_all: pins.matching,
    },
  };
}

function card(title, tag, ...children) {
  return h("article", { class: "panel card" }, h("h3", {}, title, tag ? h("span", { class: "tag warn" }, tag) : null), ...children);
}

function engine({ repair, engine, engine_since, engine_error }) {
  if (!repair) return h("li", {}, "Not checked: repair is off (", h("code", {}, "gc.engine"), ").");
  if (engine === null) return h("li", {}, "Not checked yet.");
  if (engine) return h("li", {}, word("good", "Answers"), ...since(engine_since), ".");
  return h("li", {}, word("bad", "Does not answer"), ...since(engine_since), `: ${engine_error ?? "no reason given"}`);
}

function repair({ repair, engine, looked, next_look, findings, suspects }) {
  if (!repair) return [];
  const next = next_look ? [engine === false ? " Next try at " : " Next check at ", at(next_look), "."] : [" Next check when Docker calls, or with ", h("code", {}, "gipam gc"), "."];
  if (!looked) return [h("li", {}, "Repair has not checked yet.", ...next)];
  if (!findings) return [h("li", {}, "Last check at ", at(looked), ": no differences.", ...next)];
  const suspect = ({ what, subnet, address, holder, action }) => h("li", { class: "hint" }, `${what} ${address ?? subnet}${holder ? ` (${holder})` : ""}: ${action}`);
  return [h("li", {}, word("warn", plural(findings, "finding", "findings")), " at ", at(looked), ", listed by ", h("code", {}, "gipam gc"), ".", ...next), ...suspects.slice(0, 5).map(suspect)];
}

const called = ({ pool, family, subnet }) => subnet ? `subnet ${subnet}` : `pool ${pool} (${family})`;

function filling({ filling, filling_all }) {
  if (!filling.length) return h("p", { class: "hint" }, "No pool or subnet has reached ", h("code", {}, "warn_at"), ".");
  const row = ({ pool, family, subnet, percent, warn_at, since: from }) => h("li", {},
    h("span", { class: "line" }, h("span", {}, ...(subnet ? ["subnet ", onMap(subnet), pool ? ` of pool ${pool}` : null] : [`pool ${pool} (${family})`])), meter(percent / 100, `${percent}\u00a0%`)),
    h("span", { class: "hint" }, `warn_at is ${warn_at}\u00a0%,`, ...since(from)));
  return list(filling.map(row), more(filling_all, filling.length, "gipam status --json"));
}

function hooks({ hooks, hooks_all }) {
  if (!hooks_all) return h("p", { class: "hint" }, "No hooks are configured.");
  const row = ({ hook, upto, behind, failing_since, last_error }) => {
    const waits = behind === null ? "queue length unknown" : behind ? `${plural(behind, "event", "events")} queued` : "nothing queued";
    return h("li", {},
      h("span", { class: "line" }, h("strong", {}, hook), failing_since ? word("bad", "failing") : behind ? word("", "delivering") : word("good", "working")),
      h("span", { class: "hint" }, `delivered up to ${count(upto)}, ${waits}`),
      failing_since ? h("span", { class: "error" }, "Failing", ...since(failing_since), `: ${last_error ?? "no reason given"}`) : null);
  };
  return list(hooks.map(row), more(hooks_all, hooks.length, "gipam status --json"));
}

function byHand({ by_hand: { reserved, reserved_all, pinned, pinned_all } }) {
  if (!reserved_all && !pinned_all) return h("p", { class: "hint" }, "No reservations or pins were made by hand.");
  return list(
    reserved.map((range) => h("li", {}, h("span", { class: "mono" }, range), " reserved: never given dynamically")), more(reserved_all, reserved.length, "gipam reserve"),
    pinned.map(({ address, subnet, to }) => h("li", {}, h("span", { class: "mono" }, address), ` pinned to ${to}, in `, onMap(subnet))), more(pinned_all, pinned.length, "gipam leases --all"));
}

function plan({ plan: { host, hosts, file, error, held, leaving, lost, room, others, free, store } }) {
  const name = host ? `Host ${host}${hosts ? ` of ${count(hosts)}` : ""}` : "This host";
  const parts = [`${name} holds ${plural(held, "slice", "slices")}, with room for ${count(room)} more subnets`];
  if (leaving) parts.push(`gives back ${count(leaving)}`);
  return list(
    h("li", {}, `${parts.join(", and ")}. `, h("code", {}, "gipam slices")),
    others === null ? [] : h("li", {}, `Other hosts have ${plural(others, "slice", "slices")}; ${count(free)} are free. `, h("code", {}, "gipam hosts")),
    lost ? h("li", {}, word("bad", `${plural(lost, "slice", "slices")} lost`), ": another host has them, and this host still has networks in them.") : [],
    file ? h("li", { class: "hint" }, store ? `Kept in ${file}` : `Plan file: ${file}`) : [],
    store ? planStore(store) : [],
    error ? h("li", {}, h("span", { class: "error" }, error)) : []);
}

function planStore({ joined, trouble, stale_since, awaited, stopped }) {
  if (!joined) return h("li", {}, word("warn", "This host has not joined the plan"), ". ", h("code", {}, "gipam join"));
  return [
    stale_since
      ? h("li", {}, word("bad", "etcd does not answer"), ...since(stale_since), ". Own slices go on to be served; new ones cannot be claimed.", trouble ? h("span", { class: "error" }, trouble) : null)
      : h("li", {}, "etcd ", word("good", "answers"), "."),
    awaited.length ? h("li", {}, word("warn", "No host claims slices"), ` until these confirm theirs: ${awaited.join(", ")}.`) : [],
    stopped ? h("li", {}, word("bad", "This host claims nothing"), h("span", { class: "error" }, stopped)) : [],
  ].flat();
}

// What the title of the plan's card warns of.
function planTag({ lost, store }) {
  if (store?.joined && store.stale_since) return "no answer";
  return lost ? `${count(lost)} lost` : null;
}

// The problems that are also shown at the top of the page.
export function troubles(status) {
  const notes = [];
  const link = h("a", { href: "#state" }, "State");
  const sick = status.hooks.filter((row) => row.failing_since);
  if (status.repair && status.engine === false) notes.push(h("p", { class: "note bad" }, h("strong", {}, "Docker Engine does not answer"), ...since(status.engine_since), ". ", link.cloneNode(true)));
  const store = status.plan?.store;
  if (store?.joined && store.stale_since) notes.push(h("p", { class: "note bad" }, h("strong", {}, "The plan's store does not answer"), ...since(store.stale_since), ": this host goes on in its own slices, but cannot claim new ones. ", link.cloneNode(true)));
  if (sick.length) notes.push(h("p", { class: "note bad" }, h("strong", {}, sick.length === 1 ? `Hook ${sick[0].hook} is failing: ` : `${count(sick.length)} hooks are failing, such as ${sick[0].hook}: `), `${sick[0].last_error ?? ""}. `, link.cloneNode(true)));
  if (status.filling_all) {
    const [first, second] = status.filling.map((row) => `${called(row)} is ${row.percent}\u00a0% full`);
    const rest = status.filling_all - 2;
    const worst = Math.max(...status.filling.map((row) => row.percent));
    notes.push(h("p", { class: `note ${worst >= 95 ? "bad" : "warn"}` }, h("strong", {}, "Filling up: "), [first, second].filter(Boolean).join(", "), rest > 0 ? ` and ${count(rest)} more. ` : ". ", link.cloneNode(true)));
  }
  notes.push(...edge.troubles(status, link));
  if (status.log_held) notes.push(h("p", { class: "note warn" }, h("strong", {}, "The WAL of the books is growing"), ...since(status.log_held_since), ": a long-running reader keeps it from being reset."));
  return notes;
}

const KEYS = ["repair", "engine", "engine_since", "engine_error", "looked", "next_look", "findings", "suspects", "filling", "filling_all", "hooks", "hooks_all", "by_hand", "plan", "kernel", "probes", "strangers", "sources"];

// `show` shows the addresses in quarantine in the table of leases.
export function draw(status, show) {
  const grid = $("#state-grid");
  const focus = grid.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const changed = redraw(grid, KEYS.map((key) => status[key]), () => {
    const sick = status.hooks.filter((row) => row.failing_since).length;
    return [
      card("Docker Engine and repair", null, list(engine(status), repair(status))),
      card("Filling up", status.filling_all ? count(status.filling_all) : null, filling(status)),
      card("Hooks", sick ? `${count(sick)} of ${count(status.hooks_all)} failing` : null, hooks(status)),
      card("By hand", null, byHand(status)),
      ...(status.plan ? [card("Several hosts", planTag(status.plan), plan(status))] : []),
      ...(status.kernel.length ? [card("In the kernel", edge.kernelTag(status), edge.kernel(status))] : []),
      ...(status.sources.length ? [card("Prefixes that change", edge.sourcesTag(status), edge.sources(status))] : []),
      ...(status.probes ? [card("Probes of LANs", status.probes.quarantined ? `${count(status.probes.quarantined)} in quarantine` : null, edge.probes(status, show))] : []),
    ];
  });
  if (changed && focus) [...grid.querySelectorAll("[data-key]")].find((element) => element.dataset.key === focus)?.focus({ preventScroll: true });
}
