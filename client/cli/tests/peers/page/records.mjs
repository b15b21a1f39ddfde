// Records: from an offset, from a time, of a key; text, JSON and hex; followed.
import assert from "node:assert/strict";
import { base, step, zweig } from "./driver.mjs";

export async function read(page) {
  step("records are read and followed");
  zweig(["produce", "seen", "--partition", "1"], "first\nsecond\n");
  await page.goto(`${base}/#records?topic=seen&partition=1&from=earliest`);
  await page.locator("#records tr[data-offset='1']").getByText("second").waitFor();
  await page.locator("#follow").check();
  zweig(["produce", "seen", "--partition", "1"], "<b>third</b>\n");
  await page.locator("#records tr[data-offset='2']").getByText("<b>third</b>").waitFor();

  step("records by time, by key, as JSON and as hex");
  await page.locator("#follow").uncheck();
  const lines = [];
  for (let at = 0; at < 700; at += 1) lines.push(`${at % 350 === 340 ? "rare" : "usual"}:{"number":${at},"long":9007199254740993}`);
  zweig(["produce", "seen", "--partition", "1", "--key-separator", ":"], `${lines.join("\n")}\n`);
  const rows = page.locator("#records tr[data-offset]");
  const offsets = async () => Promise.all((await rows.all()).map((row) => row.getAttribute("data-offset")));
  const again = async (fields) => {
    for (const [label, value] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).fill(value);
    await page.getByRole("button", { name: "Read" }).click();
  };
  await again({ "Key is": "rare", From: "earliest" });
  await page.locator("#records tr[data-offset='343']").waitFor();
  await page.locator("#records tr[data-offset='693']").waitFor();
  assert.deepEqual(await offsets(), ["343", "693"], "two in 703 have that key");
  await page.getByLabel("Show as").selectOption("json");
  await page.locator("#records tr[data-offset='343'] pre").getByText('"number": 340').waitFor();
  await page.locator("#records tr[data-offset='343'] pre").getByText("9007199254740993").waitFor();
  await page.getByLabel("Show as").selectOption("hex");
  await page.locator("#records tr[data-offset='343'] pre").getByText("72 61 72 65").waitFor();
  await page.getByLabel("Show as").selectOption("text");

  await again({ "Key is": "", From: "10 minutes ago", "How many": "5" });
  await page.locator("#records tr[data-offset='4']").waitFor();
  assert.deepEqual(await offsets(), ["0", "1", "2", "3", "4"]);
  await page.getByRole("button", { name: "Go on from offset 5" }).click();
  await page.locator("#records tr[data-offset='9']").waitFor();
  // The time of the first of the 700 is where reading from that time begins.
  const { records: [{ timestamp_ms: time }] } = await (await page.request.get(`${base}/api/records?topic=seen&partition=1&from=3&limit=1`)).json();
  await again({ From: new Date(time).toISOString(), "How many": "1" });
  await page.waitForFunction(() => document.querySelectorAll("#records tr").length === 1);
  assert.deepEqual(await offsets(), ["3"]);
  await again({ From: "2100-01-01" });
  await page.locator("#records .empty").waitFor();
  await again({ From: "soon" });
  assert.equal(await page.locator("#records-from:invalid").count(), 1, "what cannot be understood is not asked for");
}
