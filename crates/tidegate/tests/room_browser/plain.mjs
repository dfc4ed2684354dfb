// With scripts switched off: the page reloads itself, and its buttons are forms.
import { all, assert, base, becomes, call, done, lasting, occupant, open, operate, part, room, status, visitor } from "./rooms.mjs";

async function theWholeWayWithoutScripts() {
  await room("plain", { session: lasting, return_to: "/demo" });
  const holder = await occupant("plain");
  const context = await visitor({ javaScriptEnabled: false });
  const page = await open(context, "/rooms/plain?return_to=/demo?basket=7");
  await becomes(page, "waiting");
  assert.equal(await part(page, "ahead").textContent(), "You are next");
  await page.getByText(/This page reloads itself every \d+ seconds/).waitFor();
  assert.equal((await status("plain")).waiting, 1);
  // It is called without doing anything: the page comes back by itself.
  await call(holder, "plain", "leave");
  await becomes(page, "ready");
  await page.getByRole("button", { name: "I need more time" }).click();
  await page.getByText("You can do this 9 more times.").waitFor();
  await page.getByRole("button", { name: "Go in now" }).click();
  await page.waitForURL("**/demo?basket=7");
  await page.goto(`${base}/rooms/plain`);
  await becomes(page, "admitted");
  assert.match(await part(page, "timer").textContent(), /^(59:\d\d|1:00:00)$/);
  assert.equal(await page.getByRole("link", { name: "Continue to Demo shop" }).getAttribute("href"), "/demo?basket=7");
  await page.getByRole("button", { name: "I am done: leave" }).click();
  await page.getByRole("heading", { name: "You have left" }).waitFor();
  assert.equal((await status("plain")).active, 0);
  await page.getByRole("button", { name: "Join the line again" }).click();
  await becomes(page, "admitted");
  await done(context);
  await done(holder);
}

// A button leads to the site also where that is another host than the page's.
async function aFormLeadsToTheSiteOnAnotherHost() {
  const site = base.replace("127.0.0.1", "localhost");
  await room("plain-site", { hosts: [site], return_to: `${site}/demo?basket=8` });
  const holder = await occupant("plain-site");
  const context = await visitor({ javaScriptEnabled: false });
  const page = await open(context, "/rooms/plain-site");
  await becomes(page, "waiting");
  await call(holder, "plain-site", "leave");
  await becomes(page, "ready");
  await page.getByRole("button", { name: "Go in now" }).click();
  await page.waitForURL(`${site}/demo?basket=8`);
  await done(context);
  await done(holder);
}

async function aPlaceIsGivenUpWithoutScripts() {
  await room("plain-leave");
  const holder = await occupant("plain-leave");
  const context = await visitor({ javaScriptEnabled: false });
  const page = await open(context, "/rooms/plain-leave");
  await becomes(page, "waiting");
  await page.getByText("Leave the line").click();
  await page.getByRole("button", { name: "Give up my place" }).click();
  await page.getByRole("heading", { name: "You have left" }).waitFor();
  assert.equal((await status("plain-leave")).waiting, 0);
  await done(context);
  await done(holder);
}

// Nobody who reloads is somebody new, and what an operator says arrives.
async function aReloadIsTheSameVisitor() {
  await room("plain-reload");
  const holder = await occupant("plain-reload");
  const context = await visitor({ javaScriptEnabled: false });
  const page = await open(context, "/rooms/plain-reload");
  const number = await part(page, "queue_number").textContent();
  await operate("PUT", "/rooms/plain-reload", {
    name: "plain-reload", capacity: 1, release_rate: "100/s", session: lasting, message: "We open the second till.",
  });
  await page.getByText("We open the second till.").waitFor();
  for (let again = 0; again < 3; again += 1) await page.reload();
  assert.equal(await part(page, "queue_number").textContent(), number);
  assert.equal((await status("plain-reload")).waiting, 1);
  await done(context);
  await done(holder);
}

await all(3, theWholeWayWithoutScripts, aFormLeadsToTheSiteOnAnotherHost, aPlaceIsGivenUpWithoutScripts, aReloadIsTheSameVisitor);
