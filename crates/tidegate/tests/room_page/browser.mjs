// What the scripts beside this one share: the browser, seats, and the stand-in for the API.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import path from "node:path";

const modules = path.resolve(process.env.TEST_BROWSER_NPM);
const require = createRequire(path.join(modules, "package.json"));
const { chromium } = require("playwright-core");

export const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
export const base = process.argv[2];
export { assert };

// Longer than anything takes on a busy machine.
export const deadline = 150000;

export const browser = await chromium.launch({
  executablePath: process.env.TEST_CHROMIUM_BIN || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});

// A seat in the line, with some members changed.
export const seat = (changes) => ({
  room: "demo", state: "waiting", why: null, room_state: "open", ticket: "v1.ticket", queue_number: 4812, position: 1234,
  waiting: 2000, serving_number: 3578, estimated_wait: { from_s: 900, to_s: 1500, reason: null }, progress: 0.42,
  opens_at: null, message: null, poll_after_ms: 400, claim: null, session: null, pass: null, return_to: "/shop", ...changes,
});

export const ready = (changes) =>
  seat({ state: "ready", position: 0, claim: { ends_at: 0, left_ms: 20000, extensions_left: 2, ...changes } });

// A session of 40 s with so much left.
export const admitted = (left_ms, heartbeat_ms = 400) => seat({
  state: "admitted",
  pass: "v1.pass",
  session: { started_at: 0, ends_at: 40, left_ms, idle_ms: 15000, heartbeat_ms, renewable: false },
});

export const tell = (told) => fetch(base + "/told", { method: "POST", body: JSON.stringify(told) });
export const asked = async () => (await fetch(base + "/asked")).json();

export async function until(what, wanted) {
  const end = Date.now() + deadline;
  while (Date.now() < end) {
    const found = await wanted();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("did not happen: " + what);
}

export const calls = (name, count = 1) => until(`${count} calls of ${name}`, async () => {
  const found = (await asked()).filter((one) => one.call === name);
  return found.length >= count ? found : null;
});

// A browser of its own, whose pages may not complain of anything but answers that the test asked for.
export async function visitor(options = {}) {
  const context = await browser.newContext({ locale: "en-GB", reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(deadline);
  context.complaints = [];
  context.on("weberror", (error) => context.complaints.push(String(error.error())));
  context.on("console", (message) => {
    const isAnswer = /status of [45]\d\d|ERR_/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !isAnswer) context.complaints.push(message.text());
  });
  return context;
}

export async function open(context, where = "/rooms/demo") {
  const page = await context.newPage();
  await page.goto(base + where);
  return page;
}

export const [phone, desktop] = [{ width: 390, height: 844 }, { width: 1280, height: 800 }];

// Nothing that axe finds, and nothing beyond the edge.
export async function isAccessible(page, place) {
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wider <= 0, `${place} is ${wider} px too wide`);
  await page.evaluate(axe);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const found = await page.evaluate((runOnly) => axe.run(document, { runOnly }), tags);
  const said = found.violations.map((one) => `${one.impact} ${one.id}: ${one.nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(said, [], place);
}

export async function done(context) {
  assert.deepEqual(context.complaints, []);
  await context.close();
}
