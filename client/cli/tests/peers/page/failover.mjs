// How soon a new leader is on the page after the former one's process was killed.
import assert from "node:assert/strict";
import { answer, base, order, step, told } from "./driver.mjs";

/** A change of the ensemble is on the page within this time. */
const SHOWN_MS = 1_000;

/** Resolves, in the page, with the new leader and the moment at which the row of the partition first showed it. */
const nextLeader = (page, index) => page.evaluate((index) => {
  const leader = () => document.querySelector(`#topic tr[data-partition='${index}'] td:nth-child(2)`)?.textContent;
  const was = leader();
  window.nextLeader = new Promise((done) => {
    const look = () => {
      const is = leader();
      if (is && is !== was && is.startsWith("broker ")) done({ was, is, at: Date.now() });
    };
    new MutationObserver(look).observe(document.getElementById("view"), { childList: true, subtree: true, characterData: true });
  });
  return was;
}, index);

/*
 * What is asserted is the time from the ensemble's change, as its history dates the transaction that made the new leader,
 * to the DOM's change, as an observer of mutations sees it. Browser and coordinators read the same machine's clock. It
 * covers the transaction's way to the disks of a majority, the watch stream, the console and the page: all that the page
 * adds to a fail-over. Kill to page is printed and not asserted: before that transaction the ensemble waits, for as long
 * as it is configured to, whether the broker comes back, and that waiting is no matter of the page.
 */
export async function leaderChanges(page) {
  step("a killed leader's partition has another leader on the page, and why");
  await page.goto(`${base}/#topics?topic=seen`);
  await page.locator("#topic tr[data-partition='0']").waitFor();
  await page.getByRole("button", { name: "Why, partition 0" }).click();
  const why = page.locator("#topic tr[data-why='0']");
  await why.getByText(/^created: broker \d leads/).waitFor();
  const steps = await why.locator("li").count();
  assert.equal(steps, told(["topic", "explain", "seen", "0"]).steps.length, "as zweig topic explain has them");

  const former = (await nextLeader(page, 0)).replace("broker ", "");
  const killed = Date.now();
  await order(page, `kill broker ${former}`);
  const shown = await page.evaluate(() => window.nextLeader);
  const changes = told(["history", "/brokers/topics/seen/partitions/0/state"]);
  const change = changes.find((one) => one.time_ms >= killed && JSON.parse(one.after.data).leader === Number(shown.is.replace("broker ", "")));
  assert.ok(change, `the history has what the page shows: ${JSON.stringify(changes.at(-1))}`);
  const [byPage, all] = [shown.at - change.time_ms, shown.at - killed];
  console.log(`page: the new leader was on the page ${byPage} ms after the ensemble's change, ${all} ms after the kill`);
  assert.ok(byPage >= 0 && byPage <= SHOWN_MS, `${byPage} ms from the ensemble's change to the page's`);

  // The opened row tells the new story by itself, and its button still has the keyboard.
  await why.getByText(`leader: ${shown.was} → ${shown.is}`).waitFor();
  await why.getByText(`broker ${former} died or could not be reached`).first().waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Why, partition 0");
  await page.goto(`${base}/#tree?path=/brokers/topics/seen/partitions/0/state`);
  await page.locator(`#history li[data-zxid='${change.zxid}']`).getByText(/by broker \d/).waitFor();
  await order(page, `start broker ${former}`);
  await page.goto(`${base}/#topics?topic=seen`);
  await page.waitForFunction(() => document.querySelectorAll("#topic tr[data-partition]").length === 3 && !document.querySelector("#topic .chip.out"));

  step("the preferred replicas lead again when asked for");
  await page.getByRole("button", { name: "Preferred leaders" }).click();
  await page.getByText(/is led by another replica|are led by another replica/).waitFor();
  await answer(page);
  await page.waitForFunction(() => [...document.querySelectorAll("#topic tr[data-partition]")].every((row) => row.querySelector(".chip").classList.contains("lead")));
  for (const partition of told(["topic", "describe", "seen"]).partitions) assert.equal(partition.leader, partition.replicas[0], "as zweig topic describe has it");
}
