// The tables of subnets and leases. The daemon searches, sorts and pages them.

import { $, ask, count, h, meter, plural, s, tale, time } from "./dom.js";
import { lookAt } from "./map.js";
import { take } from "./rows.js";

const [ROWS, FILE, MOST] = [25, 500, 100_000]; // rows on the page, in one answer for a file, and in a file
const dash = () => h("span", { class: "none" }, "–");
const or = (value) => value ?? dash();
const swatch = (state) => s("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, s("rect", { class: `c ${state} ${state === "used" ? "l3" : ""}`, x: .5, y: .5, width: 11, height: 11, rx: 3 }));
const below = (...parts) => h("span", { class: "sub" }, parts.filter(Boolean).join(" · "));

const about = (value) => (value ? tale(value) : dash());
const onMap = (prefix) => h("button", { class: "link", type: "button", title: "Show it on the map", onclick: () => lookAt(prefix) }, prefix);

const SUBNETS = [
  { key: "address", title: "Subnet", mono: true, cell: (row) => [onMap(row.prefix), below(row.network, row.pool ? `pool ${row.pool}` : "outside all pools", row.gateway && `gateway ${row.gateway}`)] },
  { key: "network", title: "Network", wide: true, cell: (row) => about(row.network) },
  { key: "pool", title: "Pool", wide: true, cell: (row) => [or(row.pool), row.space === "local" ? "" : h("span", { class: "tag" }, row.space)] },
  { title: "Gateway", mono: true, wide: true, cell: (row) => about(row.gateway) },
  { key: "leases", title: "Leases", number: true, cell: (row) => count(row.leases) },
  { key: "cooling", title: "Cooling", number: true, wide: true, cell: (row) => count(row.cooling) },
  { key: "free", title: "Free", number: true, wide: true, cell: (row) => count(row.free) },
  { key: "share", title: "Full", number: true, cell: (row) => meter(row.share, row.full) },
  { key: "since", title: "Since", wide: true, cell: (row) => time(row.since) },
];

const LEASES = [
  { key: "address", title: "Address", mono: true, cell: (row) => [tale(row.address), below(row.network ?? row.subnet, row.kind, row.mac)] },
  { key: "holder", title: "Holder", cell: (row) => about(row.holder) },
  { key: "network", title: "Network", wide: true, cell: (row) => about(row.network) },
  { title: "Subnet", mono: true, wide: true, cell: (row) => onMap(row.subnet) },
  { key: "kind", title: "Kind", wide: true, cell: (row) => row.kind ?? h("span", { class: "none" }, "unknown") },
  { key: "mac", title: "MAC", mono: true, wide: true, cell: (row) => about(row.mac) },
  { key: "state", title: "State", cell: (row) => h("span", { class: "state" }, swatch(row.state === "leased" ? "used" : row.state), row.state) },
  { key: "since", title: "Since", wide: true, cell: (row) => time(row.since) },
];

class Listing {
  constructor(section, { name, noun, title, level = "h2", path, columns, states, empty, fixed }) {
    Object.assign(this, { section, fixed, path, columns, empty, noun, name, asked: 0, last: "", keys: null, rows: [] });
    this.query = { search: "", sort: "address", offset: 0, state: "", subnet: "", label: "", ...fixed };
    this.search = h("input", { type: "search", id: `${this.name}-search`, placeholder: `Search ${noun}s`, "aria-label": `Search ${noun}s`, autocomplete: "off", spellcheck: "false", hidden: Boolean(fixed) });
    this.tools = h("div", { class: "tools" });
    this.chip = h("span", { class: "chip", hidden: true });
    this.tools.append(this.chip);
    if (states && !fixed) {
      this.state = h("select", { id: `${this.name}-state`, "aria-label": "State" }, ...states.map(([value, text]) => h("option", { value }, text)));
      this.state.addEventListener("change", () => this.ask({ state: this.state.value }));
      this.tools.append(this.state);
    }
    this.tools.append(this.search, ...take(name, () => this.all(), () => this.rows).filter(Boolean));
    let typing = 0;
    this.search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.ask({ search: this.search.value }), 180);
    });
    this.body = h("tbody");
    this.heads = columns.map((column) => this.head(column));
    this.found = h("p", { role: "status" });
    this.back = h("button", { type: "button", onclick: () => this.ask({ offset: Math.max(0, this.query.offset - ROWS) }, true) }, "Previous");
    this.next = h("button", { type: "button", onclick: () => this.ask({ offset: this.query.offset + ROWS }, true) }, "Next");
    this.table = h("table", {}, h("caption", { class: "hidden" }, title), h("thead", {}, h("tr", {}, ...this.heads)), this.body);
    this.nothing = h("div", { class: "empty", hidden: true });
    section.append(
      h("div", { class: "title" }, h(level, { id: `${this.name}-title` }, title), this.tools),
      h("div", { class: "panel sheet" }, h("div", { class: "scroll", role: "region", "aria-label": title, tabindex: 0 }, this.table), this.nothing,
        h("div", { class: "pages" }, this.found, h("div", {}, this.back, this.next))));
  }

  head(column) {
    const classes = [column.number && "n", column.wide && "wide"].filter(Boolean).join(" ");
    if (!column.key) return h("th", { scope: "col", class: classes }, h("button", { type: "button", disabled: true }, column.title));
    const cell = h("th", { scope: "col", class: classes });
    cell.append(h("button", { type: "button", onclick: () => this.ask({ sort: this.query.sort === column.key ? `-${column.key}` : column.key }) },
      column.title, h("span", { class: "arrow", "aria-hidden": "true" })));
    return cell;
  }

  // Requests other rows, from the first page on unless another page was requested.
  ask(change, paging = false) {
    this.query = { ...this.query, ...(paging ? {} : { offset: 0 }), ...change };
    if ("search" in change && this.search.value !== change.search) this.search.value = change.search;
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
    this.columns.forEach((column, i) => {
      const [down, here] = [sort === `-${column.key}`, column.key && (sort === column.key || sort === `-${column.key}`)];
      if (here) this.heads[i].setAttribute("aria-sort", down ? "descending" : "ascending");
      else this.heads[i].removeAttribute("aria-sort");
      const arrow = this.heads[i].querySelector(".arrow");
      if (arrow) arrow.textContent = here ? (down ? "↓" : "↑") : "";
    });
    this.chip.hidden = !subnet;
    if (subnet) this.chip.replaceChildren(`in ${this.query.label}`, h("button", { type: "button", "aria-label": "Show all subnets' leases", onclick: () => this.ask({ subnet: "", label: "" }) }, "×"));
    const text = JSON.stringify([page, this.query]);
    if (text === this.last) return this.tick();
    [this.last, this.rows] = [text, page.rows];
    const key = (row) => `${row.id} ${row.address ?? ""} ${row.state ?? ""} ${row.since}`;
    const focus = document.activeElement?.closest?.("tr")?.dataset.key;
    this.body.replaceChildren(...page.rows.map((row) => h("tr", { "data-key": key(row), class: this.keys && !this.keys.has(key(row)) ? "fresh" : null },
      ...this.columns.map((column) => h("td", { class: [column.mono && "mono", column.number && "n", column.wide && "wide"].filter(Boolean).join(" ") }, ...[column.cell(row)].flat())))));
    if (focus) [...this.body.rows].find((row) => row.dataset.key === focus)?.querySelector("button")?.focus({ preventScroll: true });
    this.keys = new Set(page.rows.map(key));
    this.table.parentElement.hidden = page.rows.length === 0;
    this.section.hidden = Boolean(this.fixed) && page.rows.length === 0;
    this.nothing.hidden = page.rows.length > 0;
    if (page.rows.length === 0) this.nothing.replaceChildren(...this.empty(page, this.query));
    const narrowed = !search && !subnet ? "" : ` of ${count(page.total)}`;
    const range = page.matching > ROWS ? `${count(page.offset + 1)}–${count(page.offset + page.rows.length)} of ` : "";
    this.found.textContent = `${range}${plural(page.matching, this.noun, `${this.noun}s`)}${narrowed && ` found${narrowed}`}`;
    [this.back.disabled, this.next.disabled] = [page.offset === 0, page.offset + page.rows.length >= page.matching];
    [this.back.hidden, this.next.hidden] = [page.matching <= ROWS, page.matching <= ROWS];
  }

  // Updates the times even if nothing else changed.
  tick() {
    this.body.querySelectorAll("time").forEach((element) => element.replaceWith(time(element.dateTime)));
  }
}

const nothingFound = (what) => [h("strong", {}, `No ${what} match`), "Try another word: an address, a name, a network, a MAC."];

const STATES = [["leased", "leased"], ["", "leased, cooling and pinned"], ["cooling", "cooling"], ["pinned", "pinned"]];
let driver = () => "gipam";

export class Subnets extends Listing {
  constructor(section, options = {}) {
    super(section, {
      name: "subnets", noun: "subnet", title: "Subnets", path: "subnets", columns: SUBNETS,
      empty: (page) => page.total ? nothingFound("subnets") : [h("strong", {}, "No network has a subnet yet"), "Create one, and it appears here by itself:", h("br"),
        h("code", {}, `docker network create --ipam-driver ${driver()} my-network`)], ...options });
  }
}

export class Leases extends Listing {
  constructor(section, options = {}) {
    super(section, {
      name: "leases", noun: "lease", title: "Leases", path: "leases", columns: LEASES, states: STATES,
      empty: (page, query) => page.total && query.state !== "leased" || query.search || query.subnet ? nothingFound("leases") : [h("strong", {}, "Nobody has an address"), "Start a container in a network of gipam:", h("br"),
        h("code", {}, "docker run --rm -it --network my-network alpine")], ...options });
    if (!options.fixed) this.query.state = "leased";
  }
}

export function start(named) {
  driver = named;
  return { subnets: new Subnets($("#subnets")), leases: new Leases($("#leases")) };
}
