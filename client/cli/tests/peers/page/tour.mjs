// The guided tour, which kills a broker.
import assert from "node:assert/strict";
import { base, step, told } from "./driver.mjs";

export async function tour(page) {
  step("the tour, with a broker that dies");
  await page.goto(`${base}/#overview`);
  await page.locator("#tour-button").click();
  const tour = page.locator("#tour");
  const steps = Number((await tour.locator("h2").textContent()).match(/\/(\d+)/)[1]);
  await tour.getByRole("button", { name: "한국어" }).click();
  await tour.getByText("브로커와 클러스터").waitFor();
  await tour.getByRole("button", { name: "English" }).click();
  for (let at = 1; at < steps; at += 1) {
    await page.locator(".lit").first().waitFor();
    if (await tour.getByRole("button", { name: "Kill a broker" }).count()) await killed(page, tour);
    await tour.getByRole("button", { name: "Next" }).click();
    await tour.getByRole("heading", { name: `${at + 1}/${steps}` }).waitFor();
  }
  await tour.getByRole("button", { name: "End" }).click();
}

async function killed(page, tour) {
  const before = Date.now();
  await tour.getByRole("button", { name: "Kill a broker" }).click();
  await page.locator("[data-broker].gone").waitFor();
  await page.locator("#stories").getByText(/broker \d leads .* that broker \d led/).first().waitFor();
  console.log(`page: the fail-over was seen after ${Date.now() - before} ms`);
  const gone = Number(await page.locator("[data-broker].gone").getAttribute("data-broker"));
  const led = told(["topic", "describe", "seen"]).partitions;
  assert.ok(led.every((p) => p.leader !== gone), "the tools see it too");
  await tour.getByRole("button", { name: "Start it again" }).click();
  await page.locator("[data-broker].gone").waitFor({ state: "detached" });
  await page.locator("#stories").getByText(/is in sync again/).first().waitFor();
}
