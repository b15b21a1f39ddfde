// Drives the console's page in a real browser: Debian's Chromium by Playwright. Told as environment: PAGE (its address),
// PLAYWRIGHT (where the package is), ZWEIG (the binary; ZWEIG_SERVER and ZWEIG_BOOTSTRAP say where the cluster is),
// SHOTS (a folder for pictures, or nothing). Ends with what is wrong, or prints "well".
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { pathToFileURL } from "node:url";

const { chromium } = await import(pathToFileURL(`${process.env.PLAYWRIGHT}/index.mjs`).href);
const page0 = process.env.PAGE;
const PATIENCE = 60_000;

function zweig(args, input = "") {
  const ran = spawnSync(process.env.ZWEIG, args, { input, encoding: "utf8" });
  assert.equal(ran.status, 0, `zweig ${args.join(" ")}: ${ran.stderr}`);
  return ran.stdout;
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB" });
context.setDefaultTimeout(PATIENCE);
const page = await context.newPage();
const wrong = [];
page.on("pageerror", (error) => wrong.push(String(error)));
page.on("requestfailed", (request) => { if (!request.url().includes("/api/")) wrong.push(`failed: ${request.url()}`); });
page.on("request", (request) => { if (!request.url().startsWith(page0) && !request.url().startsWith("data:")) wrong.push(`foreign: ${request.url()}`); });
const step = (name) => console.log(`page: ${name}`);
const answer = () => page.locator("#ask .primary").click();

step("it shows the cluster");
await page.goto(`${page0}/`);
await page.locator("[data-coordinator]").nth(2).waitFor();
await page.locator("[data-broker]").nth(1).waitFor();
await page.getByText("live", { exact: true }).waitFor();

step("a topic is created");
await page.goto(`${page0}/#topics`);
await page.locator("#create-topic").click();
await page.locator("#new-topic").fill("seen");
await page.getByLabel("Replication factor").fill("2");
await answer();
await page.getByRole("link", { name: "seen", exact: true }).click();
await page.locator("#topic tr[data-partition='2']").waitFor();
const leaders = async () => {
  const rows = await page.locator("#topic tr[data-partition]").all();
  return Promise.all(rows.map(async (row) => (await row.locator("td").nth(1).textContent()).replace("broker ", "")));
};
const told = JSON.parse(zweig(["topic", "describe", "seen", "--output", "json"]));
assert.deepEqual(await leaders(), told.partitions.map((p) => String(p.leader)), "leaders as zweig topic describe has them");

step("records are read and followed");
zweig(["produce", "seen", "--partition", "1"], "first\nsecond\n");
await page.goto(`${page0}/#records?topic=seen&partition=1&from=earliest`);
await page.locator("#records tr[data-offset='1']").getByText("second").waitFor();
await page.locator("#follow").check();
zweig(["produce", "seen", "--partition", "1"], "<b>third</b>\n");
await page.locator("#records tr[data-offset='2']").getByText("<b>third</b>").waitFor();

step("a znode is created, set, refused and deleted");
const made = "/m%41de?#&ä";
await page.goto(`${page0}/#tree?path=/`);
await page.getByRole("button", { name: "Create a child" }).click();
await page.locator("#ask").getByLabel("Name").fill(made.slice(1));
await page.locator("#ask").getByLabel("Data").fill("one");
await answer();
await page.locator("#children").getByRole("link", { name: made.slice(1) }).click();
await page.locator("#data").getByText("one").waitFor();
assert.equal(zweig(["get", made]).trim(), "one");
zweig(["set", made, "two"]);
await page.getByRole("button", { name: "Set data" }).click();
await answer();
await page.locator(".toast.bad").getByText("version").waitFor();
assert.equal(zweig(["get", made]).trim(), "two", "what was read at a former version is not written over");
await page.reload();
await page.locator("#data").getByText("two").waitFor();
await page.getByRole("button", { name: "Delete" }).click();
await answer();
await page.waitForFunction(() => decodeURIComponent(location.hash) === "#tree?path=/");
assert.equal(spawnSync(process.env.ZWEIG, ["get", made]).status, 3, "it is gone");

step("the tour, with a broker that dies");
await page.goto(`${page0}/#overview`);
await page.locator("#tour-button").click();
const tour = page.locator("#tour");
const steps = Number((await tour.locator("h2").textContent()).match(/\/(\d+)/)[1]);
await tour.getByRole("button", { name: "한국어" }).click();
await tour.getByText("브로커와 클러스터").waitFor();
await tour.getByRole("button", { name: "English" }).click();
for (let at = 1; at < steps; at += 1) {
  await page.locator(".lit").first().waitFor();
  const kill = tour.getByRole("button", { name: "Kill a broker" });
  if (await kill.count()) {
    const before = Date.now();
    await kill.click();
    await page.locator("[data-broker].gone").waitFor();
    await page.locator("#stories").getByText(/broker \d leads .* that broker \d led/).first().waitFor();
    console.log(`page: the fail-over was seen after ${Date.now() - before} ms`);
    const gone = Number(await page.locator("[data-broker].gone").getAttribute("data-broker"));
    const led = JSON.parse(zweig(["topic", "describe", "seen", "--output", "json"])).partitions;
    assert.ok(led.every((p) => p.leader !== gone), "the tools see it too");
    await tour.getByRole("button", { name: "Start it again" }).click();
    await page.locator("[data-broker].gone").waitFor({ state: "detached" });
    await page.locator("#stories").getByText(/is in sync again/).first().waitFor();
  }
  await tour.getByRole("button", { name: "Next" }).click();
  await tour.getByRole("heading", { name: `${at + 1}/${steps}` }).waitFor();
}
await tour.getByRole("button", { name: "End" }).click();

step("it is readable on a phone, and by keyboard");
await page.keyboard.press("4");
await page.locator("#znode").waitFor();
for (const view of ["overview", "topics?topic=seen", "groups", "tree?path=/brokers", "records?topic=seen&partition=1&from=earliest"]) {
  for (const [width, scheme] of [[1280, "light"], [1280, "dark"], [390, "light"], [390, "dark"]]) {
    await page.setViewportSize({ width, height: width === 390 ? 844 : 900 });
    await page.emulateMedia({ colorScheme: scheme });
    await page.goto(`${page0}/#${view}`);
    await page.locator(`main[data-view=${view.split("?")[0]}]`).waitFor();
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(over <= 0, `${view} at ${width} is ${over} pixels too wide`);
    if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${view.split("?")[0]}-${width}-${scheme}.png` });
  }
}
assert.deepEqual(wrong, []);
await browser.close();
console.log("well");
