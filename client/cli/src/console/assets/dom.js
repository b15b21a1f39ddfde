// What all views share: elements, requests, questions, words.

/** An element: attributes (functions are listeners; true is an empty attribute; null is none), then children. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

const meta = (name) => document.querySelector(`meta[name=${name}]`).content;

/** Whether this page may change anything. */
export const mayWrite = meta("zweig-token") !== "";
/** Whether the cluster is one of `zweig dev`, whose processes can be killed. */
export const isDev = meta("zweig-kind") === "dev";

/** Asks the console; throws an Error that says what is wrong, with the `status` of the answer. */
export async function api(method, path, body) {
  const headers = { "x-zweig-token": meta("zweig-token") };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  let value;
  try { value = JSON.parse(text); } catch { value = { error: text || answer.statusText }; }
  if (!answer.ok) throw Object.assign(new Error(value.hint ? `${value.error}. ${value.hint}` : value.error), { status: answer.status });
  return value;
}

/** Tells something for a moment. */
export function toast(text, bad = false) {
  const toast = el("div", { class: bad ? "toast bad" : "toast" }, text);
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), bad ? 9000 : 4000);
}

/** Does it, and tells how it ended. */
export async function attempt(work, done) {
  try {
    const value = await work();
    if (done) toast(done(value));
    return value;
  } catch (error) {
    toast(error.message, true);
    return undefined;
  }
}

/** Asks whether to do what `text` says; `extra` are elements below it. */
export function ask(title, text, verb, work, extra = []) {
  const dialog = document.getElementById("ask");
  const close = () => dialog.close();
  const yes = el("button", { class: "primary", type: "button", click: () => { close(); work(); } }, verb);
  dialog.replaceChildren(
    el("h2", {}, title), el("p", {}, text), ...extra,
    el("div", { class: "bar" }, yes, el("button", { type: "button", click: close }, "Cancel")));
  dialog.showModal();
}

export const colour = (broker) => (broker < 0 ? "none" : `c${broker % 8}`);
/** Draws anew by `draw`, and puts the keyboard back on the element that had it, known by `data-key`. */
export function keepingFocus(box, draw) {
  const had = box.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  draw();
  if (had !== undefined) [...box.querySelectorAll("[data-key]")].find((element) => element.dataset.key === had)?.focus({ preventScroll: true });
}

export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
export const moment = (ms) => (ms ? new Date(ms).toLocaleString([], { hour12: false }) : "-");
export const plural = (n, what) => `${n.toLocaleString()} ${what}${n === 1 ? "" : "s"}`;

/** Bytes as a hex dump. */
export function hex(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = bytes.slice(at, at + 16);
    const left = [...row].map((b) => b.toString(16).padStart(2, "0")).join(" ").padEnd(48);
    const right = [...row].map((b) => (b >= 32 && b < 127 ? String.fromCharCode(b) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${left} ${right}`);
  }
  return lines.join("\n");
}

/** Numbers as they are written: scripts would round those of more than 53 bits. */
const exact = (key, value, context) => (typeof value === "number" && JSON.rawJSON && context ? JSON.rawJSON(context.source) : value);

/** Data as the console sends it, shown as `text`, `json` or `hex`. */
export function shown(data, how) {
  if (data.data === undefined && data.data_base64 === undefined) return null;
  const bytes = () => (data.data_base64 !== undefined
    ? Uint8Array.from(atob(data.data_base64), (c) => c.charCodeAt(0))
    : new TextEncoder().encode(data.data));
  let text = data.data;
  if (text === undefined || how === "hex") text = hex(bytes());
  else if (how === "json") {
    try { text = JSON.stringify(JSON.parse(text, exact), null, 2); } catch { /* shown as it is */ }
  }
  const cut = data.length > bytes().length ? `\n… ${plural(data.length, "byte")} in all` : "";
  return text + cut;
}
