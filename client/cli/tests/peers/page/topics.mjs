// Topics: creating one, and its leaders.
import assert from "node:assert/strict";
import { answer, base, step, told } from "./driver.mjs";

export async function create(page) {
  step("a topic is created");
  await page.goto(`${base}/#topics`);
  await page.locator("#create-topic").click();
  await page.locator("#new-topic").fill("seen");
  await page.getByLabel("Replication factor").fill("2");
  await answer(page);
  await page.getByRole("link", { name: "seen", exact: true }).click();
  await page.locator("#topic tr[data-partition='2']").waitFor();
  const rows = await page.locator("#topic tr[data-partition]").all();
  const leaders = await Promise.all(rows.map((row) => row.locator("td").nth(1).textContent()));
  const described = told(["topic", "describe", "seen"]);
  assert.deepEqual(leaders, described.partitions.map((p) => `broker ${p.leader}`), "leaders as zweig topic describe has them");
}
