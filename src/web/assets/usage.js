// Usage over time: two curves, and the same numbers as a table.

import { $, ask, count, h, redraw, s, stamp } from "./dom.js";
import { heads, line, scroll } from "./rows.js";

const SPANS = [["1 hour", 3600], ["24 hours", 86400], ["7 days", 604800], ["30 days", 2592000]];
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [520, 150, 40, 22, 10];
let seconds = 86400;
let chosen = false;
let pool = "";

const steps = (most) => {
  const unit = 10 ** Math.floor(Math.log10(Math.max(1, most)));
  return [1, 2, 5, 10].map((factor) => factor * unit).find((top) => top >= most) ?? most;
};

function clock(at) {
  const options = seconds > 86400 ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit", hour12: false };
  return new Intl.DateTimeFormat(undefined, options).format(at);
}

function chart(title, key, usage) {
  const [from, to] = [Date.parse(usage.from), Date.parse(usage.to)];
  const values = usage.points.map((point) => point[key]);
  const top = steps(Math.max(1, ...values));
  const x = (at) => LEFT + ((WIDTH - LEFT) * (at - from)) / (to - from || 1);
  const y = (value) => TOP + (HEIGHT - BOTTOM - TOP) * (1 - value / top);
  const picture = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} over time: ${values.length ? `from ${values[0]} to ${values.at(-1)}, at most ${Math.max(...values)}` : "no data"}` });
  for (const value of [0, top / 2, top]) {
    if (!Number.isInteger(value)) continue;
    picture.append(s("line", { class: "rule", x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }), s("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, count(value)));
  }
  for (const part of [0, 1, 2]) {
    const at = from + ((to - from) * part) / 2;
    picture.append(s("text", { x: x(at), y: HEIGHT - 4, "text-anchor": ["start", "middle", "end"][part] }, part === 2 ? "now" : clock(at)));
  }
  if (values.length) {
    const points = usage.points.map((point) => [x(Date.parse(point.at)), y(point[key])]);
    const line = points.map(([px, py], i) => (i === 0 ? `M${px} ${py}` : `H${px}V${py}`)).join("");
    if (points[0][0] > LEFT + 4) {
      picture.append(s("rect", { class: "unknown", x: LEFT, y: TOP, width: points[0][0] - LEFT, height: HEIGHT - BOTTOM - TOP }));
      if (points[0][0] - LEFT > 150) picture.append(s("text", { x: (LEFT + points[0][0]) / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "no history"));
    }
    picture.append(s("path", { class: "area-fill", d: `${line}V${y(0)}H${points[0][0]}Z` }), s("path", { class: "line", d: line }));
  }
  return h("div", { class: "chart" }, h("h3", {}, title, h("b", {}, values.length ? count(values.at(-1)) : "–")), picture);
}

const COLUMNS = [
  ["Time", "", (point) => stamp(point.at)],
  ["Leases", "n", (point) => count(point.leases)],
  ["Subnets", "n", (point) => count(point.subnets)],
];

function table(usage) {
  const every = Math.max(1, Math.floor(usage.points.length / 12));
  const rows = usage.points.filter((_, i) => (usage.points.length - 1 - i) % every === 0).reverse();
  return h("details", {}, h("summary", {}, "Show as a table"), scroll("Usage", heads(COLUMNS), h("tbody", {}, ...rows.map((point) => line(COLUMNS, point))), "plain"));
}

export async function draw() {
  let usage = await ask("usage", { seconds, ...(pool ? { pool } : {}) });
  if (!chosen) {
    // On the first draw, show only an hour if the history is short.
    chosen = true;
    const known = usage.known_since ? (Date.parse(usage.to) - Date.parse(usage.known_since)) / 1000 : 0;
    if (known < 5400) {
      seconds = 3600;
      document.querySelector("#span input").checked = true;
      usage = await ask("usage", { seconds, ...(pool ? { pool } : {}) });
    }
  }
  const open = $("#charts details")?.open;
  // The curve moves with time, but it is redrawn only if its data has changed.
  redraw($("#charts"), [usage, seconds, pool], () => [chart("Leases", "leases", usage), chart("Subnets", "subnets", usage), table(usage)]);
  if (open) $("#charts details").open = true;
}

// The pools that can be chosen. If the chosen pool no longer exists, all pools are shown.
export function offer(names) {
  const all = [["", "all pools"], ...[...new Set(names)].map((name) => [name, `pool ${name}`])];
  if (!all.some(([name]) => name === pool)) pool = "";
  redraw($("#usage-pool"), all, () => all.map(([value, text]) => h("option", { value, selected: value === pool }, text)));
}

export function choose(name) {
  pool = name;
  $("#usage-pool").value = name;
  return draw();
}

export function start() {
  $("#usage-pool").addEventListener("change", (event) => choose(event.target.value));
  $("#span").append(...SPANS.map(([text, value]) => h("label", {},
    h("input", { type: "radio", name: "span", value, checked: value === seconds, onchange: () => { seconds = value; draw(); } }), h("span", {}, text))));
}
