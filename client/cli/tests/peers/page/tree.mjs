// Znodes: made, set, refused, deleted; and what happened to them.
import assert from "node:assert/strict";
import { answer, base, exitCode, step, told, zweig } from "./driver.mjs";

const made = "/m%41de?#&ä";

export async function change(page) {
  step("a znode is created, set, refused and deleted");
  await page.goto(`${base}/#tree?path=/`);
  await page.getByRole("button", { name: "Create a child" }).click();
  await page.locator("#ask").getByLabel("Name").fill(made.slice(1));
  await page.locator("#ask").getByLabel("Data").fill("one");
  await answer(page);
  await page.locator("#children").getByRole("link", { name: made.slice(1) }).click();
  await page.locator("#data").getByText("one").waitFor();
  assert.equal(zweig(["get", made]).trim(), "one");
  await page.getByRole("button", { name: "Set data" }).click();
  await page.locator("#ask").getByText("version 0").waitFor();
  zweig(["set", made, "two"]);
  await page.locator("#data").getByText("two").waitFor();
  await answer(page);
  const refused = page.locator(".toast.bad");
  await refused.waitFor();
  assert.match(await refused.textContent(), /version/);
  assert.equal(zweig(["get", made]).trim(), "two", "what was read at a former version is not written over");
  await page.reload();
  await page.locator("#data").getByText("two").waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await answer(page);
  await page.waitForFunction(() => decodeURIComponent(location.hash) === "#tree?path=/");
  assert.equal(exitCode(["get", made]), 3, "it is gone");
}

export async function live(page) {
  step("a znode that changes, gets children or goes is drawn anew, without anybody asking");
  zweig(["create", "/live", "one"]);
  await page.goto(`${base}/#tree?path=/live`);
  await page.locator("#data").getByText("one").waitFor();
  zweig(["set", "/live", "two"]);
  await page.locator("#data").getByText("two").waitFor();
  await page.getByRole("button", { name: "Something happened since" }).click();
  await page.locator("#history li").nth(1).waitFor();
  zweig(["create", "/live/child"]);
  await page.locator("#children").getByRole("link", { name: "child" }).waitFor();
  zweig(["delete", "/live", "--recursive"]);
  await page.getByText("There is no such znode").waitFor();
  zweig(["create", "/live", "again"]);
  await page.locator("#data").getByText("again").waitFor();
  // Whoever has filtered keeps what they look at.
  for (const name of ["apple", "pear"]) zweig(["create", `/live/${name}`]);
  await page.locator("#children").getByRole("link", { name: "pear" }).waitFor();
  await page.getByLabel("Filter children").fill("app");
  await page.keyboard.press("Enter");
  await page.locator("#children").getByRole("link", { name: "pear" }).waitFor({ state: "detached" });
  zweig(["create", "/live/plum"]);
  await page.getByText("3 children").waitFor();
  assert.equal(await page.locator("#children li").count(), 1);
}

export async function history(page) {
  step("what happened to a znode is told, also when it is gone");
  await page.goto(`${base}/#tree?${new URLSearchParams({ path: made })}`);
  const changes = page.locator("#history li");
  await page.getByText("There is no such znode").waitFor();
  await changes.nth(2).waitFor();
  const kinds = await changes.locator(".badge").allTextContents();
  assert.deepEqual(kinds, ["deleted", "data set", "created"], "newest first");
  const zxids = await Promise.all((await changes.all()).map(async (change) => Number(await change.getAttribute("data-zxid"))));
  assert.deepEqual(zxids, told(["history", made]).map((change) => change.zxid).reverse());
  assert.equal(await changes.nth(0).locator(".diff .gone").textContent(), "- two\n", "the newest is open");
  // By keyboard, as everything else.
  await changes.nth(1).locator("summary").focus();
  await page.keyboard.press("Enter");
  await changes.nth(1).locator(".diff .new").waitFor();
  assert.deepEqual(await changes.nth(1).locator(".diff span").allTextContents(), ["- one\n", "+ two\n"]);

  zweig(["create", "/told", '{"kept":"<i>as it is</i>","retries":3}']);
  zweig(["set", "/told", '{"kept":"<i>as it is</i>","retries":4}']);
  await page.goto(`${base}/#tree?path=/told`);
  await changes.nth(1).waitFor();
  assert.deepEqual(await changes.nth(0).locator(".diff span").allTextContents(),
    ["  {\n", '    "kept": "<i>as it is</i>",\n', '-   "retries": 3\n', '+   "retries": 4\n', "  }\n"], "JSON is spread out");
  await page.goto(`${base}/#tree?path=/brokers/ids/1`);
  await page.locator("#history").getByText("by broker 1").waitFor();
  const session = `0x${BigInt(zweig(["stat", "/brokers/ids/1", "--output", "json"]).match(/"ephemeral_owner":(\d+)/)[1]).toString(16)}`;
  await page.locator("#znode").getByText(`with session ${session}`).waitFor();
  await page.locator("#history").getByText(`session ${session}`).waitFor();
}
