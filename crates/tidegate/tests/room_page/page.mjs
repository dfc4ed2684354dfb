// What the page does: asks as told, one tab for all, keeps what it knows, claims, leaves, hints.
import { admitted, asked, assert, base, browser, calls, done, open, ready, seat, tell, until, visitor } from "./browser.mjs";

const part = (page, name) => page.locator(`[data-tg="${name}"]`);

async function asksAsToldAndOneTabForAll() {
  await tell({ seat: seat() });
  const context = await visitor();
  const [one, other] = [await open(context), await open(context)];
  await calls("poll", 2);
  await tell({ seat: seat({ position: 7 }) });
  const polls = await calls("poll", 8);
  // The first was scheduled before the log began.
  for (const { after_ms } of polls.slice(1)) assert.ok(after_ms >= 350, `asked ${after_ms} ms after the last answer`);
  for (const page of [one, other]) await until("both tabs show it", async () => (await part(page, "position").textContent()) === "7");
  assert.equal(await one.title(), "(7) You are in line – Demo Shop");
  // Nobody is sent back, and ears are left in peace.
  await tell({ seat: seat({ position: 9 }) });
  await calls("poll", 3);
  assert.equal(await part(one, "position").textContent(), "7");
  assert.equal(await part(one, "said").textContent(), "");
  await done(context);
}

async function keepsWhatItKnowsWhenNobodyAnswers() {
  await tell({ seat: seat({ position: 7 }) });
  const context = await visitor();
  const page = await open(context);
  await calls("poll", 1);
  await tell({ status: 503 });
  await part(page, "connection").waitFor({ state: "visible" });
  assert.equal(await part(page, "position").textContent(), "7");
  assert.match(await part(page, "said").textContent(), /no connection/);
  await tell({ seat: seat({ position: 6 }) });
  await part(page, "connection").waitFor({ state: "hidden" });
  assert.equal(await part(page, "position").textContent(), "6");
  await done(context);
}

// A node that has just started does not have the room yet; one that is gone for minutes is gone.
async function aRoomThatIsNotThereForAMomentComesBack() {
  await tell({ seat: seat({ position: 7 }) });
  const context = await visitor();
  await context.clock.install();
  const page = await open(context);
  const passes = async (what, wanted) => until(what, async () => {
    await page.clock.runFor(1000);
    return wanted();
  });
  await tell({ status: 404 });
  await passes("it is asked again", async () => (await asked()).length >= 2);
  assert.equal(await part(page, "position").textContent(), "7");
  await tell({ seat: seat({ position: 6 }) });
  await passes("it is there again", async () => (await part(page, "position").textContent()) === "6");
  await tell({ status: 404 });
  await passes("it is gone", async () => page.locator('main[data-tg-stage="error"]').isVisible());
  await done(context);
}

// The address that people copy is that of the room. Without cookies a page knows its place by being loaded again.
async function theAddressIsForAnybody() {
  await tell({ seat: seat({ position: 7 }) });
  const context = await visitor();
  const page = await open(context, "/rooms/demo?return_to=/shop&seen=1-a");
  await calls("poll", 1);
  assert.equal(page.url(), `${base}/rooms/demo?return_to=%2Fshop`);
  await done(context);
  await tell({ seat: seat({ position: 5 }), status: 410 });
  const without = await visitor();
  const deaf = await without.newPage();
  let loads = 0;
  deaf.on("load", () => { loads += 1; });
  await deaf.goto(`${base}/rooms/demo?seen=1-a`);
  await until("it is loaded again", async () => loads === 2);
  // The stand-in did not send it away to see whether it keeps cookies, as the server does each time.
  await deaf.getByRole("heading", { name: "Your place has lapsed" }).waitFor();
  await done(without);
}

async function claimsByKeyboard() {
  await tell({ seat: seat() });
  const context = await visitor();
  const page = await open(context);
  await page.locator("summary").focus();
  await tell({ seat: ready() });
  const claim = page.getByRole("button", { name: "Go in now" });
  await claim.waitFor({ state: "visible" });
  assert.match(await part(page, "called").textContent(), /^It is your turn/);
  // What had the focus is gone: it is at the headline, from where the next thing is the button.
  assert.equal(await page.evaluate(() => document.activeElement.dataset.tg), "headline");
  await page.getByRole("button", { name: "I need more time" }).press("Enter");
  assert.deepEqual(JSON.parse((await calls("claim"))[0].body), { extend: true });
  await calls("heartbeat");
  await claim.focus();
  await page.keyboard.press("Enter");
  await page.waitForURL("**/shop");
  // It went on by itself: that is not leaving.
  assert.ok(!(await asked()).some((one) => one.call === "leave"));
  await done(context);
}

async function worksWithoutScripts() {
  await tell({ seat: ready() });
  const context = await visitor({ javaScriptEnabled: false });
  const page = await open(context);
  assert.equal(await page.locator('noscript meta[http-equiv="refresh"]').getAttribute("content"), "5");
  await page.getByRole("button", { name: "Go in now" }).click();
  await page.getByRole("heading", { name: "You are in" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "Continue to Demo Shop" }).getAttribute("href"), "/shop");
  await done(context);
}

async function lastTabOfASessionHints() {
  await tell({ seat: admitted(30000) });
  const context = await visitor();
  const [one, other] = [await open(context), await open(context)];
  const before = await calls("heartbeat", 3);
  await one.close({ runBeforeUnload: true });
  await calls("heartbeat", before.length + 3);
  assert.ok(!(await asked()).some((call) => call.call === "leave"), "a tab is open");
  await other.goto("about:blank");
  assert.deepEqual(JSON.parse((await calls("leave"))[0].body), { hint: true });
  await done(context);
}

async function warnsLeavesAndJoinsAgain() {
  await tell({ seat: admitted(9000) });
  const context = await visitor();
  const page = await open(context);
  await part(page, "warning").waitFor({ state: "visible" });
  assert.match(await part(page, "called").textContent(), /nearly over/);
  await page.getByRole("button", { name: "I am done: leave" }).click();
  await page.getByRole("heading", { name: "You have left" }).waitFor();
  assert.deepEqual(JSON.parse((await calls("leave"))[0].body), {});
  await tell({ seat: seat({ position: 99 }) });
  await page.getByRole("button", { name: "Join the line again" }).click();
  await until("it waits again", async () => (await part(page, "position").textContent()) === "99");
  await tell({ status: 410 });
  await page.getByRole("heading", { name: "Your place has lapsed" }).waitFor();
  await done(context);
}

// Before a draw, the first to come would take 1 for a place.
async function saysThatPlacesAreDrawn() {
  const drawn = seat({ room_state: "scheduled", opens_at: Date.now() / 1000 + 1e6, position: null, queue_number: 1 });
  await tell({ seat: drawn });
  const context = await visitor();
  const page = await open(context);
  await calls("poll", 2);
  assert.match(await page.locator("main").innerText(), /gets a place by lot/);
  assert.equal(await part(page, "queue_number").isVisible(), false);
  await tell({ seat: seat({ queue_number: 1, position: 99 }) });
  await part(page, "queue_number").waitFor({ state: "visible" });
  assert.equal(await part(page, "queue_number").textContent(), "Your number: 1");
  await done(context);
}

for (const check of [
  asksAsToldAndOneTabForAll, keepsWhatItKnowsWhenNobodyAnswers, claimsByKeyboard, worksWithoutScripts, lastTabOfASessionHints,
  warnsLeavesAndJoinsAgain, saysThatPlacesAreDrawn, aRoomThatIsNotThereForAMomentComesBack, theAddressIsForAnybody,
]) {
  console.log(check.name);
  await check();
}
await browser.close();
console.log("all is as promised");
