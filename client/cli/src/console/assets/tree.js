// The tree of znodes, one at a time, with what happened to it; drawn anew when it changes.
import { el, api, ask, attempt, mayWrite, moment, plural, shown, toast } from "./dom.js";
import * as history from "./history.js";

let how = "json";
let turn = 0;
let timer = null;

const link = (path) => `#tree?path=${encodeURIComponent(path)}`;
const below = (path, name) => (path === "/" ? `/${name}` : `${path}/${name}`);

export async function enter(view, state, query) {
  const path = query.get("path") ?? "/";
  const mine = (turn += 1);
  view.append(crumbs(path), el("div", { id: "znode", class: "two" }, el("p", { class: "empty" }, "Reading.")));
  await show(view, path, mine);
  if (mine === turn) follow(view, path, mine);
}

/** Reads and draws it, or says why not. */
async function show(view, path, mine) {
  try {
    const znode = await read(path);
    if (mine === turn) draw(view, znode);
  } catch (error) {
    if (mine !== turn) return;
    const gone = error.status === 404;
    mark = gone ? "gone" : null;
    view.querySelector("#znode").replaceChildren(
      el("section", { class: "card" }, el("h3", {}, gone ? "There is no such znode" : "It cannot be read"),
        el("p", { class: gone ? "faint" : "bad" }, gone ? "If it was deleted not long ago, its history says when, by whom, and what it held." : error.message)),
      el("div", {}, history.ofZnode(path)));
  }
}

/** Draws it anew when it is no longer what is shown, as long as somebody looks: one question at a time. */
function follow(view, path, mine) {
  let asking = false;
  timer = setInterval(async () => {
    if (asking || document.hidden) return;
    asking = true;
    try {
      const now = await api("GET", `/api/znode/mark?${new URLSearchParams({ path })}`);
      if (mine === turn && now.mark !== mark) await show(view, path, mine);
    } catch (error) {
      if (mine === turn && mark !== null) toast(`${path} cannot be looked at now: ${error.message}`, true);
      mark = null;
    } finally {
      asking = false;
    }
  }, 500);
}

/** Of what is shown; null: nobody knows. */
let mark = null;

const read = (path, after = "", holds = "") => api("GET", `/api/znode?${new URLSearchParams({ path, after, holds })}`);

function crumbs(path) {
  const parts = path.split("/").filter(Boolean);
  const links = parts.map((part, at) => ["/", el("a", { href: link(`/${parts.slice(0, at + 1).join("/")}`) }, part)]);
  return el("h1", { class: "path" }, el("a", { href: link("/") }, "root"), links);
}

function draw(view, znode) {
  mark = znode.mark;
  const list = el("ul", { class: "children", id: "children" });
  const more = el("button", { type: "button", hidden: true }, "More");
  let last = "", holds = "";
  const add = (page) => {
    list.append(...page.children.map((name) => el("li", {}, el("a", { href: link(below(page.path, name)) }, name))));
    last = page.children.at(-1) ?? last;
    more.hidden = page.more === 0;
    more.textContent = `More (${page.more.toLocaleString()})`;
  };
  const touched = () => { list.dataset.touched = "yes"; };
  more.addEventListener("click", () => attempt(async () => { touched(); add(await read(znode.path, last, holds)); }));
  const filter = el("input", { type: "search", class: "grow", placeholder: "Filter children", "aria-label": "Filter children",
    change: async (event) => {
      holds = event.target.value;
      if (holds) touched(); else delete list.dataset.touched;
      const page = await attempt(() => read(znode.path, "", holds));
      if (page) { list.replaceChildren(); last = ""; add(page); }
    } });
  add(znode);
  const count = znode.stat.num_children ? plural(znode.stat.num_children, "child").replace("childs", "children") : "No children";
  const box = view.querySelector("#znode");
  const former = box.querySelector("#children")?.closest("section");
  const happened = box.querySelector("#history");
  const side = el("div", {}, el("section", { class: "card" }, data(view, znode), stat(znode), mayWrite ? actions(view, znode) : null),
    former !== undefined && happened ? history.older(happened, znode.path) : history.ofZnode(znode.path));
  // Whoever filters, has turned pages or scrolled keeps what they look at; the number above tells that there is more or less.
  if (former && znode.stat.num_children && inUse(former)) {
    former.querySelector("h3").textContent = count;
    box.lastElementChild.replaceWith(side);
    return;
  }
  box.replaceChildren(
    el("section", { class: "card" }, el("h3", {}, count), el("div", { class: "bar" }, znode.stat.num_children ? filter : null), list, more), side);
}

function inUse(section) {
  const list = section.querySelector("#children");
  return section.contains(document.activeElement) || list.dataset.touched || list.scrollTop > 0 || section.querySelector("input")?.value;
}

function data(view, znode) {
  const box = el("pre", { id: "data" });
  const show = () => { box.textContent = shown(znode, how) ?? "no data"; box.className = how === "hex" ? "hex" : ""; };
  show();
  const pick = el("select", { "aria-label": "Show as", value: how, change: (event) => { how = event.target.value; show(); } },
    ["json", "text", "hex"].map((one) => el("option", { value: one, selected: one === how }, one)));
  return [el("h3", {}, "Data ", el("span", { class: "faint" }, plural(znode.length, "byte")), pick), box];
}

function stat(znode) {
  const s = znode.stat;
  const zxid = (value) => `0x${value.toString(16)}`;
  const rows = { "created": `${moment(s.ctime_ms)}, zxid ${zxid(s.czxid)}`, "data set": `${moment(s.mtime_ms)}, zxid ${zxid(s.mzxid)}`, "children changed": `zxid ${zxid(s.pzxid)}`,
    "version": `${s.version} (children ${s.cversion}, access list ${s.aversion})`, "lives": znode.owner ? `with session ${znode.owner} (ephemeral)` : "until it is deleted",
    "access": znode.acl.map((acl) => `${acl.scheme ?? ""}:${acl.id ?? ""}`).join(", ") };
  return el("dl", { class: "stat" }, Object.entries(rows).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function actions(view, znode) {
  const again = () => dispatchEvent(new HashChangeEvent("hashchange"));
  const text = el("textarea", { "aria-label": "Data" });
  text.value = znode.data ?? "";
  const set = () => attempt(async () => { await api("PUT", "/api/znode", { path: znode.path, data: text.value, version: znode.stat.version }); again(); }, () => `${znode.path} was set`);
  const name = el("input", { "aria-label": "Name", placeholder: "name of the child" });
  const fresh = el("textarea", { "aria-label": "Data" });
  const create = () => attempt(async () => { await api("POST", "/api/znode", { path: below(znode.path, name.value.trim()), data: fresh.value }); again(); }, () => `${name.value} was created`);
  const remove = () => attempt(async () => {
    await api("DELETE", `/api/znode?${new URLSearchParams({ path: znode.path, version: znode.stat.version })}`);
    location.hash = link(znode.path.replace(/\/[^/]*$/, "") || "/");
  }, () => `${znode.path} was deleted`);
  return el("div", { class: "bar" },
    el("button", { type: "button", disabled: znode.data_base64 !== undefined || znode.length > 65536, click: () => ask(`Set ${znode.path}`, `It is set if it still has version ${znode.stat.version}, which was read here.`, "Set", set, [text]) }, "Set data"),
    el("button", { type: "button", click: () => ask(`Create below ${znode.path}`, "A persistent znode that everybody may change.", "Create", create, [el("div", { class: "bar" }, name), fresh]) }, "Create a child"),
    znode.path === "/" ? null : el("button", { type: "button", class: "danger", disabled: znode.stat.num_children > 0, title: znode.stat.num_children ? "It has children" : null,
      click: () => ask(`Delete ${znode.path}?`, `It is deleted if it still has version ${znode.stat.version}. Whoever relies on it is told by its watches.`, "Delete", remove) }, "Delete"));
}

/** What is still being read is of no use any more. */
export function leave() {
  turn += 1;
  clearInterval(timer);
}
