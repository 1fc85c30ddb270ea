// The page: requests everything once, and again whenever the daemon reports that something changed.

import { $, PLACE, ago, ask, count, h, meter, noPools, plural, redraw, stamp, time } from "./dom.js";
import { History } from "./history.js";
import * as map from "./map.js";
import { heads, line, scroll } from "./rows.js";
import * as state from "./state.js";
import * as story from "./story.js";
import * as tables from "./tables.js";
import * as usage from "./usage.js";

let status = null;
const { subnets, leases } = tables.start(() => status?.names?.[0] ?? "gipam");
const history = new History($("#history"), { name: "history", title: "History" });

function tile(title, value, classes) {
  return h("div", {}, h("dt", {}, title), h("dd", { class: classes }, value));
}

function summary() {
  const engine = status.repair ? { true: ["answers", "small good"], false: ["no answer", "small bad"] }[status.engine] ?? ["not checked yet", "small"] : ["not checked", "small"];
  const books = status.writable ? [status.synced ? `synced ${ago(status.synced, status.now)}` : "not written yet", "small"] : ["cannot be written", "small bad"];
  return [
    tile("Subnets", count(status.subnets)), tile("Leases", count(status.leases)), tile("Cooling addresses", count(status.cooling)),
    tile("Books", ...books), tile("Docker Engine", ...engine),
    tile("Repair findings", status.repair ? count(status.findings) : "off", status.findings ? "warn" : status.repair ? "" : "small"),
  ];
}

function notes() {
  const list = [];
  if (!status.writable) list.push(h("p", { class: "note bad", role: "alert" }, h("strong", {}, "The books cannot be written. "), status.stalled === null ? "Is the disk full? " : `The disk has held up a write for ${status.stalled} s. `, "Networks and containers do not get addresses until they can be written again."));
  if (status.last_error) list.push(h("p", { class: "note warn" }, h("strong", {}, "Last failure "), time(status.last_error_at), `: ${status.last_error}`));
  if (status.findings) list.push(h("p", { class: "note warn" }, `Repair has ${plural(status.findings, "finding", "findings")}: `, h("code", {}, "gipam gc"), " lists them."));
  return [...list, ...state.troubles(status)];
}

function showLeases(change) {
  leases.ask({ search: "", ...change });
  $("#leases").scrollIntoView({ block: "start" });
  leases.search.focus({ preventScroll: true });
}

const tag = (text) => [" ", h("span", { class: "tag warn" }, text)];

function poolName(row) {
  const full = status.filling.find((found) => !found.subnet && found.pool === row.pool && found.family === row.family);
  const moved = status.sources.find((found) => found.pool === row.pool && found.family === row.family);
  return [h("b", {}, row.pool), h("span", { class: "sub" }, map.onMap(row.base)), row.closed ? tag("closed") : null, row.unusable ? tag(`unusable: ${row.unusable}`) : null, moved?.stale ? tag(`${plural(moved.stale, "subnet", "subnets")} on an earlier prefix`) : null, full ? tag(`${full.percent}\u00a0% full`) : null];
}

function trend(row) {
  const show = () => usage.choose(row.pool).then(() => $("#usage").scrollIntoView({ block: "nearest" }));
  return h("button", { class: "link", type: "button", "aria-label": `Trend of pool ${row.pool}`, onclick: show }, "show");
}

const POOLS = [
  ["Pool", "", poolName],
  ["Base", "mono wide", (row) => map.onMap(row.base)],
  ["Subnets of", "wide", (row) => `/${row.size}`],
  ["Full", "n", (row) => meter(row.share, row.full)],
  ["Used", "n wide", (row) => count(row.subnets)],
  ["Cooling", "n wide", (row) => count(row.cooling)],
  ["Reserved", "n wide", (row) => count(row.reserved)],
  ["Free", "n", (row) => count(row.free)],
  ["Trend", "n", trend],
];

function pools(rows) {
  usage.offer(rows.map((row) => row.pool));
  const lines = () => h("tbody", {}, ...rows.map((row) => line(POOLS, row, { class: "pool" })));
  redraw($("#pool-list"), [rows, status.filling, status.sources], () => rows.length
    ? h("div", { class: "panel sheet" }, scroll("Pools", heads(POOLS), lines(), "plain")) : noPools("panel empty"));
}

async function head() {
  status = await state.look();
  $("#summary").replaceChildren(...summary());
  redraw($("#notes"), [status.writable, status.stalled, status.last_error_at, status.last_error, status.findings, state.troubles(status).map((note) => note.textContent)], notes);
  state.draw(status, () => showLeases({ state: "quarantined", subnet: "", label: "" }));
  document.title = `${status.names.join(", ")} – ${plural(status.leases, "lease", "leases")}`;
  $("#foot").textContent = `gipam ${status.version}, serving ${status.names.join(", ")} since ${stamp(status.started)}; books: ${status.books}`;
}

function live(state, words) {
  const element = $("#live");
  if (element.dataset.state === state) return;
  element.dataset.state = state;
  element.querySelector(".words").textContent = words;
}

// The curve needs a read of the whole history, and even the curve of one hour hardly changes within ten seconds.
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
    await Promise.all([ask("pools").then(pools), map.draw(false), subnets.draw(), leases.draw(), curve(), history.draw(), story.draw()]);
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

// Each answer is one event, after which the browser reconnects by itself. Only a longer silence is shown on the page.
// A hidden page does not follow events: browsers allow only a few connections to one host.
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
  // The head of an answer arrives immediately, its event later.
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
story.start();
map.start(showLeases);
refresh().then(follow);
