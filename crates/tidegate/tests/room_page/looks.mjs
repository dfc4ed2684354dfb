// Every state in both schemes and both sizes: nothing that axe finds, nothing beyond the edge, the same words with scripts and
// without.
import { admitted, assert, base, browser, desktop, done, isAccessible, open, phone, ready, seat, tell, visitor } from "./browser.mjs";

const patient = { poll_after_ms: 600000 };
const refused = (why) => seat({ state: "refused", why, queue_number: null, position: null, ...patient });
const states = {
  opening: { seat: seat({ room_state: "scheduled", opens_at: Date.now() / 1000 + 1e6, position: null, ...patient }) },
  waiting: { seat: seat({ message: "We have plenty.\nThank you.", ...patient }) },
  slower: { seat: seat({ estimated_wait: { from_s: 7200, to_s: 10000, reason: "slower" }, ...patient }) },
  next: { seat: seat({ position: 0, estimated_wait: { from_s: 5, to_s: 30, reason: null }, progress: 1, ...patient }) },
  paused: { seat: seat({ room_state: "paused", estimated_wait: null, ...patient }) },
  draining: { seat: seat({ room_state: "draining", ...patient }) },
  ready: { seat: { ...ready(), ...patient } },
  ready_last: { seat: { ...ready({ extensions_left: 0 }), ...patient } },
  admitted: { seat: admitted(38000) },
  nearly_over: { seat: admitted(9000) },
  ended: { seat: seat({ state: "ended", why: "session_limit" }) },
  closed: { seat: refused("room_closed") },
  rejected: { seat: refused("rejected") },
  unavailable: { failure: "unavailable" },
  not_found: { failure: "not_found" },
  not_valid: { failure: "not_valid" },
};
const zoomed = { width: 320, height: 256 };
const looks = [
  { viewport: phone, colorScheme: "light" },
  { viewport: phone, colorScheme: "dark" },
  { viewport: desktop, colorScheme: "light" },
  { viewport: desktop, colorScheme: "dark" },
  // 1280 pixels at 400 %.
  { viewport: zoomed, colorScheme: "light" },
  { viewport: phone, locale: "ar" },
];

// What is seen, without what is for one of the two only, and without the clock.
const words = (page) => page.evaluate(() => {
  document.querySelectorAll('noscript, .scripted, .heard, [data-tg="unscripted"], [data-tg="timer"]').forEach((one) => one.remove());
  return document.body.innerText.replace(/\s+/g, " ").trim() + " | " + document.title;
});

async function everyState(options, check) {
  const context = await visitor(options);
  const page = await open(context);
  for (const [name, told] of Object.entries(states)) {
    await tell(told);
    await page.goto(base + "/rooms/demo");
    await check(page, name, `${name} ${JSON.stringify(options)}`);
  }
  await done(context);
}

await tell(states.waiting);
for (const options of looks) await everyState(options, (page, _, place) => isAccessible(page, place));
for (const locale of ["en-GB", "ar"]) {
  const plain = {};
  await everyState({ locale, javaScriptEnabled: false }, async (page, name) => { plain[name] = await words(page); });
  await everyState({ locale }, async (page, name, place) => assert.equal(await words(page), plain[name], place));
}
await browser.close();
console.log("all is as promised");
