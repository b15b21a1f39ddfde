// Consumer groups: members, what each reads, and how far behind it is.
import { el, plural } from "./dom.js";

export function enter(view, state) {
  view.append(el("h1", {}, "Groups ", el("small", { id: "groups-note" })), el("div", { id: "groups" }));
  update(view, state, new Set(["groups"]));
}

export function update(view, state, what) {
  if (!what.has("groups")) return;
  const { groups = [], more = 0, failure = null } = state.groups ?? {};
  view.querySelector("#groups-note").textContent = state.groups === null ? "asking the brokers"
    : failure ?? `${plural(groups.length + more, "group")}${more ? `, the first ${groups.length} shown` : ""}; asked every two seconds`;
  view.querySelector("#groups").replaceChildren(...groups.map(group));
  if (state.groups && !failure && groups.length === 0) {
    view.querySelector("#groups").replaceChildren(el("p", { class: "empty" }, "No groups. ", el("code", {}, "zweig consume TOPIC --group NAME"), " makes one."));
  }
}

function group(group) {
  const lag = group.partitions.reduce((sum, read) => sum + (read.lag ?? 0), 0);
  const tone = { Stable: "good", Empty: "faint", Dead: "bad" }[group.state] ?? "notice";
  const number = (value) => (value === null ? "-" : value.toLocaleString());
  return el("section", { class: "card topic", "data-group": group.group },
    el("h3", {}, group.group, el("span", {}, el("span", { class: `badge ${tone}` }, group.state), " ",
      el("span", { class: lag ? "notice" : "faint" }, `lag ${lag.toLocaleString()}`))),
    el("p", { class: "faint" }, `${plural(group.members, "member")}${group.protocol ? `, assigned by ${group.protocol}` : ""}`),
    el("div", { class: "wide" }, el("table", {},
      el("thead", {}, el("tr", {}, ["Topic", "Partition", "Committed", "End", "Lag", "Member"].map((name, at) => el("th", { class: at > 0 && at < 5 ? "number" : "" }, name)))),
      el("tbody", {}, group.partitions.map((read) => el("tr", {},
        el("td", {}, read.topic), el("td", { class: "number" }, String(read.partition)), el("td", { class: "number" }, number(read.committed)),
        el("td", { class: "number" }, number(read.end)), el("td", { class: read.lag ? "number notice" : "number" }, number(read.lag)),
        el("td", {}, read.member ? `${read.client} (${read.host})` : el("span", { class: "faint" }, "nobody"))))))));
}
