// Records of one partition: from an offset or a time on, all or those of one key; peek at them, follow them.
import { el, api, moment, clock, plural, shown } from "./dom.js";

let how = "text";
let timer = null;
let turn = 0;

const units = { second: 1e3, minute: 6e4, hour: 36e5, day: 864e5 };

/** Where to begin, as the console wants it: a name, an offset, or `time:` and milliseconds; null if it is none of these. */
export function begins(text, now) {
  if (/^(earliest|latest|\d+)$/.test(text)) return text;
  const ago = text.match(/^(\d+(?:\.\d+)?)\s*(second|minute|hour|day)s?\s+ago$/i);
  const time = ago ? now - Number(ago[1]) * units[ago[2].toLowerCase()] : /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(time) ? null : `time:${Math.max(0, Math.round(time))}`;
}

const today = (ms) => new Date(ms).toDateString() === new Date().toDateString();

function row(record, text) {
  const time = record.timestamp_ms;
  const shown = (data) => el("pre", { class: how === "hex" ? "hex" : null }, text(data));
  return el("tr", { "data-offset": record.offset },
    el("td", { class: "number" }, String(record.offset)), el("td", { class: "time", title: moment(time) }, (today(time) ? clock : moment)(time)),
    el("td", { class: "key" }, text(record.key) === null ? el("span", { class: "faint" }, "none") : shown(record.key)),
    el("td", {}, record.tombstone ? el("span", { class: "notice" }, "tombstone") : shown(record.value),
      record.headers.map(([name, value]) => el("div", { class: "faint" }, `${name}: ${text(value) ?? ""}`))));
}

export function enter(view, state, query) {
  const topics = [...state.topics.keys()].sort();
  const wanted = { topic: query.get("topic") ?? topics.find((name) => !name.startsWith("__")) ?? topics[0] ?? "", partition: query.get("partition") ?? "0", from: query.get("from") ?? "latest" };
  const topic = el("input", { list: "topic-names", "aria-label": "Topic", value: wanted.topic, id: "records-topic" });
  const partition = el("input", { type: "number", min: 0, value: wanted.partition, "aria-label": "Partition" });
  const from = el("input", { value: wanted.from, "aria-label": "From", list: "from-names", id: "records-from",
    title: "earliest, latest, an offset, 10 minutes ago, or a date and time as 2026-11-29 04:00", input: () => from.setCustomValidity("") });
  const key = el("input", { type: "search", placeholder: "any", "aria-label": "Key is", value: query.get("key") ?? "" });
  const limit = el("input", { type: "number", min: 1, max: 500, value: 50, "aria-label": "How many" });
  const holds = el("input", { type: "search", placeholder: "holds", "aria-label": "Key or value holds" });
  const follow = el("input", { type: "checkbox", id: "follow" });
  const pick = el("select", { "aria-label": "Show as" }, ["text", "json", "hex"].map((one) => el("option", { value: one, selected: one === how }, one)));
  const body = el("tbody", { id: "records" });
  const note = el("small", {});
  const more = el("button", { type: "button", hidden: true, click: () => load(more.dataset.next, true) });
  let read = [];
  const draw = () => {
    const text = (data) => shown(data, how);
    const fits = read.filter((r) => !holds.value || [text(r.key), text(r.value)].some((t) => t?.includes(holds.value)));
    body.replaceChildren(...fits.map((record) => row(record, text)));
    if (!fits.length) body.append(el("tr", {}, el("td", { colspan: 4, class: "empty" }, read.length ? "None of those shown holds that." : "No records here.")));
  };
  const told = (page) => {
    const looked = key.value && page.next > page.from ? `, looked through to ${page.next.toLocaleString()}` : "";
    note.textContent = page.end === page.start ? " this partition is empty"
      : ` offsets ${page.start.toLocaleString()} to ${(page.end - 1).toLocaleString()}; ${plural(read.length, "record")} shown${looked}`;
    more.hidden = follow.checked || page.next >= page.end;
    more.textContent = `Go on from offset ${page.next.toLocaleString()}`;
    more.dataset.next = page.next;
  };
  const load = async (begin, add) => {
    const mine = (turn += 1);
    clearTimeout(timer);
    const asked = new URLSearchParams({ topic: topic.value, partition: partition.value, from: begin, limit: limit.value, key: key.value });
    try {
      const page = await api("GET", `/api/records?${asked}`);
      if (mine !== turn) return;
      read = (add ? read.concat(page.records) : page.records).slice(-500);
      told(page);
      if (!add || page.records.length) draw();
      if (follow.checked) timer = setTimeout(() => load(String(Math.max(page.next, 0)), true), 700);
    } catch (error) {
      if (mine === turn) note.textContent = ` ${error.message}`;
      if (mine === turn && follow.checked) timer = setTimeout(() => load(begin, add), 2000);
    }
  };
  const go = () => {
    const begin = begins(from.value.trim() || "latest", Date.now());
    if (begin !== null) return load(begin, false);
    from.setCustomValidity("earliest, latest, an offset, 10 minutes ago, or 2026-11-29 04:00");
    return from.reportValidity();
  };
  follow.addEventListener("change", () => (follow.checked ? load(read.length ? String(read.at(-1).offset + 1) : "latest", read.length > 0) : clearTimeout(timer)));
  pick.addEventListener("change", () => { how = pick.value; draw(); });
  holds.addEventListener("input", draw);
  const form = el("form", { class: "fields", submit: (event) => { event.preventDefault(); go(); } },
    el("label", { class: "long" }, "topic", topic), el("label", {}, "partition", partition), el("label", { class: "long" }, "from", from), el("label", {}, "key", key), el("label", {}, "most", limit),
    el("label", {}, "as", pick), el("label", {}, "among these", holds), el("label", { class: "check" }, follow, "follow"), el("button", { class: "primary" }, "Read"));
  view.append(el("h1", {}, "Records", note), form,
    el("datalist", { id: "topic-names" }, topics.map((name) => el("option", { value: name }))),
    el("datalist", { id: "from-names" }, ["latest", "earliest", "10 minutes ago", "1 hour ago", "1 day ago"].map((value) => el("option", { value }))),
    el("div", { class: "wide" }, el("table", { class: "records" }, el("thead", {}, el("tr", {}, el("th", { class: "number" }, "Offset"), el("th", { class: "time" }, "Time"), el("th", { class: "key" }, "Key"), el("th", {}, "Value"))), body)), more);
  if (topic.value) go();
}

export function leave() {
  turn += 1;
  clearTimeout(timer);
}
