// Helpers to create elements, request JSON and format numbers and times. Text is always inserted as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const h = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
export const s = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
export const $ = (selector) => document.querySelector(selector);

export const query = (values) => Object.entries(values).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");

// All data on the page comes from paths that begin with this.
export const PLACE = "/v1/";
export async function ask(path, values = {}) {
  const answer = await fetch(`${PLACE}${path}?${query(values)}`, { headers: { accept: "application/json" } });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.Err ?? answer.statusText), { status: answer.status });
  return body;
}

// The scale of fullness: 1 to 4 for the quarters, and 5 from 90 %.
export const level = (share) => (share >= .9 ? 5 : Math.min(4, Math.max(1, Math.ceil(share * 4))));

export const meter = (share, text) => h("span", { class: "meter" },
  s("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: `c l${level(share)}`, width: share > 0 ? Math.max(share * 100, 2) : 0, height: 8 })), h("b", {}, text));

// What the URL of the page names: a prefix on the map, or the subject of a story.
export const named = (kind) => (location.hash.startsWith(`#${kind}=`) ? decodeURIComponent(location.hash.slice(kind.length + 2)) : null);

export const noPools = (classes) => h("p", { class: classes }, h("strong", {}, "No pools"), "Give gipam a prefix that is routed to this host.");

// A link to the story of an address, a name, a MAC or a prefix.
export const tale = (what, classes = "") => h("a", { class: classes, href: `#of=${encodeURIComponent(what)}`, title: "Its holder and history" }, what);

export const dash = () => h("span", { class: "none" }, "–");
export const about = (value) => (value ? tale(value) : dash());

// An address as a number. URL.hostname returns IPv6 in its shortest form, with only 16-bit words.
export function number(address) {
  if (!address.includes(":")) return address.split(".").reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const [head, tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split("::").map((part) => part.split(":").filter(Boolean));
  const words = tail ? [...head, ...Array(8 - head.length - tail.length).fill("0"), ...tail] : head;
  return words.reduce((sum, word) => sum * 65536n + BigInt(`0x${word}`), 0n);
}

// The address at a fraction of the way from the first to the last.
export function addressAt(first, last, share) {
  const [from, to] = [number(first), number(last)];
  const at = from + ((to - from + 1n) * BigInt(Math.floor(share * 1e9))) / 1_000_000_000n;
  const here = at > to ? to : at;
  if (!first.includes(":")) return [24n, 16n, 8n, 0n].map((shift) => (here >> shift) & 255n).join(".");
  const words = Array.from({ length: 8 }, (_, i) => ((here >> BigInt(112 - 16 * i)) & 65535n).toString(16));
  return new URL(`http://[${words.join(":")}]/`).hostname.slice(1, -1);
}

const NUMBER = new Intl.NumberFormat("en");
// Counts above 2^53 arrive as text.
export function count(value) {
  const number = BigInt(value);
  if (number < 10_000_000n) return NUMBER.format(number);
  for (const [power, word] of [[12n, " trillion"], [9n, " billion"], [6n, " million"]]) {
    if (number >= 10n ** power && number < 10n ** (power + 3n)) {
      return NUMBER.format(Number(number / 10n ** (power - 1n)) / 10) + word;
    }
  }
  let power = 0n, rest = number;
  while (rest >= 100n) { rest /= 10n; power += 1n; }
  const digits = [..."⁰¹²³⁴⁵⁶⁷⁸⁹"];
  return `${Number(rest) / 10} × 10${[...String(power + 1n)].map((digit) => digits[digit]).join("")}`;
}

// Parts of lists: a word that says how something is, a list, and its last entry if there are more than are shown.
export const word = (kind, text) => h("b", { class: `word ${kind}` }, text);
export const list = (...rows) => h("ul", { class: "rows" }, ...rows.flat());
export const more = (all, shown, command) => (all > shown ? h("li", { class: "hint" }, `and ${count(all - shown)} more: `, h("code", {}, command)) : null);

export const plural = (value, one, many) => `${count(value)} ${BigInt(value) === 1n ? one : many}`;

// Format: 2026-01-31 13:05:09, in the reader's local time.
export const stamp = (text) => new Date(text).toLocaleString("sv-SE");

const LONG = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
export function ago(text, now) {
  const seconds = Math.max(0, Math.round((Date.parse(now ?? new Date().toISOString()) - Date.parse(text)) / 1000));
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit} ago`;
  }
  return seconds < 2 ? "now" : `${seconds} s ago`;
}

export function time(text) {
  if (!text) return dash();
  return h("time", { datetime: text, title: LONG.format(new Date(text)) }, ago(text));
}

// Redraws an element only if its key has changed, so that focus and selection stay where they are.
const drawn = new WeakMap();
export function redraw(element, key, make) {
  const text = JSON.stringify(key);
  if (drawn.get(element) === text) return false;
  drawn.set(element, text);
  element.replaceChildren(...[make()].flat());
  return true;
}
