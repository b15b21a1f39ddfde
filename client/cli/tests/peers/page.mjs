// Drives the console's page in a real browser: Debian's Chromium by Playwright. `page/driver.mjs` says what it wants to be
// told. Ends with what is wrong, or prints "well".
import assert from "node:assert/strict";
import { base, open, step } from "./page/driver.mjs";
import * as topics from "./page/topics.mjs";
import * as records from "./page/records.mjs";
import * as tree from "./page/tree.mjs";
import { tour } from "./page/tour.mjs";
import { leaderChanges } from "./page/failover.mjs";
import { fit } from "./page/screens.mjs";
import { stays } from "./page/large.mjs";

const { browser, page, wrong } = await open();

step("it shows the cluster");
await page.goto(`${base}/`);
await page.locator("[data-coordinator]").nth(2).waitFor();
await page.locator("[data-broker]").nth(1).waitFor();
await page.getByText("live", { exact: true }).waitFor();

await topics.create(page);
await records.read(page);
await tree.change(page);
await tree.live(page);
await tree.history(page);
await leaderChanges(page);
await tour(page);
await fit(page);
await stays(page);

assert.deepEqual(wrong, []);
await browser.close();
console.log("well");
