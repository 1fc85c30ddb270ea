// The tables of subnets and leases. The daemon searches, sorts and pages them.

import { $, about, ask, count, dash, h, meter, plural, s, tale, time } from "./dom.js";
import { onMap } from "./map.js";
import { Sheet, below, line } from "./rows.js";

const [ROWS, FILE, MOST] = [25, 500, 100_000]; // rows on the page, in one answer for a file, and in a file
const swatch = (state) => s("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, s("rect", { class: `c ${state} ${state === "used" ? "l3" : ""}`, x: .5, y: .5, width: 11, height: 11, rx: 3 }));

// A subnet outside the current base of its pool.
const stale = ({ base, same_number }) => h("span", { class: "tag warn", title: `The prefix of its pool is ${base} now. gipam renumber moves it${same_number ? ` to ${same_number}` : ""}.` }, "on an earlier prefix");

// A column has a sort key as its last element if the daemon can sort by it.
const SUBNETS = [
  ["Subnet", "mono", (row) => [onMap(row.prefix), below(row.network, row.pool ? `pool ${row.pool}` : "outside all pools", row.gateway && `gateway ${row.gateway}`), row.stale ? stale(row.stale) : null], "address"],
  ["Network", "wide", (row) => about(row.network), "network"],
  ["Pool", "wide", (row) => [row.pool ?? dash(), row.space === "local" ? "" : h("span", { class: "tag" }, row.space)], "pool"],
  ["Gateway", "mono wide", (row) => about(row.gateway)],
  ["Leases", "n", (row) => count(row.leases), "leases"],
  ["Cooling", "n wide", (row) => count(row.cooling), "cooling"],
  ["Free", "n wide", (row) => count(row.free), "free"],
  ["Full", "n", (row) => meter(row.share, row.full), "share"],
  ["Since", "wide", (row) => time(row.since), "since"],
];

const LEASES = [
  ["Address", "mono", (row) => [tale(row.address), below(row.network ?? row.subnet, row.state === "quarantined" ? null : row.kind, row.mac)], "address"],
  ["Holder", "", (row) => (row.state === "quarantined" ? h("span", { class: "none" }, "a machine on the LAN") : about(row.holder)), "holder"],
  ["Network", "wide", (row) => about(row.network), "network"],
  ["Subnet", "mono wide", (row) => onMap(row.subnet)],
  ["Kind", "wide", (row) => row.kind ?? h("span", { class: "none" }, "unknown"), "kind"],
  ["MAC", "mono wide", (row) => about(row.mac), "mac"],
  ["State", "", (row) => h("span", { class: "state" }, swatch(row.state === "leased" ? "used" : row.state), row.state), "state"],
  ["Since", "wide", (row) => time(row.since), "since"],
];

// The head of a column, which sorts by it if the daemon can.
function head([title, classes, , key], sort) {
  const content = key ? [title, h("span", { class: "arrow", "aria-hidden": "true" })] : [title];
  return h("th", { scope: "col", class: classes.replace("mono", ""), "data-key": key }, h("button", { type: "button", disabled: !key, onclick: () => sort(key) }, ...content));
}

class Listing extends Sheet {
  constructor(section, { name, noun, title, level, path, columns, states, empty, fixed }) {
    const search = h("input", { type: "search", id: `${name}-search`, placeholder: `Search ${noun}s`, "aria-label": `Search ${noun}s`, autocomplete: "off", spellcheck: "false", hidden: Boolean(fixed) });
    const chip = h("span", { class: "chip", hidden: true });
    const state = states && !fixed ? h("select", { id: `${name}-state`, "aria-label": "State" }, ...states.map(([value, text]) => h("option", { value }, text))) : null;
    state?.addEventListener("change", () => this.ask({ state: state.value }));
    const sort = (key) => this.ask({ sort: this.query.sort === key ? `-${key}` : key });
    let typing = 0;
    search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.ask({ search: search.value }), 180);
    });
    super(section, { name, title, level, tools: [chip, state, search], heads: columns.map((column) => head(column, sort)), all: () => this.all(),
      pages: [["Previous", () => this.ask({ offset: Math.max(0, this.query.offset - ROWS) }, true)], ["Next", () => this.ask({ offset: this.query.offset + ROWS }, true)]] });
    Object.assign(this, { section, fixed, path, columns, empty, noun, search, state, chip, asked: 0, last: "", keys: null });
    this.query = { search: "", sort: "address", offset: 0, state: "", subnet: "", label: "", ...fixed };
  }

  // Requests other rows, starting at the first page unless `paging` is true.
  ask(change, paging = false) {
    this.query = { ...this.query, ...(paging ? {} : { offset: 0 }), ...change };
    if ("search" in change && this.search.value !== change.search) this.search.value = change.search;
    if ("state" in change && this.state) this.state.value = change.state;
    this.keys = null;
    return this.draw();
  }

  fetch(offset, limit) {
    const { search, sort, state, subnet } = this.query;
    return ask(this.path, { search, sort, offset, state, subnet, all: true, limit });
  }

  // All rows that match, up to the number that a spreadsheet can take.
  async all() {
    const rows = [];
    for (let matching = 1; rows.length < Math.min(matching, MOST);) {
      const page = await this.fetch(rows.length, FILE);
      if (!page.rows.length) break;
      rows.push(...page.rows);
      matching = page.matching;
    }
    return rows;
  }

  async draw() {
    const asked = ++this.asked;
    const { search, sort, offset, subnet } = this.query;
    const page = await this.fetch(offset, ROWS);
    if (asked !== this.asked) return; // a newer request is pending
    if (page.rows.length === 0 && page.matching > 0) return this.ask({ offset: Math.floor((page.matching - 1) / ROWS) * ROWS }, true);
    for (const cell of this.table.querySelectorAll("th[data-key]")) {
      const [down, here] = [sort === `-${cell.dataset.key}`, sort.replace(/^-/, "") === cell.dataset.key];
      if (here) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
      cell.querySelector(".arrow").textContent = here ? (down ? "↓" : "↑") : "";
    }
    this.chip.hidden = !subnet;
    if (subnet) this.chip.replaceChildren(`in ${this.query.label}`, h("button", { type: "button", "aria-label": "Show the leases of all subnets", onclick: () => this.ask({ subnet: "", label: "" }) }, "×"));
    const text = JSON.stringify([page, this.query]);
    if (text === this.last) return this.tick();
    [this.last, this.rows] = [text, page.rows];
    const key = (row) => `${row.id} ${row.address ?? ""} ${row.state ?? ""} ${row.since}`;
    const focus = document.activeElement?.closest?.("tr")?.dataset.key;
    const fresh = (row) => (this.keys && !this.keys.has(key(row)) ? "fresh" : null);
    this.fill(page.rows.map((row) => line(this.columns, row, { "data-key": key(row), class: fresh(row) })), this.empty(page, this.query));
    if (focus) [...this.body.rows].find((row) => row.dataset.key === focus)?.querySelector("button")?.focus({ preventScroll: true });
    this.keys = new Set(page.rows.map(key));
    this.section.hidden = Boolean(this.fixed) && page.rows.length === 0;
    const narrowed = !search && !subnet ? "" : ` of ${count(page.total)}`;
    const range = page.matching > ROWS ? `${count(page.offset + 1)}–${count(page.offset + page.rows.length)} of ` : "";
    this.found.textContent = `${range}${plural(page.matching, this.noun, `${this.noun}s`)}${narrowed && ` found${narrowed}`}`;
    this.turn(page.offset > 0, page.offset + page.rows.length < page.matching);
  }

  // Updates the times even if nothing else changed.
  tick() {
    this.body.querySelectorAll("time").forEach((element) => element.replaceWith(time(element.dateTime)));
  }
}

const nothingFound = (what) => [h("strong", {}, `No ${what} match`), "Try another word: an address, a name, a network, a MAC."];

const STATES = [["leased", "leased"], ["", "in any state"], ["cooling", "cooling"], ["pinned", "pinned"], ["quarantined", "quarantined"]];
let driver = () => "gipam";

export class Subnets extends Listing {
  constructor(section, options = {}) {
    super(section, {
      name: "subnets", noun: "subnet", title: "Subnets", path: "subnets", columns: SUBNETS,
      empty: (page) => page.total ? nothingFound("subnets") : [h("strong", {}, "No network has a subnet yet"), "Create a network, and it appears here:", h("br"),
        h("code", {}, `docker network create --ipam-driver ${driver()} my-network`)], ...options });
  }
}

export class Leases extends Listing {
  constructor(section, options = {}) {
    super(section, {
      name: "leases", noun: "lease", title: "Leases", path: "leases", columns: LEASES, states: STATES,
      empty: (page, query) => page.total && query.state !== "leased" || query.search || query.subnet ? nothingFound("leases") : [h("strong", {}, "No container has an address"), "Start a container in a network of gipam:", h("br"),
        h("code", {}, "docker run --rm -it --network my-network alpine")], ...options });
    if (!options.fixed) this.query.state = "leased";
  }
}

export function start(named) {
  driver = named;
  return { subnets: new Subnets($("#subnets")), leases: new Leases($("#leases")) };
}
