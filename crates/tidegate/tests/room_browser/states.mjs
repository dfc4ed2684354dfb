// Every state that a real server brings a visitor to, in both schemes and sizes, and in a language that is written from right to left:
// nothing that axe finds, nothing beyond the edge. TEST_SCREENSHOTS names a folder that gets a picture of each.
import { mkdirSync } from "node:fs";
import { desktop, isAccessible, phone } from "../room_page/browser.mjs";
import {
  all, assert, banner, base, becomes, call, done, lasting, occupant, open, operate, part, put, room, shop, status, until, visitor,
} from "./rooms.mjs";

const pictures = process.env.TEST_SCREENSHOTS;
if (pictures) mkdirSync(pictures, { recursive: true });

const looks = {
  en: [["phone", "light"], ["phone", "dark"], ["desktop", "light"], ["desktop", "dark"]],
  ar: [["phone", "light"], ["desktop", "dark"]],
};
const sizes = { phone, desktop };

// Looks at a visitor's page in both languages: `settle` waits for what is to be seen.
async function look(name, context, enter, settle) {
  const arab = await visitor({ locale: "ar", storageState: await context.storageState() });
  const pages = [["en", await enter(context)], ["ar", await enter(arab)]];
  await Promise.all(pages.map(([, page]) => settle(page, page.context())));
  for (const [language, page] of pages) {
    for (const [size, colorScheme] of looks[language]) {
      await page.setViewportSize(sizes[size]);
      await page.emulateMedia({ colorScheme });
      const place = `${name}-${language}-${size}-${colorScheme}`;
      if (pictures) await page.screenshot({ path: `${pictures}/${place}.png`, fullPage: true });
      await isAccessible(page, place);
      await settle(page, null);
    }
  }
  for (const [, page] of pages) await page.close();
  await done(arab);
}

// The page of a room in this stage, with this headline.
function page(name, context, where, stage, headline) {
  return look(name, context, (owner) => open(owner, where), async (shown) => {
    await becomes(shown, stage);
    const title = await part(shown, "headline").textContent();
    if ((await shown.locator("html").getAttribute("lang")) === "en") assert.equal(title, headline, name);
    else assert.match(title, /\p{Script=Arabic}/u, name);
  });
}

const message = "Our tills are slow today. We let in as many as we can, and keep every place.";

async function beforeTheOpening() {
  await room("opening", { opens_at: new Date(Date.now() + 2 * 86400e3).toISOString() });
  const context = await visitor();
  await page("opening", context, "/rooms/opening", "opening", "You are early");
  await room("opening-soon", { opens_at: new Date(Date.now() + 3600e3).toISOString(), order: "arrival", message });
  await page("opening-soon", context, "/rooms/opening-soon", "opening", "You are early");
  await done(context);
}

async function theOpeningGivesAPlaceByItself() {
  await room("opens", { opens_at: new Date(Date.now() + 30000).toISOString() });
  const pages = [];
  for (const context of [await visitor(), await visitor({ javaScriptEnabled: false })]) {
    pages.push(await open(context, "/rooms/opens"));
    await becomes(pages.at(-1), "opening");
  }
  assert.match(await part(pages[0], "timer").textContent(), /^0:\d\d$/);
  // One of them is drawn, and the other is next.
  const stages = async () => Promise.all(pages.map((one) => one.locator("main").getAttribute("data-tg-stage")));
  await until("both have a place", async () => (await stages()).sort().join() === "ready,waiting");
  for (const one of pages) await done(one.context());
}

async function inLine() {
  await room("line", { message });
  const holder = await occupant("line");
  const ahead = [];
  for (let number = 0; number < 12; number += 1) {
    ahead.push(await visitor());
    await call(ahead.at(-1), "line", "join");
  }
  const context = await visitor();
  await page("waiting", context, "/rooms/line", "waiting", "You are in line");
  await put("line", "paused");
  await page("paused", context, "/rooms/line", "paused", "The line is paused");
  await put("line", "draining");
  await page("draining-waiting", context, "/rooms/line", "waiting", "You are in line");
  const late = await visitor();
  await page("draining-refused", late, "/rooms/line", "refused", "The line takes nobody new");
  await put("line", "closed");
  await page("closed-refused", late, "/rooms/line", "refused", "The line is closed");
  await put("line", "open");
  for (const one of ahead) await one.close();
  for (const one of [holder, context, late]) await done(one);
}

async function next() {
  await room("next");
  const holder = await occupant("next");
  const context = await visitor();
  await page("next", context, "/rooms/next", "waiting", "You are in line");
  await look("no-connection", context, (owner) => open(owner, "/rooms/next"), async (shown, owner) => {
    await owner?.setOffline(true);
    await part(shown, "connection").waitFor({ state: "visible" });
  });
  await done(context);
  await done(holder);
}

async function called() {
  for (const [name, extensions] of [["ready", 2], ["ready-last", 0]]) {
    await room(name, { claim: { window: "10m", extensions }, message });
    const holder = await occupant(name);
    const context = await visitor();
    await call(context, name, "join");
    await call(holder, name, "leave");
    await page(name, context, "/rooms/" + name, "ready", "It is your turn");
    await done(context);
    await done(holder);
  }
}

async function inside() {
  await room("inside", { return_to: "/demo", message });
  const context = await occupant("inside");
  await page("admitted", context, "/rooms/inside", "admitted", "You are in");
  await done(context);
}

// From here on nobody answers, so that a time that is nearly over stays so while it is looked at.
const hold = (context) => context?.route("**/v1/rooms/**", () => null);

async function nearlyOver() {
  await room("nearly", { session: { limit: "40s", idle: "40s" }, return_to: "/demo" });
  const context = await occupant("nearly");
  await look("warning", context, (owner) => open(owner, "/rooms/nearly"), async (shown, owner) => {
    await part(shown, "warning").waitFor({ state: "visible" });
    await hold(owner);
  });
  await done(context);
}

async function over() {
  const ends = [
    ["session-limit", { session: { limit: "2s" } }, null, "Your time is over"],
    ["idle", { session: { limit: "1h", idle: "2s" } }, null, "You were away"],
    ["left", {}, (context) => call(context, "left", "leave"), "You have left"],
    ["by-operator", {}, () => operate("POST", "/rooms/by-operator/end", { queue_number: 1 }), "Your place was ended"],
  ];
  await Promise.all(ends.map(async ([name, changes, end, headline]) => {
    await room(name, changes);
    const context = await occupant(name);
    if (end) await end(context);
    await until("the session is over", async () => (await status(name)).active === 0);
    await page("ended-" + name, context, "/rooms/" + name, "ended", headline);
    await done(context);
  }));
}

async function sentAway() {
  await room("flushed");
  const context = await occupant("flushed");
  let first;
  await look("ended-flushed", context, async (owner) => {
    const opened = await open(owner, "/rooms/flushed");
    first ??= opened;
    return opened;
  }, async (shown, owner) => {
    if (owner) await operate("POST", "/rooms/flushed/flush", { sessions: true });
    await becomes(shown, "ended");
    if (shown === first) assert.equal(await part(shown, "headline").textContent(), "Your place is no longer valid");
  });
  await done(context);
}

async function notClaimed() {
  await room("unclaimed", { claim: { window: "5s", extensions: 0 } });
  const holder = await occupant("unclaimed");
  const context = await visitor();
  await call(context, "unclaimed", "join");
  await call(holder, "unclaimed", "leave");
  await until("nobody is called", async () => (await call(context, "unclaimed", "poll")).state === "ended");
  await page("ended-not-claimed", context, "/rooms/unclaimed", "ended", "Your turn has passed");
  await done(context);
  await done(holder);
}

async function turnedAway() {
  const refusals = [
    ["full", { max_waiting: 0 }, "The line is full"],
    ["prefix", { seats_per_prefix: 1 }, "Too many places from your connection"],
    ["reject", { method: "reject" }, "You cannot join this line"],
  ];
  for (const [name, changes, headline] of refusals) {
    await room(name, changes);
    const holder = await occupant(name);
    const context = await visitor();
    await page("refused-" + name, context, "/rooms/" + name, "refused", headline);
    await done(context);
    await done(holder);
  }
}

async function wrong() {
  const context = await visitor();
  await page("error-not-found", context, "/rooms/nowhere", "error", "There is no such line");
  // A place that another browser was given.
  await room("wrong", { capacity: 9 });
  const owner = await occupant("wrong");
  await call(context, "wrong", "join");
  await look("error-not-valid", context, async (visitor) => {
    const ticket = (await owner.cookies()).find(({ name }) => name === "tidegate_ticket_wrong");
    await visitor.addCookies([ticket]);
    return open(visitor, "/rooms/wrong");
  }, (shown) => becomes(shown, "error"));
  await done(context);
  await done(owner);
}

async function theShopWithItsBanner() {
  const said = (words) => (shown) => banner(shown).getByText(words).waitFor();
  const enter = (owner) => open(owner, "/demo");
  await room("demo", { claim: { window: "10m" } });
  const holder = await occupant("demo");
  const context = await visitor();
  await call(context, "demo", "join");
  await look("shop-waiting", context, enter, said("Ahead of you: 0"));
  await call(holder, "demo", "leave");
  await look("shop-ready", context, enter, said("Your turn!"));
  await call(context, "demo", "claim");
  await look("shop-admitted", context, enter, said("Time left"));
  await room("demo", { capacity: 1, max_waiting: 0 });
  const late = await visitor();
  await call(context, "demo", "join");
  await look("shop-refused", late, enter, said("No entry"));
  for (const one of [context, late, holder]) await done(one);
}

async function theShopWhenTimeRunsOut() {
  await room("soon", { session: { limit: "40s", idle: "40s" } });
  const context = await occupant("soon");
  await look("shop-soon", context, (owner) => shop(owner, "soon"), async (shown, owner) => {
    await banner(shown).getByText("Nearly over").waitFor();
    await hold(owner);
  });
  await context.unroute("**/v1/rooms/**");
  await room("over", { session: { limit: "5s" } });
  const late = await occupant("over");
  await look("shop-ended", late, (owner) => shop(owner, "over"), (shown) => banner(shown).getByText("Time is over").waitFor());
  for (const one of [context, late]) await done(one);
}

// What takes its time comes first.
await all(
  4, nearlyOver, theShopWhenTimeRunsOut, theOpeningGivesAPlaceByItself, theShopWithItsBanner, inLine, over, called, turnedAway, wrong, next,
  beforeTheOpening, notClaimed, sentAway, inside,
);
