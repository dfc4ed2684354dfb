// What the snippet does on a page with a strict policy: joins, asks as told, shows, claims, hints, and tells the page.
import { admitted, asked, assert, axe, browser, calls, done, open, ready, seat, tell, until, visitor } from "./browser.mjs";

const context = await visitor();
await context.addInitScript(() => {
  window.heard = [];
  addEventListener("tidegate", (event) => heard.push(event.detail.state));
});
const banner = (page) => page.locator("body > aside");

await tell({ seat: seat({ position: 3 }) });
const page = await open(context, "/shop");
await calls("join");
await banner(page).waitFor({ state: "visible" });
assert.match(await banner(page).innerText(), /Ahead of you: 3/);
assert.equal(await banner(page).getByRole("button").isVisible(), false);
await page.evaluate(axe);
const found = await page.evaluate(() => axe.run("body > aside"));
assert.deepEqual(found.violations.map((one) => one.id), []);
const polls = await calls("poll", 3);
for (const { after_ms } of polls) assert.ok(after_ms >= 350, `asked ${after_ms} ms after the last answer`);
assert.deepEqual(JSON.parse(polls[0].body), { pass: null, ticket: "v1.ticket" });

// Before a draw, it has no place.
await tell({ seat: seat({ room_state: "scheduled", position: null, queue_number: 1 }) });
await until("it says that places are drawn", async () => /^Places by lot\s*$/.test(await banner(page).innerText()));

await tell({ seat: ready() });
await banner(page).getByRole("button", { name: "Go in" }).click();
await until("it is in", async () => /Time left: 0:\d\d/.test(await banner(page).innerText()));
await until("it says that it is there with its pass, and with the ticket that tells what became of it", async () =>
  (await asked()).some((one) => one.call === "heartbeat" && one.body === '{"pass":"v1.pass","ticket":"v1.ticket"}'));
assert.deepEqual([...new Set(await page.evaluate(() => window.heard))], ["waiting", "ready", "admitted"]);

// Another tab has the same time, and goes without taking the seat along.
const other = await open(context, "/shop");
await until("the other tab has it", async () => /Time left/.test(await banner(other).innerText()));
// No heartbeat is due for long: the one that comes answers the other tab.
await tell({ seat: admitted(30000, 600000) });
await calls("heartbeat");
await until("both are told", async () => /0:[23]\d/.test(await banner(other).innerText()));
await tell({ seat: admitted(30000, 600000) });
await other.goto("about:blank");
assert.deepEqual(JSON.parse((await calls("leave"))[0].body), { hint: true, pass: "v1.pass", ticket: "v1.ticket" });
await calls("heartbeat");

// Nobody answers: it asks less and less, and goes on when somebody does.
await tell({ seat: admitted(30000) });
await page.reload();
await calls("join");
await tell({ status: 503 });
await calls("heartbeat", 2);
await tell({ seat: seat({ state: "ended", why: "session_limit" }) });
await until("it is over", async () => /Time is over/.test(await banner(page).innerText()));
await done(context);
await browser.close();
console.log("all is as promised");
