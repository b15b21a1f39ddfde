// What happened to a znode, each change with its data before and after; and why a partition is led by whom it is.
import { el, api, moment, plural } from "./dom.js";

const zxid = (value) => `0x${value.toString(16)}`;
const tones = { created: "good", deleted: "bad" };
const names = { data: "data set", acl: "access list set" };
/** Times within a sentence, as they are written elsewhere on the page. */
const local = (text) => text.replaceAll("->", "→").replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, (time) => moment(Date.parse(time)));

function kept(answer) {
  const parts = [];
  if (answer.more) parts.push(`${plural(answer.more, "older change")} left out here: zweig history shows them.`);
  if (answer.begins_after) parts.push(`What was before zxid ${zxid(answer.begins_after)} is not kept: the history goes back an hour, or half a gigabyte.`);
  return parts.length ? el("p", { class: "faint" }, parts.join(" ")) : null;
}

/** A card with the history of a znode, which need not exist any more; filled as soon as the answer is there. */
export function ofZnode(path) {
  const note = el("span", { class: "faint" });
  const box = el("div", {}, el("p", { class: "empty" }, "Reading."));
  const card = el("section", { class: "card", id: "history" }, el("h3", {}, "History", note), box);
  api("GET", `/api/history?${new URLSearchParams({ path })}`).then((answer) => {
    note.textContent = answer.changes.length ? `${plural(answer.changes.length, "change")}${answer.changes.length > 1 ? ", newest first" : ""}` : "";
    const list = answer.changes.length
      ? el("ol", { class: "changes" }, answer.changes.map((change, at) => el("li", { "data-zxid": change.zxid, "data-time": change.time_ms }, one(change, at === 0))))
      : el("p", { class: "empty" }, "Nothing happened to it in the time that is kept.");
    box.replaceChildren(list, ...[kept(answer)].filter(Boolean));
  }, (error) => box.replaceChildren(el("p", { class: "bad" }, error.message)));
  return card;
}

/** The same card, though something has happened since: going through the whole history is for who asks for it. */
export function older(card, path) {
  if (!card.querySelector("button")) {
    const again = () => card.replaceWith(ofZnode(path));
    card.querySelector("h3").append(el("button", { type: "button", click: again }, "Something happened since: show it"));
  }
  return card;
}

function one(change, open) {
  return el("details", { open },
    el("summary", {}, el("time", { title: `zxid ${zxid(change.zxid)}` }, moment(change.time_ms)),
      el("span", { class: `badge ${tones[change.kind] ?? "notice"}` }, names[change.kind] ?? change.kind),
      el("span", {}, counted(change)), el("span", { class: "faint" }, change.why)),
    el("div", { class: "faint" }, `zxid ${zxid(change.zxid)}${change.session && !change.why.includes(change.session) ? `, session ${change.session}` : ""}`),
    difference(change));
}

function counted({ kind, versions: [before, after] }) {
  if (kind === "acl") return `${before?.acl ?? "-"} → ${after?.acl ?? "-"}`;
  return before && after ? `version ${before.data} → ${after.data}` : `version ${(before ?? after)?.data ?? "-"}`;
}

function difference({ kind, diff }) {
  if (kind === "acl") return null;
  if (diff.is === "secret") return el("p", { class: "faint" }, "Its data may not be read by this console.");
  if (diff.is === "long") return el("p", { class: "faint" }, "Its data is too long to be compared here: zweig diff does.");
  if (!diff.lines.length) return el("p", { class: "faint" }, kind === "data" ? "No line of it differs." : "It had no data.");
  return el("pre", { class: "diff" },
    diff.lines.map((line) => el("span", { class: { "-": "gone", "+": "new" }[line.sign] }, `${line.sign} ${line.text}\n`)),
    diff.more ? el("span", { class: "faint" }, `… ${plural(diff.more, "more line")}\n`) : null);
}

/** Fills `box` with why the partition is led by whom it is. */
export async function ofPartition(box, topic, partition) {
  try {
    const answer = await api("GET", `/api/explain?${new URLSearchParams({ topic, partition })}`);
    const who = answer.leader < 0 ? "Nobody leads" : `Broker ${answer.leader} leads`;
    const since = answer.since ? ` since ${moment(Date.parse(answer.since))}` : ", for longer than the history goes back";
    box.replaceChildren(
      el("p", {}, `${who} in leader epoch ${answer.leader_epoch}${since}.`),
      el("ol", { class: "steps" }, answer.steps.toReversed().map((step) => el("li", {},
        el("time", { title: `zxid ${zxid(step.zxid)}` }, moment(Date.parse(step.time))),
        el("div", {}, local(step.what), el("div", { class: "faint" }, local(step.why)))))),
      ...[kept(answer)].filter(Boolean));
  } catch (error) {
    box.replaceChildren(el("p", { class: "bad" }, error.message));
  }
}
