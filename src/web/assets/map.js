// The map: draws the lines that the daemon folded, to scale; pointer and keyboard can zoom in.

import { $, addressAt, ask, count, h, level, named, noPools, s } from "./dom.js";

const HINT = "Point at a cell, or move with the arrow keys. Enter opens it, Escape goes back.";
const [ALL, ONE] = [256, 1024]; // places of an area if all areas are shown, and if only one is
let shown = null;
let last = "";
let openLeases = () => {};

const wanted = () => named("map");

export function lookAt(prefix) {
  if (prefix) location.hash = `map=${encodeURIComponent(prefix)}`;
  else history.pushState(null, "", "#map"), draw(true);
}

export const onMap = (prefix) => h("button", { class: "link", type: "button", title: "Show it on the map", "data-key": `map ${prefix}`, onclick: () => lookAt(prefix) }, prefix);

// The path from the whole map to the part that is shown.
function steps() {
  const all = [{ label: "All pools", of: null }];
  const [area] = shown;
  if (!wanted() || !area) return all;
  return [...all, ...area.within.map((prefix, i) => ({ label: i === 0 && area.pool ? `${area.pool} ${prefix}` : prefix, of: prefix }))];
}

// The end of an address that is too long for the margin.
const short = (address) => (address.length > 15 ? `…${address.slice(address.indexOf(":", address.length - 14))}` : address);

// The parts of an address that differ within an area.
function brief(label, area) {
  const [address, length] = label.split("/");
  const [from, to] = [Number(area.prefix?.split("/")[1] ?? 0), Number(length ?? area.scale)];
  if (address.includes(":")) {
    const [head, tail] = address.split("::");
    const [left, right] = [head ? head.split(":") : [], tail ? tail.split(":") : []];
    const middle = tail === undefined ? [] : Array(8 - left.length - right.length).fill("0");
    return [...left, ...middle, ...right].slice(Math.floor(from / 16), Math.ceil(to / 16)).join(":");
  }
  return address.split(".").slice(Math.min(3, Math.floor(from / 8)), Math.ceil(to / 8)).join(".");
}

const isUsed = (cell) => ["used", "gateway", "auxiliary"].includes(cell.state);
// Only a subnet can become scarce: an address is used or not, and subnets that share a place are expected to fill it.
const scarcity = (cell) => (cell.first === cell.last ? 4 : Math.min(level(cell.share), cell.things > 1 ? 4 : 5));
const classes = (cell) => `${cell.state} ${cell.share === null ? "" : `l${scarcity(cell)}`} ${cell.stale ? "stale" : ""}`;

// Marks, so that colour is not the only sign: a machine that is not a container has the address; a subnet is on an earlier prefix.
const warning = (x, y) => s("path", { class: "mark quarantined", d: `M${x} ${y}v4m0 1.6v1.4` });
const back = (x, y) => s("path", { class: "mark stale", d: `M${x + 3.5} ${y - 3}l-3.5 3 3.5 3` });

// The description of a cell, with the address at the pointer if the cell has several.
function describe(cell, at) {
  const address = at !== undefined && cell.first !== cell.last ? h("span", { class: "mono" }, `${addressAt(cell.first, cell.last, at)}  `) : null;
  return [address, h("b", { class: "mono" }, cell.label), cell.name ? h("b", {}, ` ${cell.name}`) : null, ` – ${cell.text}`, cell.of ? "; Enter opens it" : ""].filter(Boolean);
}

function words(cell, area, width, folded) {
  const fits = (text) => text.length * 7.2 < width - 4;
  const whose = cell.state === "others" && cell.name ? [`host ${cell.name}`, cell.name] : null;
  const all = folded ? [`${cell.text} (${count(folded)} lines)`, cell.text] : whose ?? [cell.name && cell.of ? `${brief(cell.label, area)} ${cell.name}` : "", ["free", "unclaimed"].includes(cell.state) ? "" : area.of === "outside" ? cell.label : brief(cell.label, area), cell.name ?? ""];
  return all.find((text) => text && fits(text));
}

function drawCell(cell, area, [x, y, w, tall], at, folded) {
  const text = words(cell, area, w, folded);
  const group = s("g", { class: `cell ${classes(cell)} ${cell.of ? "in" : ""}`, role: "button", tabindex: -1, "aria-label": `${cell.label}${cell.name ? ` ${cell.name}` : ""}: ${cell.text}`, "data-i": at },
    s("rect", { class: `c ${classes(cell)}`, x: x + .75, y: y + 1, width: Math.max(1, w - 1.5), height: tall - 2, rx: Math.min(4, w / 4) }));
  if (text) group.append(s("text", { x: x + w / 2, y: y + tall / 2, "font-size": 11.5 }, text));
  if (cell.things > 1 && w > 9) group.append(s("path", { class: "mark", d: `M${x + w - 8} ${y + 6}h5m-2.5 -2.5v5` }));
  if (["gateway", "slot"].includes(cell.state) && w > 9) group.append(s("circle", { class: "mark", cx: x + w - 6, cy: y + 6, r: 2.2 }));
  if (cell.state === "quarantined" && w > 9) group.append(warning(x + w - 6, y + 3.5));
  if (cell.stale && w > 9) group.append(back(x + 6, y + 7));
  return group;
}

function grid(area, width) {
  const side = width > 620 && area.lines.length > 1 ? 112 : 0;
  const columns = Math.max(...area.lines.map((line) => line.cells.reduce((sum, cell) => sum + cell.span, 0)));
  const size = Math.min(area.of === "outside" ? 170 : 88, (width - side) / columns);
  const tall = area.lines.length > 1 || size < 40 ? 26 : 34;
  const name = area.prefix ? `${area.pool ?? "subnet"} ${area.prefix}` : "outside all pools";
  const picture = s("svg", { class: "grid", viewBox: `0 0 ${width} ${area.lines.length * tall}`, role: "group" });
  picture.style.maxHeight = `${area.lines.length * tall}px`;
  const cells = [];
  area.lines.forEach((line, row) => {
    let column = 0;
    const folded = line.lines > 1 ? line.lines : 0;
    if (side) picture.append(s("text", { class: "axis", x: side - 10, y: row * tall + tall / 2, "font-size": 11, "aria-hidden": "true" }, short(line.first)));
    for (const cell of line.cells) {
      const place = [side + column * size, row * tall, cell.span * size, tall];
      picture.append(drawCell(cell, area, place, cells.length, folded));
      cells.push({ cell, row, left: place[0], right: place[0] + place[2] });
      column += cell.span;
    }
  });
  picture.setAttribute("aria-label", `Map of ${name}, ${cells.length} cells`);
  wire(picture, cells, area);
  return picture;
}

function wire(picture, cells, area) {
  const groups = [...picture.querySelectorAll(".cell")];
  groups[0].tabIndex = 0;
  const index = (event) => Number(event.target.closest?.(".cell")?.dataset.i ?? -1);
  const say = (at, share) => $("#map-detail").replaceChildren(...describe(cells[at].cell, share));
  const enter = (at) => {
    const { cell } = cells[at];
    if (cell.of) lookAt(cell.of);
    else if (cell.first === cell.last && !["free", "unclaimed"].includes(cell.state)) location.hash = `of=${encodeURIComponent(cell.first)}`;
  };
  const go = (at) => {
    groups.forEach((group) => (group.tabIndex = -1));
    groups[at].tabIndex = 0;
    groups[at].focus();
  };
  // The cell in the next row whose middle is nearest.
  const nearest = (at, step) => {
    const middle = ({ left, right }) => (left + right) / 2;
    const near = cells.map((other, i) => [other.row === cells[at].row + step ? Math.abs(middle(other) - middle(cells[at])) : Infinity, i]);
    const [distance, best] = near.reduce((a, b) => (b[0] < a[0] ? b : a));
    return distance === Infinity ? at : best;
  };
  picture.addEventListener("pointermove", (event) => {
    const at = index(event);
    if (at < 0) return;
    const box = groups[at].querySelector(".c").getBoundingClientRect();
    say(at, Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
  });
  picture.addEventListener("focusin", (event) => index(event) >= 0 && say(index(event)));
  picture.addEventListener("click", (event) => index(event) >= 0 && enter(index(event)));
  picture.addEventListener("keydown", (event) => {
    const at = index(event);
    if (at < 0) return;
    const moves = {
      ArrowLeft: () => go(Math.max(0, at - 1)), ArrowRight: () => go(Math.min(groups.length - 1, at + 1)),
      ArrowUp: () => go(nearest(at, -1)), ArrowDown: () => go(nearest(at, 1)),
      Home: () => go(0), End: () => go(groups.length - 1), Enter: () => enter(at), " ": () => enter(at),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  });
}

function heading(area) {
  if (area.of === "outside") return [h("h3", {}, "Outside all pools"), h("span", { class: "hint" }, "subnets requested with --subnet, or on an earlier prefix of their pool")];
  const what = area.of === "subnet" ? (area.network ?? "Subnet") : area.pool;
  const each = area.scale === (area.family === "v4" ? 32 : 128) ? "an address" : `a /${area.scale}`;
  return [h("h3", {}, what, " ", h("span", { class: "mono" }, area.prefix)), h("span", { class: "hint" }, `one cell is ${each}`),
    area.closed ? h("span", { class: "tag warn" }, "closed: gives no new subnets") : null].filter(Boolean);
}

// Every state on the map, and how often it occurs.
function legend() {
  const found = new Map();
  for (const row of shown.flatMap((area) => area.legend)) {
    found.set(row.state, { ...row, count: BigInt(row.count) + (found.get(row.state)?.count ?? 0n) });
  }
  const box = (x, classes) => s("rect", { class: `c ${classes}`, x: x + .5, y: .5, width: 13, height: 13, rx: 3 });
  const item = (width, boxes, text) => h("li", {}, s("svg", { viewBox: `0 0 ${width} 14`, "aria-hidden": "true" }, ...boxes), text);
  const items = [...found.values()].map(({ state, words, count: often }) => {
    const scale = state === "used" ? [1, 2, 3, 4, 5].map((step) => box(15 * (step - 1), `used l${step}`)) : [box(0, `${state} ${isUsed({ state }) ? "l4" : ""}`)];
    if (["gateway", "slot"].includes(state)) scale.push(s("circle", { class: `mark ${state}`, cx: 9.5, cy: 4.5, r: 2 }));
    if (state === "quarantined") scale.push(warning(7, 3.5));
    return item(15 * (scale.length > 3 ? 5 : 1), scale, `${state === "used" ? "used: to ¼, ½, ¾, 90\u00a0%, fuller" : words} ${wanted() ? count(often) : ""}`);
  });
  if (shown.some((area) => area.lines.some((line) => line.cells.some((cell) => cell.things > 1)))) items.push(item(14, [box(0, "used l2"), s("path", { class: "mark used", d: "M6 4.5h5m-2.5 -2.5v5" })], "several in one cell"));
  if (shown.some((area) => area.lines.some((line) => line.cells.some((cell) => cell.stale)))) items.push(item(14, [box(0, "used l1 stale"), back(5, 7)], "on an earlier prefix of its pool"));
  return items;
}

function paint(zoom) {
  const width = Math.max(260, $("#areas").clientWidth);
  const focused = document.activeElement?.closest?.(".cell");
  const [areaAt, cellAt] = focused ? [[...document.querySelectorAll(".grid")].indexOf(focused.closest(".grid")), focused.dataset.i] : [-1, null];
  $("#areas").replaceChildren(...shown.map((area) => h("div", { class: "area" }, h("div", { class: "area-head" }, ...heading(area)), grid(area, width))));
  if (zoom) document.querySelectorAll(".grid").forEach((picture) => picture.classList.add("zoom"));
  const again = document.querySelectorAll(".grid")[zoom ? 0 : areaAt];
  if (areaAt >= 0 && again) (again.querySelector(`[data-i="${zoom ? 0 : cellAt}"]`) ?? again.querySelector(".cell")).focus({ preventScroll: true });
  const way = steps();
  $("#crumbs").replaceChildren(...way.map((step, i) => h("li", {}, i + 1 < way.length
    ? h("button", { type: "button", onclick: () => lookAt(step.of) }, step.label) : h("span", { "aria-current": "location" }, step.label))));
  $("#legend").replaceChildren(...legend());
  const subnet = shown.length === 1 && shown[0].of === "subnet" ? shown[0] : null;
  $("#map-leases").hidden = !subnet;
  $("#map-leases").onclick = () => openLeases({ subnet: subnet.id, label: subnet.network ? `${subnet.network} ${way.at(-1).label}` : way.at(-1).label });
}

// As many columns as the reader can distinguish at this width.
function size(places) {
  const width = $("#areas").clientWidth;
  const columns = width > 1500 ? 128 : width > 620 ? 64 : 32;
  return { columns, lines: places / columns };
}

export async function draw(zoom) {
  const of = wanted();
  let map;
  if (zoom) $("#map-detail").textContent = HINT;
  try {
    map = await ask("map", { ...(of ? { of } : {}), ...size(of ? ONE : ALL) });
  } catch (error) {
    if (!of || error.status >= 500) throw error;
    // The requested part of the map no longer exists, or never existed.
    $("#map-detail").textContent = `${error.message}; showing the whole map.`;
    history.replaceState(null, "", "#map");
    map = await ask("map", size(ALL));
  }
  const text = JSON.stringify(map);
  if (text === last && !zoom) return;
  [shown, last] = [map, text];
  if (map.length) paint(zoom);
  else $("#areas").replaceChildren(noPools("empty"));
}

export function start(open) {
  openLeases = open;
  window.addEventListener("hashchange", () => {
    if (wanted() || location.hash === "#map" || location.hash === "") draw(true);
    if (wanted()) $("#map").scrollIntoView({ block: "start" });
  });
  $("#map").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && shown && steps().length > 1) lookAt(steps().at(-2).of);
  });
  let [resize, wide] = [0, 0];
  new ResizeObserver(() => {
    cancelAnimationFrame(resize);
    resize = requestAnimationFrame(() => {
      if (!shown?.length || $("#areas").clientWidth === wide) return;
      wide = $("#areas").clientWidth;
      paint(false);
      draw(false);
    });
  }).observe($("#main"));
}
