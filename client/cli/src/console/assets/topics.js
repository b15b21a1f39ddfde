// Topics: partitions with leader, replicas and who is in sync; opened, why that is so.
import { el, api, ask, attempt, colour, keepingFocus, mayWrite, plural } from "./dom.js";
import * as history from "./history.js";

/** Rows of a topic's table that are drawn before "more" is asked for. */
const ROWS = 60;
let filter = "";
let chosen = null;
let all = false;
/** Opened partitions of that topic: what is shown below the row, and of which state of the partition that tells. */
let opened = new Map();

export function enter(view, state, query) {
  chosen = query.get("topic");
  all = false;
  opened = new Map();
  const search = el("input", { type: "search", class: "grow", placeholder: "Filter by name", "aria-label": "Filter topics by name", value: filter,
    input: (event) => { filter = event.target.value; update(view, state, new Set(["topics"])); } });
  view.append(
    el("h1", {}, "Topics ", el("small", { id: "topics-note" })),
    el("div", { class: "bar" }, search,
      mayWrite ? el("button", { type: "button", id: "create-topic", click: () => create() }, "Create a topic") : null),
    el("div", { id: "chosen" }),
    el("div", { class: "wide" }, el("table", {},
      el("thead", {}, el("tr", {}, ["Topic", "Partitions", "Replicas", "Leaders", "Out of sync", "No leader"].map((name, at) => el("th", { class: at ? "number" : "" }, name)))),
      el("tbody", { id: "topics" }))));
  update(view, state, new Set(["topics"]));
}

export function update(view, state, what) {
  if (!what.has("topics")) return;
  const names = [...state.topics.keys()].filter((name) => name.includes(filter)).sort();
  view.querySelector("#topics-note").textContent = plural(state.topics.size, "topic");
  view.querySelector("#topics").replaceChildren(...names.slice(0, 1000).map((name) => row(name, state.topics.get(name))));
  const box = view.querySelector("#chosen");
  const topic = chosen && state.topics.get(chosen);
  if (chosen && !topic) box.replaceChildren(el("p", { class: "empty" }, `There is no topic ${chosen}.`));
  else keepingFocus(box, () => box.replaceChildren(...(topic ? [detail(view, state, topic)] : [])));
}

function row(name, topic) {
  const partitions = Object.values(topic.partitions);
  const leaders = new Set(partitions.map((p) => p.leader).filter((id) => id >= 0));
  const under = partitions.filter((p) => p.isr.length < p.replicas.length).length;
  const none = partitions.filter((p) => p.leader < 0).length;
  const replicas = Math.max(0, ...partitions.map((p) => p.replicas.length));
  return el("tr", {},
    el("td", {}, el("a", { href: `#topics?topic=${encodeURIComponent(name)}` }, name)),
    el("td", { class: "number" }, String(partitions.length)), el("td", { class: "number" }, String(replicas)),
    el("td", { class: "number" }, [...leaders].sort((a, b) => a - b).map((id) => el("span", { class: `chip ${colour(id)}` }, el("span", {}, String(id))))),
    el("td", { class: under ? "number notice" : "number" }, String(under)), el("td", { class: none ? "number bad" : "number" }, String(none)));
}

/** A replica: filled if it leads, dashed if it is out of sync. */
function chip(id, partition) {
  const lead = id === partition.leader, out = !partition.isr.includes(id);
  const says = `broker ${id}${lead ? ", leader" : ", follower"}${out ? ", out of sync" : ", in sync"}`;
  return el("span", { class: `chip ${colour(id)}${lead ? " lead" : ""}${out ? " out" : ""}`, title: says, "aria-label": says }, el("span", {}, String(id)));
}

function detail(view, state, topic) {
  const partitions = Object.entries(topic.partitions);
  const shown = all ? partitions : partitions.slice(0, ROWS);
  const rows = shown.map(([index, partition]) => {
    const moved = Date.now() - (state.seen.get(`${topic.name}-${index}`) ?? 0) < 2500;
    const open = () => {
      if (!opened.delete(index)) opened.set(index, { told: null, box: el("div", {}, el("p", { class: "empty" }, "Reading.")) });
      update(view, state, new Set(["topics"]));
    };
    return [el("tr", { class: moved ? "moved" : null, "data-partition": index },
      el("td", { class: "number" }, el("a", { href: `#records?topic=${encodeURIComponent(topic.name)}&partition=${index}`, title: "Its records", "data-key": `records ${index}` }, index)),
      el("td", { class: "time" }, partition.leader < 0 ? el("span", { class: "bad" }, "none") : el("span", { class: colour(partition.leader) }, `broker ${partition.leader}`)),
      el("td", { class: "number less" }, partition.epoch < 0 ? "-" : String(partition.epoch)),
      el("td", { class: "chips" }, partition.replicas.map((id) => chip(id, partition))),
      el("td", { class: "number" }, el("button", { class: "small", type: "button", "data-key": `why ${index}`, "aria-expanded": String(opened.has(index)), "aria-label": `Why, partition ${index}`, click: open }, "Why"))),
    opened.has(index) ? el("tr", { class: "opened", "data-why": index }, el("td", { colspan: 5 }, explained(topic, index, partition))) : null];
  });
  const more = partitions.length - shown.length;
  return el("section", { class: "card topic", id: "topic" },
    el("h3", {}, topic.name, el("span", {},
      mayWrite ? el("button", { class: "small", type: "button", click: () => elect(topic) }, "Preferred leaders") : null, " ",
      mayWrite ? el("button", { class: "small danger", type: "button", click: () => remove(topic) }, "Delete") : null, " ",
      el("a", { href: "#topics", class: "faint" }, "close"))),
    el("p", { class: "faint" }, "Filled: the leader. Outlined: a follower in sync. Dashed: out of sync. The first replica is the preferred leader."),
    el("div", { class: "wide" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", { class: "number" }, "Partition"), el("th", { class: "time" }, "Leader"), el("th", { class: "number less" }, "Epoch"), el("th", {}, "Replicas"), el("th", {}, el("span", { class: "unseen" }, "Why")))),
      el("tbody", {}, rows))),
    more > 0 ? el("button", { type: "button", click: () => { all = true; update(view, state, new Set(["topics"])); } }, `Show ${plural(more, "more partition")}`) : null);
}

/** Why it is so, asked for anew when the partition is other than it was. */
function explained(topic, index, partition) {
  const entry = opened.get(index);
  const now = JSON.stringify([partition.leader, partition.epoch, partition.isr]);
  if (entry.told !== now) {
    entry.told = now;
    history.ofPartition(entry.box, topic.name, index);
  }
  return entry.box;
}

function create() {
  const name = el("input", { "aria-label": "Name", placeholder: "name", id: "new-topic" });
  const partitions = el("input", { type: "number", min: 1, value: 3, "aria-label": "Partitions" });
  const replicas = el("input", { type: "number", min: 1, value: 3, "aria-label": "Replication factor" });
  const body = () => ({ name: name.value.trim(), partitions: Number(partitions.value), replication_factor: Number(replicas.value) });
  ask("Create a topic", "The controller spreads its partitions over the brokers.", "Create",
    () => attempt(() => api("POST", "/api/topics", body()), (done) => `topic ${done.created} was created`),
    [el("div", { class: "bar" }, name, el("label", {}, "partitions", partitions), el("label", {}, "replicas", replicas))]);
}

/** The first replica of each partition leads again. */
function elect(topic) {
  const led = Object.values(topic.partitions), away = led.filter((p) => p.leader !== p.replicas[0]);
  const can = away.filter((p) => p.isr.includes(p.replicas[0])).length;
  const what = !away.length ? "Every partition is led by its preferred replica: nothing will happen."
    : `${plural(away.length, "partition")} of ${led.length} ${away.length === 1 ? "is" : "are"} led by another replica than the first one. For ${can} the first one is in sync: the controller makes it the leader, under a new leader epoch. Clients follow by themselves.`;
  const said = (done) => [`${plural(done.elected, "partition")} got ${done.elected === 1 ? "its" : "their"} preferred leader`, ...done.refused].join("; ");
  ask(`Elect the preferred leaders of ${topic.name}?`, what, "Elect",
    () => attempt(() => api("POST", `/api/topics/${encodeURIComponent(topic.name)}/elect`), said));
}

function remove(topic) {
  const count = Object.keys(topic.partitions).length;
  ask(`Delete ${topic.name}?`, `All records of its ${plural(count, "partition")} are deleted on every broker. They cannot be had again.`, "Delete",
    () => attempt(() => api("DELETE", `/api/topics/${encodeURIComponent(topic.name)}`), (done) => `topic ${done.deleted} was deleted`));
}
