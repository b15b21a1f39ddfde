// The ensemble, the brokers, every partition as a cell, and the time line.
import { el, api, ask, attempt, colour, clock, isDev, mayWrite, plural } from "./dom.js";

/** Brokers that were seen and are gone, so that they can be started again. */
const known = new Map();
/** Cells by partition, kept from one drawing to the next. */
let cells = new Map();

export function enter(view, state) {
  cells = new Map();
  view.append(
    el("h2", { id: "ensemble-title" }, "Ensemble ", el("small", { id: "ensemble-note" })),
    el("div", { class: "cards", id: "ensemble" }),
    el("h2", {}, "Brokers ", el("small", { id: "brokers-note" })),
    el("div", { class: "cards", id: "brokers" }),
    el("h2", {}, "Partitions ", el("small", { id: "partitions-note" })),
    el("div", { class: "grid", id: "partitions" }),
    el("h2", {}, "What happened"),
    el("ol", { class: "stories", id: "stories" }));
  update(view, state, new Set(["ensemble", "brokers", "topics", "stories"]));
}

export function update(view, state, what) {
  if (what.has("ensemble")) drawEnsemble(view.querySelector("#ensemble"), view, state);
  if (what.has("brokers") || what.has("topics")) {
    drawBrokers(view, state);
    drawPartitions(view, state);
  }
  if (what.has("stories") || what.has("story")) drawStories(view.querySelector("#stories"), state.stories);
}

const pair = (name, value) => [el("dt", {}, name), el("dd", {}, value)];

function order(verb, role, number) {
  const line = `${verb} ${role} ${number}`;
  const work = () => attempt(() => api("POST", "/api/orders", line), (answer) => answer.said);
  if (verb === "start") return work();
  const text = role === "broker"
    ? `Broker ${number} is killed as by kill -9. Its partitions get other leaders about a second later, once its session has ended.`
    : `Coordinator ${number} is killed as by kill -9. If it leads, the others elect another; its clients move.`;
  return ask(`Kill ${role} ${number}?`, text, "Kill", work);
}

const button = (verb, role, number) => el("button", { class: verb === "kill" ? "small danger" : "small", type: "button", click: () => order(verb, role, number) }, `${verb === "kill" ? "Kill" : "Start"} ${role} ${number}`);

function drawEnsemble(box, view, state) {
  const answered = state.ensemble.filter((row) => row.status);
  const committed = Math.max(0, ...answered.map((row) => row.status.committed));
  const newest = answered.reduce((best, row) => (!best || row.status.zxid > best.zxid ? row.status : best), null);
  view.querySelector("#ensemble-note").textContent = newest
    ? `${plural(newest.sessions, "session")}, ${plural(newest.znodes, "znode")}` : "no coordinator answers";
  box.replaceChildren(...state.ensemble.map((row) => {
    const status = row.status;
    const number = status?.node ?? numberOf(state.ensemble, row.address);
    if (!status) {
      return el("div", { class: "card gone" },
        el("h3", {}, `Coordinator ${number ?? "?"}`, el("span", { class: "badge bad" }, "no answer")),
        el("div", { class: "at" }, row.address),
        isDev && mayWrite && number ? el("div", { class: "do" }, button("start", "coordinator", number)) : null);
    }
    const tone = status.role === "leader" ? "good" : status.role === "candidate" ? "notice" : "faint";
    return el("div", { class: "card", "data-coordinator": number },
      el("h3", {}, `Coordinator ${number}`, el("span", { class: `badge ${tone}` }, status.role)),
      el("div", { class: "at" }, row.address),
      el("dl", {}, pair("term", String(status.term)),
        pair("zxid", `0x${status.zxid.toString(16)}`), pair("behind by", (committed - status.applied).toLocaleString()),
        pair("connections", String(status.connections)), pair("watches", status.watches.toLocaleString())),
      isDev && mayWrite ? el("div", { class: "do" }, button("kill", "coordinator", number)) : null);
  }));
}

function numberOf(rows, address) {
  for (const row of rows) {
    const member = row.status?.members.find((m) => m.client_address === address);
    if (member) return member.node;
  }
  return null;
}

function drawBrokers(view, state) {
  const here = new Set(state.brokers.brokers.map((broker) => broker.id));
  for (const broker of state.brokers.brokers) known.set(broker.id, broker);
  const leads = new Map(), keeps = new Map(), lacks = new Map();
  const count = (map, id) => map.set(id, (map.get(id) ?? 0) + 1);
  let under = 0, none = 0, all = 0;
  for (const topic of state.topics.values()) {
    for (const partition of Object.values(topic.partitions)) {
      all += 1;
      if (partition.leader < 0) none += 1; else count(leads, partition.leader);
      if (partition.isr.length < partition.replicas.length) under += 1;
      for (const id of partition.replicas) {
        count(keeps, id);
        if (!partition.isr.includes(id)) count(lacks, id);
        if (!known.has(id)) known.set(id, { id, address: "", rack: null });
      }
    }
  }
  view.querySelector("#brokers-note").textContent = state.brokers.controller === null
    ? "no controller" : `broker ${state.brokers.controller} is the controller`;
  view.querySelector("#partitions-note").textContent = `${plural(all, "partition")} of ${plural(state.topics.size, "topic")}, each in the colour of its leader`
    + (under ? `; ${under.toLocaleString()} with replicas out of sync` : "") + (none ? `; ${none.toLocaleString()} without a leader` : "");
  const ids = [...known.keys()].sort((a, b) => a - b);
  view.querySelector("#brokers").replaceChildren(...ids.map((id) => {
    const broker = known.get(id);
    const controller = state.brokers.controller === id;
    return el("div", { class: here.has(id) ? "card" : "card gone", "data-broker": id },
      el("h3", {}, el("span", { class: `dot ${colour(id)}` }), `Broker ${id}`,
        controller ? el("span", { class: "badge good" }, "controller") : null,
        here.has(id) ? null : el("span", { class: "badge bad" }, "gone")),
      el("div", { class: "at" }, broker.address || "-"),
      el("dl", {}, broker.rack ? pair("rack", broker.rack) : null,
        pair("leads", String(leads.get(id) ?? 0)), pair("replicas", String(keeps.get(id) ?? 0)),
        pair("out of sync", String(lacks.get(id) ?? 0))),
      isDev && mayWrite ? el("div", { class: "do" }, button(here.has(id) ? "kill" : "start", "broker", id)) : null);
  }));
}

function drawPartitions(view, state) {
  const box = view.querySelector("#partitions");
  const fresh = new Map();
  const order = [];
  for (const name of [...state.topics.keys()].sort()) {
    for (const [index, partition] of Object.entries(state.topics.get(name).partitions)) {
      const key = `${name}-${index}`;
      const under = partition.isr.length < partition.replicas.length;
      const moved = Date.now() - (state.seen.get(key) ?? 0) < 2500;
      const look = `cell ${colour(partition.leader)}${under ? " under" : ""}${moved ? " moved" : ""}`;
      const says = `${key}: leader ${partition.leader < 0 ? "none" : partition.leader}, replicas ${partition.replicas.join(" ")}, in sync ${partition.isr.join(" ")}`;
      const cell = cells.get(key) ?? el("a", { href: `#topics?topic=${encodeURIComponent(name)}` });
      if (cell.className !== look) cell.className = look;
      if (cell.title !== says) { cell.title = says; cell.setAttribute("aria-label", says); }
      fresh.set(key, cell);
      order.push(cell);
    }
  }
  const same = cells.size === fresh.size && order.every((cell, at) => box.children[at] === cell);
  cells = fresh;
  if (!same) box.replaceChildren(...(order.length ? order : [el("span", { class: "empty" }, "No topics yet: ", el("a", { href: "#topics" }, "create one"), ", or produce to one.")]));
}

function drawStories(list, stories) {
  const lines = stories.slice(-200).reverse().map((story) => el("li", { "data-story": story.number },
    el("time", {}, clock(story.at_ms)),
    el("div", {}, el("span", { class: story.tone === "plain" ? "" : story.tone }, story.what),
      story.why || story.partitions.length ? el("div", { class: "why" }, story.why,
        story.partitions.length ? ` (${story.partitions.join(", ")}${story.partitions.length >= 12 ? ", …" : ""})` : "") : null)));
  list.replaceChildren(...(lines.length ? lines : [el("li", {}, el("span"), el("span", { class: "faint" }, "Nothing since this console began."))]));
}
