// The history, optionally only of an address, a name, a MAC or a prefix, in pages from the latest to the oldest.

import { ask, count, h, stamp, tale } from "./dom.js";
import { take } from "./rows.js";

const [ROWS, FILE] = [25, 1000];
const WORDS = { undone: "undone", "subnet undone": "subnet undone" };

const dash = () => h("span", { class: "none" }, "–");
const about = (value) => (value ? tale(value) : dash());
const below = (row) => h("span", { class: "sub" }, [row.holder, row.network, row.why].filter((text) => text && text !== "docker").join(" · "));
const COLUMNS = [
  ["Time", "when", (row) => h("time", { datetime: row.at }, stamp(row.at))],
  ["What", "when", (row) => h("b", {}, WORDS[row.event] ?? row.event)],
  ["Address or subnet", "mono", (row) => [tale(row.address ?? row.subnet), below(row)]],
  ["Holder", "wide", (row) => about(row.holder)],
  ["Network", "wide", (row) => about(row.network)],
  ["MAC", "mono wide", (row) => about(row.mac)],
  ["Kind", "wide", (row) => row.kind ?? dash()],
  ["Why", "wide why", (row) => (row.why && row.why !== "docker" ? row.why : dash())],
];

export class History {
  constructor(section, { name, title, level = "h2", of = "" }) {
    Object.assign(this, { of, cursors: [], rows: [], last: "" });
    this.filter = h("input", { type: "search", id: `${name}-of`, placeholder: "Address, name, MAC, prefix", "aria-label": "Only the history of", autocomplete: "off", spellcheck: "false", hidden: Boolean(of) });
    this.filter.addEventListener("change", () => this.narrow(this.filter.value.trim()));
    this.body = h("tbody");
    this.found = h("p", { role: "status" });
    this.newer = h("button", { type: "button", onclick: () => this.page(-1) }, "Newer");
    this.older = h("button", { type: "button", onclick: () => this.page(1) }, "Older");
    section.append(
      h("div", { class: "title" }, h(level, { id: `${name}-title` }, title), h("div", { class: "tools" }, this.filter, ...take(name, () => this.fetch({ limit: FILE }), () => this.rows))),
      h("div", { class: "panel sheet" }, h("div", { class: "scroll", role: "region", "aria-label": title, tabindex: 0 },
        h("table", {}, h("caption", { class: "hidden" }, title), h("thead", {}, h("tr", {}, ...COLUMNS.map(([text, classes]) => h("th", { scope: "col", class: `plain-head ${classes.replace("mono", "")}` }, text)))), this.body)),
        h("div", { class: "pages" }, this.found, h("div", {}, this.newer, this.older))));
  }

  fetch(values) {
    return ask("history", { ...(this.of ? { of: this.of } : {}), ...values });
  }

  narrow(of) {
    [this.of, this.cursors] = [of, []];
    return this.draw();
  }

  page(step) {
    if (step > 0) this.cursors.push(this.rows.at(-1).number);
    else this.cursors.pop();
    return this.draw();
  }

  async draw() {
    const [of, before] = [this.of, this.cursors.at(-1)];
    const rows = await this.fetch({ limit: ROWS + 1, ...(before ? { before } : {}) });
    if (of !== this.of || before !== this.cursors.at(-1)) return; // a newer request is pending
    this.rows = rows.slice(0, ROWS);
    [this.newer.disabled, this.older.disabled] = [!before, rows.length <= ROWS];
    [this.newer.hidden, this.older.hidden] = Array(2).fill(!before && rows.length <= ROWS);
    const text = JSON.stringify([rows, of]);
    if (text === this.last) return;
    this.last = text;
    const nothing = of ? `The history has no entry for exactly ${of}.` : "Nothing has happened yet.";
    this.body.replaceChildren(...(this.rows.length ? this.rows.map((row) => h("tr", {}, ...COLUMNS.map(([, classes, cell]) => h("td", { class: classes }, ...[cell(row)].flat()))))
      : [h("tr", {}, h("td", { class: "empty", colspan: COLUMNS.length }, nothing))]));
    this.found.textContent = this.rows.length ? `${before ? "older" : "the latest"} ${count(this.rows.length)}` : "";
  }
}
