// Saves rows as a file for a spreadsheet, or copies them to the clipboard.

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
export function take(name, all, seen) {
  const button = (text, title, work) => {
    const element = h("button", { type: "button", class: "quiet", title, onclick: async () => {
      const done = await work().then(() => "Done", (error) => error.message);
      element.textContent = done;
      setTimeout(() => (element.textContent = text), 1500);
    } }, text);
    return element;
  };
  return [button("CSV", "Download all matching rows", async () => save(name, await all())),
    navigator.clipboard ? button("Copy", "Copy the rows shown", () => copy(seen())) : null];
}
