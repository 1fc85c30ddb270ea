// The story of an address, a name, a MAC or a prefix: who has it, and what happened to it.

import { $, h, named } from "./dom.js";
import { History } from "./history.js";
import { lookAt } from "./map.js";
import { Leases, Subnets } from "./tables.js";

let [shown, parts] = [null, []];
const wanted = () => named("of");
const isPrefix = (what) => /^[0-9a-f:.]+\/\d+$/i.test(what);

function build(what) {
  const [leases, subnets, history] = ["leases", "subnets", "history"].map((part) => h("div", { class: `story-${part}` }));
  const close = () => (location.hash = "");
  $("#story").replaceChildren(
    h("div", { class: "title" }, h("h2", { id: "story-title", tabindex: -1 }, "Story of ", h("span", { class: "mono" }, what)),
      h("div", { class: "tools" }, isPrefix(what) ? h("button", { type: "button", class: "quiet", onclick: () => lookAt(what) }, "Show on the map") : null,
        h("button", { type: "button", class: "quiet", onclick: close }, "Close"))),
    leases, subnets, history);
  const fixed = { search: what };
  return [new Leases(leases, { name: "story-leases", title: "Addresses", level: "h3", fixed }),
    new Subnets(subnets, { name: "story-subnets", title: "In subnets", level: "h3", fixed }),
    new History(history, { name: "story-history", title: "What happened", level: "h3", of: what })];
}

export async function draw() {
  const what = wanted();
  $("#story").hidden = !what;
  if (what !== shown) parts = what ? build(what) : [];
  shown = what;
  await Promise.all(parts.map((part) => part.draw()));
}

export function start() {
  const find = $("#find");
  $("#finder").addEventListener("submit", (event) => {
    event.preventDefault();
    const what = find.value.trim();
    if (what) location.hash = `of=${encodeURIComponent(what)}`;
  });
  window.addEventListener("hashchange", async () => {
    await draw();
    if (!wanted()) return;
    $("#story").scrollIntoView({ block: "start" });
    $("#story-title").focus({ preventScroll: true });
  });
  window.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(document.activeElement?.tagName)) return;
    event.preventDefault();
    find.focus();
  });
}
