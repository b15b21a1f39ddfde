// The page: one stream of events keeps the picture; the hash says which view of it is shown.
import { el } from "./dom.js";
import * as overview from "./overview.js";
import * as topics from "./topics.js";
import * as groups from "./groups.js";
import * as tree from "./tree.js";
import * as records from "./records.js";
import * as tour from "./tour.js";

const views = { overview, topics, groups, tree, records };

/** What is known: filled by events, read by views. */
export const state = { ensemble: [], brokers: { brokers: [], controller: null }, topics: new Map(), groups: null, stories: [], seen: new Map() };

const view = document.getElementById("view");
const live = document.getElementById("live");
let current = null;
let wanted = new Set();

function route() {
  const [name, ...rest] = (location.hash.slice(1) || "overview").split("?");
  const shown = views[name] ? name : "overview";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  current?.leave?.();
  current = views[shown];
  view.replaceChildren();
  current.enter(view, state, new URLSearchParams(rest.join("?")));
  view.dataset.view = shown;
}

/** Views draw at most once per frame, and only what they say they show. */
function changed(what) {
  if (wanted.size === 0) {
    requestAnimationFrame(() => {
      const these = wanted;
      wanted = new Set();
      current?.update?.(view, state, these);
    });
  }
  wanted.add(what);
}

function putTopic(topic) {
  const before = state.topics.get(topic.name);
  if (before) {
    for (const [index, partition] of Object.entries(topic.partitions)) {
      const old = before.partitions[index];
      if (old && old.leader !== partition.leader) state.seen.set(`${topic.name}-${index}`, Date.now());
    }
  }
  state.topics.set(topic.name, topic);
}

function connect() {
  const events = new EventSource("/api/events");
  const on = (name, take) => events.addEventListener(name, (event) => {
    take(JSON.parse(event.data));
    changed(name === "topic" || name === "topic-gone" ? "topics" : name);
  });
  events.onopen = () => { live.className = "on"; live.textContent = "live"; };
  events.onerror = () => { live.className = "off"; live.textContent = "no connection to the console"; };
  on("ensemble", (rows) => { state.ensemble = rows; });
  on("brokers", (brokers) => { state.brokers = brokers; });
  on("topics", (all) => {
    const names = new Set(all.map((topic) => topic.name));
    for (const name of state.topics.keys()) if (!names.has(name)) state.topics.delete(name);
    all.forEach(putTopic);
  });
  on("topic", putTopic);
  on("topic-gone", (name) => { state.topics.delete(name); });
  on("groups", (groups) => { state.groups = groups; });
  on("stories", (stories) => { state.stories = stories; });
  on("story", (story) => {
    state.stories.push(story);
    if (state.stories.length > 500) state.stories.shift();
  });
}

document.getElementById("tour-button").addEventListener("click", () => tour.begin(state));
addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  const name = Object.keys(views)[Number(event.key) - 1];
  if (name) location.hash = name;
  if (event.key === "?") tour.begin(state);
  if (event.key === "Escape") tour.end();
});
if (live.childNodes.length === 0) live.append(el("span", {}, "connecting"));
route();
connect();
