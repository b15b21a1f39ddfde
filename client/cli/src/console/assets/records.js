// Records of one partition: peek at them, follow them.
import { el, api, clock, plural, shown } from "./dom.js";

let how = "text";
let timer = null;
let turn = 0;

export function enter(view, state, query) {
  const topics = [...state.topics.keys()].sort();
  const wanted = { topic: query.get("topic") ?? topics.find((name) => !name.startsWith("__")) ?? topics[0] ?? "", partition: query.get("partition") ?? "0", from: query.get("from") ?? "latest" };
  const topic = el("input", { list: "topic-names", "aria-label": "Topic", value: wanted.topic, id: "records-topic" });
  const partition = el("input", { type: "number", min: 0, value: wanted.partition, "aria-label": "Partition" });
  const from = el("input", { value: wanted.from, "aria-label": "From", list: "from-names" });
  const limit = el("input", { type: "number", min: 1, max: 500, value: 50, "aria-label": "How many" });
  const holds = el("input", { type: "search", placeholder: "Key or value holds", "aria-label": "Key or value holds" });
  const follow = el("input", { type: "checkbox", id: "follow" });
  const pick = el("select", { "aria-label": "Show as" }, ["text", "json", "hex"].map((one) => el("option", { value: one, selected: one === how }, one)));
  const body = el("tbody", { id: "records" });
  const note = el("small", {});
  let read = [];
  const draw = () => {
    const text = (data) => shown(data, how);
    const fits = read.filter((r) => !holds.value || [text(r.key), text(r.value)].some((t) => t?.includes(holds.value)));
    body.replaceChildren(...fits.map((r) => el("tr", { "data-offset": r.offset },
      el("td", { class: "number" }, String(r.offset)), el("td", { class: "time" }, clock(r.timestamp_ms)),
      el("td", {}, text(r.key) === null ? el("span", { class: "faint" }, "none") : el("pre", {}, text(r.key))),
      el("td", {}, r.tombstone ? el("span", { class: "notice" }, "tombstone") : el("pre", {}, text(r.value)),
        r.headers.map(([name, value]) => el("div", { class: "faint" }, `${name}: ${text(value) ?? ""}`))))));
  };
  const load = async (begin, add) => {
    const mine = (turn += 1);
    clearTimeout(timer);
    const asked = new URLSearchParams({ topic: topic.value, partition: partition.value, from: begin, limit: limit.value });
    try {
      const page = await api("GET", `/api/records?${asked}`);
      if (mine !== turn) return;
      read = (add ? read.concat(page.records) : page.records).slice(-500);
      note.textContent = ` offsets ${page.start} to ${page.end}; ${plural(read.length, "record")} shown${page.end === page.start ? ": this partition is empty" : ""}`;
      if (!add || page.records.length) draw();
      if (follow.checked) timer = setTimeout(() => load(String(Math.max(page.next, 0)), true), 700);
    } catch (error) {
      if (mine === turn) note.textContent = ` ${error.message}`;
      if (mine === turn && follow.checked) timer = setTimeout(() => load(begin, add), 2000);
    }
  };
  const go = () => load(from.value.trim() || "latest", false);
  follow.addEventListener("change", () => (follow.checked ? load(read.length ? String(read.at(-1).offset + 1) : "latest", read.length > 0) : clearTimeout(timer)));
  pick.addEventListener("change", () => { how = pick.value; draw(); });
  holds.addEventListener("input", draw);
  const form = el("form", { class: "bar", submit: (event) => { event.preventDefault(); go(); } },
    el("label", {}, "topic", topic), el("label", {}, "partition", partition), el("label", {}, "from", from), el("label", {}, "most", limit),
    el("button", { class: "primary" }, "Read"), el("label", {}, follow, "follow"), pick, holds);
  view.append(el("h1", {}, "Records", note), form,
    el("datalist", { id: "topic-names" }, topics.map((name) => el("option", { value: name }))),
    el("datalist", { id: "from-names" }, el("option", { value: "latest" }), el("option", { value: "earliest" })),
    el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", { class: "number" }, "Offset"), el("th", {}, "Time"), el("th", {}, "Key"), el("th", {}, "Value"))), body)));
  if (topic.value) go();
}

export function leave() {
  turn += 1;
  clearTimeout(timer);
}
