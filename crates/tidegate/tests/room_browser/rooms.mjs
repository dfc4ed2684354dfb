// What the scripts beside this one share: rooms, visitors who take seats, and what pages show.
import { assert, base, browser, deadline, done, open, until, visitor } from "../room_page/browser.mjs";

const [admin, token] = process.argv.slice(3);

// Seats are given up only if somebody wants it: for tests in which time is no matter.
export const lasting = { limit: "1h", idle: "1h", early_end: "frees_seat" };
// As the shipped rules have it for the demo.
export const demo = (await operate("GET", "/rooms/demo")).definition;

// What an operator asks.
export async function operate(method, path, body) {
  const answer = await fetch(admin + "/admin/v1" + path, {
    method,
    headers: { authorization: "Bearer " + token, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const said = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${said}`);
  return JSON.parse(said);
}

// A room of one seat, or as `changes` say.
export const room = (name, changes) => operate("PUT", "/rooms/" + name, {
  title: "Demo shop", capacity: 1, release_rate: "100/s", session: lasting, ...changes, name,
});

export const put = (name, state) => operate("POST", `/rooms/${name}/state`, { state });
export const status = async (name) => (await fetch(`${base}/v1/rooms/${name}/status`)).json();

// A call of a browser's, with its cookies, and without a page.
export async function call(context, name, what, data = {}) {
  const answer = await context.request.post(`${base}/v1/rooms/${name}/${what}`, { data });
  return answer.status() === 204 ? null : answer.json();
}

// Somebody who is inside and does nothing.
export async function occupant(name) {
  const context = await visitor();
  assert.equal((await call(context, name, "join")).state, "admitted");
  return context;
}

export const part = (page, name) => page.locator(`[data-tg="${name}"]`);
export const stage = (page) => page.locator("main").getAttribute("data-tg-stage");

// Waits until a page shows a stage; how long it took, in milliseconds.
export async function becomes(page, wanted) {
  const from = Date.now();
  await page.locator(`main[data-tg-stage="${wanted}"]`).waitFor({ timeout: deadline });
  return Date.now() - from;
}

// A page of a site that holds a seat by itself: the demo's policy, another room.
export async function shop(context, name) {
  const address = `${base}/shop-of/${name}`;
  await context.route(address, (route) => route.fulfill({
    contentType: "text/html",
    headers: { "content-security-policy": "default-src 'none'; script-src 'self'; connect-src 'self'" },
    body: `<!doctype html><html lang="en"><title>Shop</title><main><h1>Shop</h1></main><script src="/tidegate.js" data-room="${name}" defer></script>`,
  }));
  const page = await context.newPage();
  await page.goto(address);
  return page;
}

export const banner = (page) => page.locator("body > aside");

// Runs checks, some beside each other; says how long each took, and what of all is not as promised.
export async function all(atOnce, ...checks) {
  const [waiting, failed] = [[...checks], []];
  const next = async () => {
    for (let check = waiting.shift(); check; check = waiting.shift()) {
      const from = Date.now();
      await check().catch((error) => failed.push(error));
      console.log(`${check.name}: ${((Date.now() - from) / 1000).toFixed(1)} s`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, next));
  await browser.close();
  for (const error of failed) console.error(error);
  if (failed.length) process.exit(1);
  console.log("all is as promised");
}

export { assert, base, browser, done, open, until, visitor };
