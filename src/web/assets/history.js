// The history, optionally only of an address, a name, a MAC or a prefix, in pages from the latest to the oldest.

import { about, ask, count, dash, h, stamp, tale } from "./dom.js";
import { Sheet, below, heads, line } from "./rows.js";

const [ROWS, FILE] = [25, 1000];
const why = (row) => (row.why && row.why !== "docker" ? row.why : null);
const COLUMNS = [
  ["Time", "when", (row) => h("time", { datetime: row.at }, stamp(row.at))],
  ["What", "when", (row) => h("b", {}, row.event)],
  ["Address or subnet", "mono", (row) => [tale(row.address ?? row.subnet), below(row.holder, row.network, why(row))]],
  ["Holder", "wide", (row) => about(row.holder)],
  ["Network", "wide", (row) => about(row.network)],
  ["MAC", "mono wide", (row) => about(row.mac)],
  ["Kind", "wide", (row) => row.kind ?? dash()],
  ["Why", "wide why", (row) => why(row) ?? dash()],
];

export class History extends Sheet {
  constructor(section, { name, title, level, of = "" }) {
    const filter = h("input", { type: "search", id: `${name}-of`, placeholder: "Address, name, MAC, prefix", "aria-label": "Show only the history of", autocomplete: "off", spellcheck: "false", hidden: Boolean(of) });
    filter.addEventListener("change", () => this.narrow(filter.value.trim()));
    super(section, { name, title, level, tools: [filter], heads: heads(COLUMNS, "plain-head"), all: () => this.fetch({ limit: FILE }),
      pages: [["Newer", () => this.page(-1)], ["Older", () => this.page(1)]] });
    Object.assign(this, { of, cursors: [], last: "" });
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
    this.turn(before, rows.length > ROWS);
    const text = JSON.stringify([rows, of]);
    if (text === this.last) return;
    this.last = text;
    this.fill(this.rows.map((row) => line(COLUMNS, row)), [of ? `The history has no entry for exactly ${of}.` : "Nothing has happened yet."]);
    this.found.textContent = this.rows.length ? `${before ? "older" : "the latest"} ${count(this.rows.length)}` : "";
  }
}
