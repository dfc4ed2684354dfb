// All tabs of one browser are one visitor: one seat, one time, and one of them asks.
import { all, assert, banner, base, becomes, call, done, open, room, shop, status, until, visitor } from "./rooms.mjs";

const short = { limit: "5m", idle: "15s", early_end: "frees_seat" };
const calls = (context) => {
  const seen = [];
  context.on("request", (request) => {
    const [, call] = request.url().match(/\/v1\/rooms\/[^/]+\/(\w+)$/) || [];
    if (call) seen.push({ call, at: Date.now() });
  });
  return seen;
};

// When a tab says that the time is over, by this machine's clock, to half a second.
const ends = (page) => page.evaluate(() => {
  const text = (document.querySelector('[data-tg="timer"]') || document.querySelector("body > aside")).innerText;
  const [, minutes, seconds] = text.match(/(\d+):(\d\d)/);
  return Date.now() + (minutes * 60 + Number(seconds)) * 1000 - 500;
});

async function aHundredTabsHoldOneSeatWithOneTimer() {
  await room("tabs", { capacity: 5, session: short });
  const context = await visitor();
  const asked = calls(context);
  const pages = [await open(context, "/rooms/tabs")];
  while (pages.length < 100) {
    const next = Array.from({ length: 9 }, (_, number) => (number % 3 ? open(context, "/rooms/tabs") : shop(context, "tabs")));
    pages.push(...(await Promise.all(next)));
  }
  for (const page of pages) await page.getByText(/Time left/).first().waitFor();
  const now = await status("tabs");
  assert.deepEqual([now.active, now.waiting], [1, 0]);
  const times = await Promise.all(pages.map(ends));
  const spread = Math.max(...times) - Math.min(...times);
  assert.ok(spread <= 2000, `tabs differ by ${spread} ms`);
  // A heartbeat is due every 5 s; each tab that asked for itself would have made two.
  const from = Date.now();
  await pages[0].waitForTimeout(10000);
  const beats = asked.filter(({ call, at }) => call === "heartbeat" && at >= from).length;
  console.log(`100 tabs, ${spread} ms apart, made ${beats} heartbeats in 10 s`);
  assert.ok(beats >= 1 && beats <= 6, `${beats} heartbeats in 10 s`);
  assert.equal((await status("tabs")).active, 1);
  // All of them go but one: somebody is there.
  await Promise.all(pages.slice(1).map((page) => page.close({ runBeforeUnload: true })));
  await pages[0].waitForTimeout(10000);
  assert.equal((await status("tabs")).active, 1);
  const gone = Date.now();
  await pages[0].close({ runBeforeUnload: true });
  await until("the last one frees the seat", async () => (await status("tabs")).active === 0);
  assert.ok(Date.now() - gone < 14000, "it need not be idle for that");
  await done(context);
}

async function bannersOfTabsAreOne() {
  await room("banners", { session: short });
  const holder = await visitor();
  const inside = await shop(holder, "banners");
  await banner(inside).getByText("Time left").waitFor();
  const context = await visitor();
  const asked = calls(context);
  const [one, other] = [await shop(context, "banners"), await shop(context, "banners")];
  for (const page of [one, other]) await banner(page).getByText("Ahead of you: 0").waitFor();
  const from = Date.now();
  await one.waitForTimeout(8000);
  const polls = asked.filter(({ call, at }) => call === "poll" && at >= from).length;
  assert.ok(polls >= 3 && polls <= 10, `${polls} polls in 8 s: the next in line polls each second`);
  await inside.close({ runBeforeUnload: true });
  // It is the turn of both, and who goes in takes the other along.
  for (const page of [one, other]) await banner(page).getByRole("button", { name: "Go in" }).waitFor();
  await banner(one).getByRole("button", { name: "Go in" }).click();
  for (const page of [one, other]) await banner(page).getByText("Time left").waitFor();
  assert.equal((await status("banners")).active, 1);
  assert.ok(Math.abs((await ends(one)) - (await ends(other))) <= 1500);
  // A page of the room is one more tab.
  const page = await open(context, "/rooms/banners");
  await becomes(page, "admitted");
  await page.getByRole("button", { name: "I am done: leave" }).click();
  await becomes(page, "ended");
  for (const shown of [one, other]) await banner(shown).getByText("Time is over").waitFor();
  assert.equal((await status("banners")).active, 0);
  await done(context);
  await done(holder);
}

// A page that goes says so, and a moment after a sign of life another one does not count: at that moment it goes.
async function whoComesBackKeepsTheSession() {
  // By whichever tab asks for all of them.
  const heartbeat = (context) => context.waitForEvent("response", (answer) => answer.url().endsWith("/heartbeat"));
  await room("reloads", { capacity: 9, session: short });
  const ways = [
    ["the waiting page, reloaded", (context) => open(context, "/rooms/reloads"), (page) => page.reload()],
    ["a shop, reloaded", (context) => shop(context, "reloads"), (page) => page.reload()],
    ["a shop, left for the waiting page", (context) => shop(context, "reloads"), (page) => page.goto(base + "/rooms/reloads")],
    ["one of two tabs, closed", async (context) => {
      await shop(context, "reloads");
      return open(context, "/rooms/reloads");
    }, (page) => page.close({ runBeforeUnload: true })],
  ];
  await Promise.all(ways.map(async ([name, enter, go]) => {
    const context = await visitor();
    const page = await enter(context);
    await page.getByText("Time left").first().waitFor();
    const { session } = await call(context, "reloads", "poll");
    await heartbeat(context);
    await go(page);
    await new Promise((resolve) => setTimeout(resolve, 11000));
    const seat = await call(context, "reloads", "poll");
    assert.deepEqual([seat.state, seat.session?.started_at], ["admitted", session.started_at], name);
    await done(context);
  }));
}

// Nothing puts the end of these off, so nobody could see that somebody came back.
async function whereNothingIsHeardAPageThatGoesKeepsItsSeat() {
  await room("deaf", { session: { limit: "5m", idle: "none", early_end: "frees_seat" } });
  const context = await visitor();
  const page = await shop(context, "deaf");
  await banner(page).getByText("Time left").waitFor();
  await page.reload();
  await page.waitForTimeout(10000);
  assert.match(await banner(page).innerText(), /Time left/);
  assert.equal((await status("deaf")).active, 1);
  await done(context);
}

await all(
  2, aHundredTabsHoldOneSeatWithOneTimer, bannersOfTabsAreOne, whoComesBackKeepsTheSession, whereNothingIsHeardAPageThatGoesKeepsItsSeat,
);
