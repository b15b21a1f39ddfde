// What all steps of the page's test share. Told as environment: PAGE (the page's address), PLAYWRIGHT (where that package
// is), CHROMIUM, ZWEIG (the binary; ZWEIG_SERVER and ZWEIG_BOOTSTRAP say where the cluster is), SHOTS (a folder for
// pictures, or nothing).
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { pathToFileURL } from "node:url";

const { chromium } = await import(pathToFileURL(`${process.env.PLAYWRIGHT}/index.mjs`).href);

export const base = process.env.PAGE;
export const PATIENCE = 60_000;
export const step = (name) => console.log(`page: ${name}`);

/** What the tool prints. */
export function zweig(args, input = "") {
  const ran = spawnSync(process.env.ZWEIG, args, { input, encoding: "utf8", maxBuffer: 1 << 26 });
  assert.equal(ran.status, 0, `zweig ${args.join(" ")}: ${ran.stderr}`);
  return ran.stdout;
}

/** With `--output json`. */
export const told = (args) => JSON.parse(zweig([...args, "--output", "json"]));

/** Its exit code. */
export const exitCode = (args) => spawnSync(process.env.ZWEIG, args).status;

/** Says yes to the question the page asks. */
export const answer = (page) => page.locator("#ask .primary").click();

/** An order to `zweig dev`, sent as the page's buttons do. */
export const order = (page, line) => page.evaluate(async (line) => {
  const { api } = await import("/assets/dom.js");
  return api("POST", "/api/orders", line);
}, line);

/** A page that notes whatever it should not do in `wrong`. */
export async function open() {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB" });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("requestfailed", (request) => { if (!request.url().includes("/api/")) wrong.push(`failed: ${request.url()}`); });
  page.on("request", (request) => { if (!request.url().startsWith(base) && !request.url().startsWith("data:")) wrong.push(`foreign: ${request.url()}`); });
  return { browser, page, wrong };
}
