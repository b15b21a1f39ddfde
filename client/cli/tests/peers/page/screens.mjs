// Every view on a desk and on a phone, in light and dark: nothing is wider than the screen.
import assert from "node:assert/strict";
import { base, step } from "./driver.mjs";

const views = ["overview", "topics?topic=seen", "groups", "tree?path=/brokers", "tree?path=/told", "records?topic=seen&partition=1&from=earliest"];

export async function fit(page) {
  step("it is readable on a phone, and by keyboard");
  await page.keyboard.press("4");
  await page.locator("#znode").waitFor();
  for (const [at, view] of views.entries()) {
    const name = view.split("?")[0];
    for (const [width, scheme] of [[1280, "light"], [1280, "dark"], [390, "light"], [390, "dark"]]) {
      await page.setViewportSize({ width, height: width === 390 ? 844 : 900 });
      await page.emulateMedia({ colorScheme: scheme });
      await page.goto(`${base}/#${view}`);
      await page.locator(`main[data-view=${name}]`).waitFor();
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${view} at ${width} is ${over} pixels too wide`);
      if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${at}-${name}-${width}-${scheme}.png` });
    }
  }
}
