// Tables of rows, which can be saved as a file for a spreadsheet or copied to the clipboard.

import { h } from "./dom.js";

// A cell that a spreadsheet would take for a formula is marked as text.
function cell(value) {
  const plain = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  return /^[=+\-@\t\r]/.test(plain) ? `'${plain}` : plain;
}

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function table(rows, between, written) {
  const fields = Object.keys(rows[0] ?? {});
  return [fields, ...rows.map((row) => fields.map((field) => written(cell(row[field]))))].map((line) => line.join(between)).join("\n") + "\n";
}

function save(name, rows) {
  const link = h("a", { href: URL.createObjectURL(new Blob([table(rows, ",", quoted)], { type: "text/csv" })), download: `gipam-${name}.csv` });
  link.click();
  URL.revokeObjectURL(link.href);
}

async function copy(rows) {
  await navigator.clipboard.writeText(table(rows, "\t", (text) => text.replace(/[\t\r\n]/g, " ")));
}

// Two buttons: one saves all matching rows as CSV, one copies the visible rows (browsers allow this only in secure contexts).
function take(name, all, seen) {
  const button = (text, title, work) => h("button", { type: "button", class: "quiet", title, onclick: async ({ target }) => {
    target.textContent = await work().then(() => "Done", (error) => error.message);
    setTimeout(() => (target.textContent = text), 1500);
  } }, text);
  return [button("CSV", "Download all matching rows", async () => save(name, await all())),
    navigator.clipboard ? button("Copy", "Copy the rows shown", () => copy(seen())) : null];
}

export const below = (...parts) => h("span", { class: "sub" }, parts.filter(Boolean).join(" · "));

// A column has a title, classes, and a function that makes a cell from a row.
export const heads = (columns, classes = "") => columns.map(([title, of]) => h("th", { scope: "col", class: `${classes} ${of.replace("mono", "")}` }, title));

export const line = (columns, row, attributes = {}) => h("tr", attributes, ...columns.map(([, classes, cell]) => h("td", { class: classes }, ...[cell(row)].flat())));

export const scroll = (title, heads, body, classes = null) => h("div", { class: "scroll", role: "region", "aria-label": title, tabindex: 0 },
  h("table", { class: classes }, h("caption", { class: "hidden" }, title), h("thead", {}, h("tr", {}, ...heads)), body));

// A table under a title, with tools next to the title, and pages.
export class Sheet {
  constructor(section, { name, title, level = "h2", tools, heads, all, pages }) {
    this.rows = [];
    this.body = h("tbody");
    this.found = h("p", { role: "status" });
    [this.back, this.next] = pages.map(([text, onclick]) => h("button", { type: "button", onclick }, text));
    this.table = scroll(title, heads, this.body);
    this.nothing = h("div", { class: "empty", hidden: true });
    section.append(
      h("div", { class: "title" }, h(level, { id: `${name}-title` }, title), h("div", { class: "tools" }, tools, take(name, all, () => this.rows))),
      h("div", { class: "panel sheet" }, this.table, this.nothing, h("div", { class: "pages" }, this.found, h("div", {}, this.back, this.next))));
  }

  // Shows rows, or this text if there are none.
  fill(lines, nothing) {
    this.body.replaceChildren(...lines);
    [this.table.hidden, this.nothing.hidden] = [!lines.length, lines.length > 0];
    if (!lines.length) this.nothing.replaceChildren(...nothing);
  }

  // Enables the buttons that can be used, and hides both if there is only one page.
  turn(back, next) {
    [this.back.disabled, this.next.disabled] = [!back, !next];
    [this.back.hidden, this.next.hidden] = [!back && !next, !back && !next];
  }
}
