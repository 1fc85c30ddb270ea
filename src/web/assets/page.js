// The page: asks for everything once, and again whenever the daemon says that something changed.

import { $, PLACE, ago, ask, count, h, plural, redraw, s, stamp, time } from "./dom.js";
import * as map from "./map.js";
import * as state from "./state.js";
import * as tables from "./tables.js";
import * as usage from "./usage.js";

let status = null;
const { subnets, leases } = tables.start(() => status?.names?.[0] ?? "gipam");

function tile(title, value, classes) {
  return h("div", {}, h("dt", {}, title), h("dd", { class: classes }, value));
}

function summary() {
  const engine = status.repair ? { true: ["answers", "small good"], false: ["no answer", "small bad"] }[status.engine] ?? ["not asked yet", "small"] : ["not asked", "small"];
  const books = status.writable ? [status.synced ? `synced ${ago(status.synced, status.now)}` : "not written yet", "small"] : ["take no writes", "small bad"];
  return [
    tile("Subnets", count(status.subnets)), tile("Leases", count(status.leases)), tile("Cooling addresses", count(status.cooling)),
    tile("Books", ...books), tile("Docker Engine", ...engine),
    tile("Findings of repair", status.repair ? count(status.findings) : "off", status.findings ? "bad" : status.repair ? "" : "small"),
  ];
}

function notes() {
  const list = [];
  if (!status.writable) list.push(h("p", { class: "note bad", role: "alert" }, h("strong", {}, "The books take no writes. "), status.stalled === null ? "Is the disk full? " : `The disk has held up a write for ${status.stalled} s. `, "Networks and containers get no addresses until they do."));
  if (status.last_error) list.push(h("p", { class: "note" }, h("strong", {}, "Last failure "), time(status.last_error_at), `: ${status.last_error}`));
  if (status.findings) list.push(h("p", { class: "note" }, `Repair has ${plural(status.findings, "finding", "findings")}: `, h("code", {}, "gipam gc"), " lists them."));
  return [...list, ...state.troubles(status)];
}

// Parts of a bar; what is there at all can be seen.
function bar(parts) {
  const total = parts.reduce((sum, [, value]) => sum + Number(BigInt(value)), 0) || 1;
  let x = 0;
  const rects = parts.filter(([state, value]) => state !== "free" && BigInt(value) > 0n).map(([state, value]) => {
    const width = Math.max((Number(BigInt(value)) / total) * 1000, 4);
    x += width;
    return s("rect", { class: state, x: x - width, width, height: 14 });
  });
  return h("div", { class: "bar", "aria-hidden": "true" }, s("svg", { viewBox: "0 0 1000 14", preserveAspectRatio: "none" }, ...rects));
}

function pool(row) {
  const states = [["used", row.subnets], ["cooling", row.cooling], ["reserved", row.reserved], ["free", row.free]];
  const words = states.filter(([state, value]) => state !== "cooling" && state !== "reserved" || BigInt(value) > 0n);
  const full = status.filling.find((found) => !found.subnet && found.pool === row.pool && found.family === row.family);
  return h("article", { class: "panel pool" },
    h("div", {}, h("h3", {}, row.pool, h("span", { class: "base mono" }, row.base)), h("p", { class: "hint" }, `subnets of /${row.size}`, row.closed ? " " : null, row.closed ? h("span", { class: "tag warn" }, "closed") : null, row.unusable ? h("span", { class: "tag warn" }, ` unusable: ${row.unusable}`) : null, full ? " " : null, full ? h("span", { class: "tag warn" }, `${full.percent}\u00a0% full`) : null)),
    h("div", {}, bar(states), h("p", { class: "counts" }, h("span", {}, h("b", {}, row.full), " full"), ...words.map(([state, value]) => h("span", {}, h("b", {}, count(value)), ` ${state}`)))));
}

function pools(rows) {
  redraw($("#pool-list"), [rows, status.filling], () => rows.length ? rows.map(pool) : h("p", { class: "panel empty" }, h("strong", {}, "No pools"), "Give gipam a prefix that is routed to this host."));
}

const WORDS = { "subnet granted": "subnet granted", "subnet released": "subnet released", "subnet undone": "subnet taken back", undone: "taken back" };

function events(rows) {
  redraw($("#events"), rows, () => rows.length ? rows.map((row) => h("li", {}, h("time", { datetime: row.at }, stamp(row.at)),
    h("span", { class: "what" }, WORDS[row.event] ?? row.event),
    h("span", { class: "why" }, h("span", { class: "mono" }, row.address ?? row.subnet), [row.address && `in ${row.subnet}`, row.kind, row.holder, row.why && row.why !== "docker" ? row.why : null].filter(Boolean).map((text) => ` · ${text}`).join(""))))
    : h("li", { class: "empty" }, "Nothing has happened yet."));
}

async function head() {
  status = await state.look();
  $("#summary").replaceChildren(...summary());
  redraw($("#notes"), [status.writable, status.stalled, status.last_error_at, status.last_error, status.findings, state.troubles(status).map((note) => note.textContent)], notes);
  state.draw(status);
  document.title = `${status.names.join(", ")} – ${plural(status.leases, "lease", "leases")}`;
  $("#foot").textContent = `gipam ${status.version}, serving ${status.names.join(", ")} since ${stamp(status.started)}; books: ${status.books}`;
}

function live(state, words) {
  const element = $("#live");
  if (element.dataset.state === state) return;
  element.dataset.state = state;
  element.querySelector(".words").textContent = words;
}

// The curve costs a look at the whole history, and an hour has no other face after ten seconds.
let curved = 0;
function curve() {
  if (Date.now() - curved < 10_000) return null;
  curved = Date.now();
  return usage.draw();
}

let [busy, again] = [false, false];
export async function refresh() {
  if (busy) return void (again = true);
  busy = true;
  try {
    await head();
    await Promise.all([ask("pools").then(pools), map.draw(false), subnets.draw(), leases.draw(), curve(), ask("history", { limit: 20 }).then(events)]);
    document.documentElement.dataset.drawn = String(Number(document.documentElement.dataset.drawn ?? 0) + 1);
  } catch (error) {
    live("lost", "no answer");
    setTimeout(refresh, 5000);
  } finally {
    busy = false;
  }
  if (again) {
    again = false;
    refresh();
  }
}

// Each answer is one event; the browser asks again by itself. Only a longer silence is worth a word.
// A page that nobody sees does not follow: browsers allow only a few connections to one place.
let source = null;
function follow() {
  source?.close();
  source = null;
  if (document.hidden) return;
  source = new EventSource(`${PLACE}events`);
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = 0;
    live("live", "live");
  };
  // The head of an answer comes at once, its event when there is one.
  source.addEventListener("open", heard);
  for (const kind of ["hello", "change", "still"]) {
    source.addEventListener(kind, () => {
      heard();
      if (kind !== "hello" && !document.hidden) refresh();
    });
  }
  source.addEventListener("error", ({ target }) => {
    if (target.readyState === EventSource.CLOSED) {
      live("wait", "every 15 s");
      setTimeout(() => refresh().then(follow), 15000);
      return;
    }
    silence ||= setTimeout(() => live("lost", "no answer"), 4000);
  });
}

document.addEventListener("visibilitychange", () => {
  follow();
  if (!document.hidden) refresh();
});
usage.start();
map.start((change) => {
  leases.ask({ search: "", subnet: "", label: "", state: change.search ? "" : leases.query.state, ...change });
  if (change.search) leases.state.value = "";
  $("#leases").scrollIntoView({ block: "start" });
  leases.search.focus({ preventScroll: true });
});
refresh().then(follow);
