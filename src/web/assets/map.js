// The map: areas as grids of cells, to be looked into by pointer and keyboard.

import { $, ask, count, h, s } from "./dom.js";

const HINT = "Point at a cell, or move with the arrow keys. Enter looks inside, Escape goes back.";
let shown = null;
let last = "";
let openLeases = () => {};

const wanted = () => (location.hash.startsWith("#map=") ? decodeURIComponent(location.hash.slice(5)) : null);

export function lookAt(prefix) {
  if (prefix) location.hash = `map=${encodeURIComponent(prefix)}`;
  else history.pushState(null, "", "#map"), draw(true);
}

// The parts of an address that differ within an area.
function brief(label, area) {
  const [address, length] = label.split("/");
  const [from, to] = [Number(area.prefix?.split("/")[1] ?? 0), Number(length ?? area.unit)];
  if (address.includes(":")) {
    const [head, tail] = address.split("::");
    const [left, right] = [head ? head.split(":") : [], tail ? tail.split(":") : []];
    const middle = tail === undefined ? [] : Array(8 - left.length - right.length).fill("0");
    return [...left, ...middle, ...right].slice(Math.floor(from / 16), Math.ceil(to / 16)).join(":");
  }
  return address.split(".").slice(Math.min(3, Math.floor(from / 8)), Math.ceil(to / 8)).join(".");
}

function describe(cell) {
  return [h("b", { class: "mono" }, cell.label), cell.name ? h("b", {}, ` ${cell.name}`) : null, ` – ${cell.text}`,
    cell.at ? "; Enter looks inside" : ""];
}

// Where each cell stands: its column, row and width in columns.
function layout(cells, columns, size) {
  const wide = Math.min(columns, Math.max(2, Math.ceil(125 / size)));
  let [column, row] = [0, 0];
  return cells.map((cell) => {
    const span = cell.units && cell.state !== "part" ? wide : 1;
    if (column + span > columns) [column, row] = [0, row + 1];
    const place = { column, row, span };
    column += span;
    return place;
  });
}

function grid(area, width) {
  const cells = area.cells;
  const every = cells.every((cell) => !cell.units);
  const wish = area.kind === "outside" ? 150 : cells.length <= 32 ? 46 : cells.length <= 256 ? 29 : 22;
  const side = every && cells.length > 64 && width > 620 ? 112 : 0;
  let columns = Math.max(area.kind === "outside" ? 1 : 4, Math.floor((width - side) / wish));
  if (every && area.kind !== "outside") columns = Math.min(2 ** Math.floor(Math.log2(columns)), 64);
  columns = Math.min(columns, Math.max(8, cells.length));
  const size = Math.min(area.kind === "outside" ? 150 : cells.length <= 32 ? 80 : 64, (width - side) / columns);
  const tall = Math.min(size, 34);
  const places = layout(cells, columns, size);
  const rows = places.length ? places[places.length - 1].row + 1 : 0;
  const name = area.prefix ? `${area.pool ?? "subnet"} ${area.prefix}` : "outside all pools";
  const picture = s("svg", { class: "grid", viewBox: `0 0 ${width} ${rows * tall}`, role: "group", "aria-label": `Map of ${name}, ${cells.length} cells` });
  picture.style.maxHeight = `${rows * tall}px`;
  if (side) {
    places.forEach((place, at) => {
      if (place.column !== 0) return;
      const text = cells[at].label.split("/")[0];
      picture.append(s("text", { class: "axis", x: side - 10, y: place.row * tall + tall / 2, "font-size": text.length > 15 ? 8 : 11, "aria-hidden": "true" }, text));
    });
  }
  cells.forEach((cell, at) => {
    const { column, row, span } = places[at];
    const [x, y, w, tallness] = [side + column * size + 1, row * tall + 1, span * size - 2, tall - 2];
    let text = area.kind === "outside" ? cell.label : cell.units && cell.state !== "part" ? (w > 90 ? `${count(cell.units)} ${cell.state === "never" ? "" : cell.state}` : "") : brief(cell.label, area);
    const font = Math.min(12, tallness * 0.46);
    const level = cell.level ? `l${cell.level}` : "";
    const group = s("g", {
      class: `cell ${cell.state} ${level} ${cell.at ? "in" : ""}`, role: "button", tabindex: -1,
      "aria-label": `${cell.label}${cell.name ? ` ${cell.name}` : ""}: ${cell.text}`, "data-at": cell.at, "data-i": at,
    }, s("rect", { class: `c ${cell.state} ${level}`, x, y, width: w, height: tallness, rx: Math.min(5, tallness / 4) }));
    if (text.length * font * 0.62 >= w - 2) text = cell.name ?? "";
    if (text && text.length * font * 0.62 < w - 2) {
      group.append(s("text", { x: x + w / 2, y: y + tallness / 2, "font-size": font }, text));
    }
    if (cell.state === "gateway" || cell.state === "part") {
      const [cx, cy] = [x + w - 6, y + 6];
      group.append(cell.state === "part" ? s("path", { class: "mark", d: `M${cx - 3} ${cy}h6M${cx} ${cy - 3}v6` }) : s("circle", { class: "mark", cx, cy, r: 2.2 }));
    }
    picture.append(group);
  });
  wire(picture, cells, places, area);
  return picture;
}

function wire(picture, cells, places, area) {
  const groups = [...picture.querySelectorAll(".cell")];
  if (!groups.length) return;
  groups[0].tabIndex = 0;
  const number = (event) => Number(event.target.closest?.(".cell")?.dataset.i ?? -1);
  const say = (at) => $("#map-detail").replaceChildren(...describe(cells[at]).filter(Boolean));
  const enter = (at) => {
    if (cells[at].at) lookAt(cells[at].at);
    else if (area.kind === "subnet" && ["used", "gateway", "cooling", "pinned"].includes(cells[at].state)) openLeases({ search: cells[at].label });
  };
  const go = (at) => {
    groups.forEach((group) => (group.tabIndex = -1));
    groups[at].tabIndex = 0;
    groups[at].focus();
  };
  // The cell in the next row whose middle is nearest.
  const beside = (at, step) => {
    const here = places[at].column + places[at].span / 2;
    const row = places[at].row + step;
    const near = places.map((place, i) => [place.row === row ? Math.abs(place.column + place.span / 2 - here) : Infinity, i]);
    const [distance, best] = near.reduce((a, b) => (b[0] < a[0] ? b : a));
    return distance === Infinity ? at : best;
  };
  picture.addEventListener("pointerover", (event) => number(event) >= 0 && say(number(event)));
  picture.addEventListener("focusin", (event) => number(event) >= 0 && say(number(event)));
  picture.addEventListener("click", (event) => number(event) >= 0 && enter(number(event)));
  picture.addEventListener("keydown", (event) => {
    const at = number(event);
    if (at < 0) return;
    const moves = {
      ArrowLeft: () => go(Math.max(0, at - 1)), ArrowRight: () => go(Math.min(groups.length - 1, at + 1)),
      ArrowUp: () => go(beside(at, -1)), ArrowDown: () => go(beside(at, 1)),
      Home: () => go(0), End: () => go(groups.length - 1), Enter: () => enter(at), " ": () => enter(at),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  });
}

function heading(area) {
  if (area.kind === "outside") return [h("h3", {}, "Outside all pools"), h("span", { class: "hint" }, "subnets that were asked for by number")];
  const what = area.kind === "subnet" ? (area.name ?? "Subnet") : area.pool;
  const unit = area.kind === "subnet" ? "each cell an address" : `each cell a /${area.unit}`;
  return [h("h3", {}, what, " ", h("span", { class: "mono" }, area.prefix)), h("span", { class: "hint" }, area.cells.some((cell) => cell.units) ? "wide: what is free between is one cell" : unit),
    area.closed ? h("span", { class: "tag warn" }, "closed: gives no new subnets") : null].filter(Boolean);
}

function paint(zoom) {
  const width = Math.max(260, $("#areas").clientWidth);
  const focused = document.activeElement?.closest?.(".cell");
  const [areaAt, cellAt] = focused ? [[...document.querySelectorAll(".grid")].indexOf(focused.closest(".grid")), focused.dataset.i] : [-1, null];
  $("#areas").replaceChildren(...shown.areas.map((area) => h("div", { class: "area" }, h("div", { class: "area-head" }, ...heading(area)), grid(area, width))));
  if (zoom) document.querySelectorAll(".grid").forEach((picture) => picture.classList.add("zoom"));
  const again = areaAt >= 0 ? document.querySelectorAll(".grid")[zoom ? 0 : areaAt]?.querySelector(zoom ? ".cell" : `[data-i="${cellAt}"]`) : null;
  if (again) again.focus({ preventScroll: true });
  const steps = shown.path;
  $("#crumbs").replaceChildren(...steps.map((step, i) => h("li", {}, i + 1 < steps.length
    ? h("button", { type: "button", onclick: () => lookAt(step.at) }, step.label) : h("span", { "aria-current": "location" }, step.label))));
  const subnet = shown.areas.length === 1 && shown.areas[0].kind === "subnet" ? shown.areas[0] : null;
  $("#map-leases").hidden = !subnet;
  $("#map-leases").onclick = () => openLeases({ subnet: subnet.id, label: subnet.name ? `${subnet.name} ${steps.at(-1).label}` : steps.at(-1).label });
}

export async function draw(zoom) {
  const at = wanted();
  let map;
  if (zoom) $("#map-detail").textContent = HINT;
  try {
    map = await ask(at ? `/api/map?at=${encodeURIComponent(at)}` : "/api/map");
  } catch (error) {
    if (!at || error.status >= 500) throw error;
    // What was looked at has gone, or never was.
    $("#map-detail").textContent = `${error.message}; this is everything.`;
    history.replaceState(null, "", "#map");
    map = await ask("/api/map");
  }
  const text = JSON.stringify(map);
  if (text === last && !zoom) return;
  [shown, last] = [map, text];
  if (map.areas.length) paint(zoom);
  else $("#areas").replaceChildren(h("p", { class: "empty" }, h("strong", {}, "No pools"), "Give gipam a prefix that is routed to this host."));
}

export function start(open) {
  openLeases = open;
  window.addEventListener("hashchange", () => {
    if (wanted() || location.hash === "#map" || location.hash === "") draw(true);
    if (wanted()) $("#map").scrollIntoView({ block: "start" });
  });
  $("#map").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !shown || shown.path.length < 2) return;
    lookAt(shown.path.at(-2).at);
  });
  let resize = 0;
  new ResizeObserver(() => {
    cancelAnimationFrame(resize);
    resize = requestAnimationFrame(() => shown?.areas.length && paint(false));
  }).observe($("#main"));
}
