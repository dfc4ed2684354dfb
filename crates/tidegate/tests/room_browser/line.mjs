// Six visitors and five seats: who goes makes room for the sixth within 15 s, however it goes; a session ends at 40.0 s.
import { all, assert, banner, base, becomes, call, demo, done, open, part, room, shop, status, visitor } from "./rooms.mjs";

// As the shipped rules have it: what is promised of the demo.
const most_ms = 15000;
const session_ms = 40000;
const slack_ms = 500;
const { return_to, ...likeDemo } = demo;

// When a page first shows a stage, by this machine's clock, in milliseconds.
const watchStage = () => {
  window.shown = {};
  const look = () => {
    const stage = document.querySelector("main[data-tg-stage]")?.dataset.tgStage;
    if (stage) window.shown[stage] ??= Date.now();
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
  addEventListener("tidegate", (event) => { window.shown[event.detail.state] ??= Date.now(); });
};

// Somebody who goes in as soon as it is called.
const goIn = () => {
  const look = () => {
    const stage = document.querySelector("main[data-tg-stage]")?.dataset.tgStage;
    if (stage === "ready") document.querySelector('form[action$="/claim"] button').click();
    const go = document.querySelector("body > aside button");
    if (go && !go.hidden) go.click();
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
};

// Six who come one after the other. Browsers are there before, so that it takes no longer than pages take.
async function six(where) {
  const contexts = await Promise.all(Array.from({ length: 6 }, () => visitor()));
  for (const script of [watchStage, goIn]) await contexts[5].addInitScript(script);
  const pages = await Promise.all(contexts.map((context) => context.newPage()));
  for (const page of pages) await page.goto(base + where);
  return { contexts, pages, first: pages[0], sixth: pages[5] };
}

async function fiveAreInTheDemoShop() {
  const { contexts, pages, first, sixth } = await six("/demo");
  for (const page of pages) await banner(page).waitFor();
  for (const page of pages.slice(0, 5)) assert.match(await banner(page).innerText(), /Time left: 0:\d\d/);
  assert.match(await banner(sixth).innerText(), /Ahead of you: 0/);
  const now = await status("demo");
  assert.deepEqual([now.active, now.waiting, now.capacity], [5, 1, 5]);
  const from = Date.now();
  await first.close({ runBeforeUnload: true });
  await banner(sixth).getByText("Time left").waitFor();
  await isInTime("a shop that is closed", sixth, from);
  assert.deepEqual([(await status("demo")).active, (await status("demo")).waiting], [5, 0]);
  for (const context of contexts) await done(context);
}

// How one of five goes, at the worst moment: it has just said that it is there. `goes` says since when it is gone.
async function sixthComesIn(name, goes) {
  // Long sessions, so that what makes room is who goes.
  await room(name, { ...likeDemo, session: { ...demo.session, limit: "1h" } });
  const { contexts, pages, first, sixth } = await six("/rooms/" + name);
  for (const page of pages.slice(0, 5)) await becomes(page, "admitted");
  await becomes(sixth, "waiting");
  assert.equal(await part(sixth, "ahead").textContent(), "You are next");
  assert.deepEqual([(await status(name)).active, (await status(name)).waiting], [5, 1]);
  await first.waitForResponse((answer) => answer.url().endsWith("/heartbeat"));
  const from = await goes(contexts[0], first);
  await becomes(sixth, "admitted");
  await isInTime(name, sixth, from);
  assert.deepEqual([(await status(name)).active, (await status(name)).waiting], [5, 0]);
  return contexts;
}

async function isInTime(what, sixth, from) {
  const took_ms = (await sixth.evaluate(() => window.shown.admitted)) - from;
  console.log(`${what}: the sixth was in after ${took_ms} ms`);
  assert.ok(took_ms <= most_ms, `${what}: the sixth was in after ${took_ms} ms`);
}

async function aTabThatIsClosedMakesRoom() {
  const contexts = await sixthComesIn("closed-tab", async (_, page) => {
    const from = Date.now();
    await page.close({ runBeforeUnload: true });
    return from;
  });
  for (const context of contexts) await done(context);
}

// Nothing is said by a page whose process is gone.
async function aPageThatCrashesMakesRoom() {
  const contexts = await sixthComesIn("crashed", async (context, page) => {
    const gone = page.waitForEvent("crash");
    const inspector = await context.newCDPSession(page);
    const from = Date.now();
    inspector.send("Page.crash").catch(() => null);
    await gone;
    return from;
  });
  for (const context of contexts) await done(context);
}

async function aBrowserThatLosesItsNetworkMakesRoom() {
  const contexts = await sixthComesIn("offline", async (context) => {
    await context.setOffline(true);
    return Date.now();
  });
  const page = contexts[0].pages()[0];
  await part(page, "connection").waitFor({ state: "visible" });
  await contexts[0].setOffline(false);
  await becomes(page, "ended");
  assert.equal(await part(page, "headline").textContent(), "You were away");
  for (const context of contexts) await done(context);
}

async function aSessionEndsAtItsLimit() {
  await room("limit", likeDemo);
  const context = await visitor();
  await context.addInitScript(watchStage);
  const beats = [];
  context.on("response", async (answer) => {
    if (answer.url().endsWith("/heartbeat")) beats.push({ at: Date.now(), seat: await answer.json() });
  });
  const page = await open(context, "/rooms/limit");
  const { session } = await call(context, "limit", "poll");
  const started_at = session.started_at * 1000;
  // Requests of this browser that a proxy asks about, until they are refused.
  await page.waitForTimeout(started_at + session_ms - 2 * slack_ms - Date.now());
  let let_through = 0, refused_at;
  while (refused_at === undefined) {
    const answer = await context.request.get(`${base}/v1/authz?room=limit`);
    if (answer.ok()) let_through = Date.now();
    else refused_at = Date.now();
    await page.waitForTimeout(20);
  }
  await becomes(page, "ended");
  assert.equal(await part(page, "headline").textContent(), "Your time is over");
  const shown = await page.evaluate(() => window.shown.ended);
  const seats = beats.filter(({ seat }) => seat.state === "admitted");
  assert.ok(seats.length >= 7, `${seats.length} heartbeats`);
  for (const { seat } of seats) assert.equal(seat.session.started_at, session.started_at);
  for (const { seat } of seats) assert.ok(Math.abs(seat.session.ends_at - session.started_at - 40) < 0.001);
  endsInTime("the last request that passed", let_through - started_at, false);
  endsInTime("the first request that was refused", refused_at - started_at, true);
  endsInTime("the page", shown - started_at, true);
  assert.equal((await status("limit")).active, 0);
  await done(context);
}

async function theBannerOfAShopShowsTheEnd() {
  await room("limit-of-banner", likeDemo);
  const context = await visitor();
  await context.addInitScript(watchStage);
  const page = await shop(context, "limit-of-banner");
  await banner(page).getByText("Time left").waitFor();
  const { session } = await call(context, "limit-of-banner", "poll");
  await banner(page).getByText("Time is over").waitFor({ timeout: session_ms + 20000 });
  const shown = await page.evaluate(() => window.shown.ended);
  endsInTime("the banner", shown - session.started_at * 1000, true);
  await done(context);
}

function endsInTime(what, after_ms, must) {
  console.log(`${what}: ${after_ms.toFixed(0)} ms`);
  const [low, high] = [session_ms - slack_ms, session_ms + slack_ms];
  assert.ok(after_ms <= high && (!must || after_ms >= low), `${what}: ${after_ms} ms after its start`);
}

// What takes its time comes first.
await all(
  3, aSessionEndsAtItsLimit, theBannerOfAShopShowsTheEnd, aPageThatCrashesMakesRoom, aBrowserThatLosesItsNetworkMakesRoom,
  aTabThatIsClosedMakesRoom, fiveAreInTheDemoShop,
);
