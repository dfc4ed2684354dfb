// Passes that real servers gave, and what can be made of them, shown to the check of the guide.
// Arguments: the check, and the addresses of a server with a secret, of one with a newer one beside it, and of one with that alone.
import assert from "node:assert/strict";
import { createHmac, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { createServer } from "node:http";

const [module, before, changing, after] = process.argv.slice(2);
const { passChecker } = await import(module);
const jwks = (server) => `${server}/.well-known/jwks.json`;
const site = { issuer: "https://queue.example", host: "shop.example", room: "tickets" };
const checker = (server, changes) => passChecker({ jwks: jwks(server), ...site, ...changes });

async function pass(server, room) {
  const answer = await fetch(`${server}/v1/rooms/${room}/join`, { method: "POST" });
  const seat = await answer.json();
  assert.equal(seat.state, "admitted");
  const cookies = answer.headers.getSetCookie().map((cookie) => cookie.split(";")[0]);
  assert.ok(cookies.includes(`tidegate_jwt_${room}=${seat.pass_jwt}`), "the browser has what the program has");
  return { jwt: seat.pass_jwt, own: seat.pass, seat };
}

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const decode = (part) => JSON.parse(Buffer.from(part, "base64url"));
const signed = (header, claims, key) => {
  const text = `${encode(header)}.${encode(claims)}`;
  return `${text}.${key(text).toString("base64url")}`;
};

const good = await pass(before, "tickets");
const [head, body, signature] = good.jwt.split(".");
const [header, claims] = [decode(head), decode(body)];
const [key] = (await (await fetch(jwks(before))).json()).keys;

async function goodOnesAreTaken() {
  assert.deepEqual(await checker(before)(good.jwt), claims);
  assert.deepEqual(await checker(before, { host: "shop.example:8443" })(good.jwt), claims);
  const { room, queue_number, exp } = claims;
  assert.deepEqual([room, queue_number, exp], ["tickets", 1, Math.floor(good.seat.session.ends_at)]);
  // Without hosts, a pass is for where it was asked for.
  const here = { host: new URL(before).host, room: "elsewhere" };
  assert.ok(await checker(before, here)((await pass(before, "elsewhere")).jwt));
}

async function otherPlacesRefuseThem() {
  for (const changes of [{ host: "other.example" }, { host: "shop" }, { room: "other" }, { issuer: "https://evil.example" }]) {
    assert.equal(await checker(before, changes)(good.jwt), null, JSON.stringify(changes));
  }
  assert.equal(await checker(before)((await pass(before, "other")).jwt), null, "a pass of another room");
  const elsewhere = { room: "elsewhere" };
  assert.equal(await checker(before, elsewhere)((await pass(before, "elsewhere")).jwt), null, "a pass for another host");
}

async function forgedOnesAreRefused() {
  const check = checker(before);
  const stranger = generateKeyPairSync("ed25519").privateKey;
  const byStranger = (text) => sign(null, Buffer.from(text), stranger);
  const spki = createPublicKey({ key, format: "jwk" }).export({ type: "spki", format: "pem" });
  const hmacs = [key.x, Buffer.from(key.x, "base64url"), spki, JSON.stringify(key)].map((secret) =>
    signed({ ...header, alg: "HS256" }, claims, (text) => createHmac("sha256", secret).update(text).digest()));
  const last = signature.startsWith("A") ? `B${signature.slice(1)}` : `A${signature.slice(1)}`;
  const forged = {
    "another's signature": signed(header, claims, byStranger),
    "another's key in the header": signed({ ...header, jwk: stranger.asymmetricKeyDetails, kid: "p_mine" }, claims, byStranger),
    "a longer session": `${head}.${encode({ ...claims, exp: claims.exp + 3600 })}.${signature}`,
    "a changed signature": `${head}.${body}.${last}`,
    "no signature": `${head}.${body}.`,
    "no algorithm": `${encode({ ...header, alg: "none" })}.${body}.`,
    "no algorithm, and a signature": `${encode({ ...header, alg: "none" })}.${body}.${signature}`,
    "another spelling of it": `${encode({ ...header, alg: "None" })}.${body}.${signature}`,
    "an unknown key": `${encode({ ...header, kid: "p_AAAAAAAAAAA" })}.${body}.${signature}`,
    "no key": `${encode({ alg: "EdDSA" })}.${body}.${signature}`,
    "a key that is no text": `${encode({ ...header, kid: { toString: 1 } })}.${body}.${signature}`,
    "a fourth part": `${good.jwt}.${signature}`,
    "the pass of Tidegate": good.own,
    "no JSON": `${Buffer.from("{").toString("base64url")}.${body}.${signature}`,
    "nothing in the header": `${encode(null)}.${body}.${signature}`,
    "too long": `${good.jwt}${"A".repeat(4000)}`,
    "empty": "",
    "absent": undefined,
  };
  hmacs.forEach((jwt, index) => (forged[`an HMAC of the public key, ${index}`] = jwt));
  for (const [what, jwt] of Object.entries(forged)) assert.equal(await check(jwt), null, what);
  assert.ok(await check(good.jwt), "and the good one is still taken");
}

// Signed as they should be, by a key that is served: what else is checked shows only so.
async function whatASignatureDoesNotSayIsChecked() {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const keys = [{ kty: "of the future", kid: "x" }, { ...publicKey.export({ format: "jwk" }), kid: header.kid }];
  const door = createServer((_, response) => response.end(JSON.stringify({ keys }))).listen(0, "127.0.0.1");
  await new Promise((resolve) => door.once("listening", resolve));
  const check = passChecker({ jwks: `http://127.0.0.1:${door.address().port}/`, ...site });
  const made = (headers, changes) =>
    signed({ ...header, ...headers }, { ...claims, ...changes }, (text) => sign(null, Buffer.from(text), privateKey));
  assert.ok(await check(made({}, {})));
  for (const alg of ["none", "HS256", "ES256", "eddsa", "", null, undefined]) assert.equal(await check(made({ alg }, {})), null, alg);
  for (const changes of [{ exp: Date.now() / 1000 }, { exp: null }, { aud: [] }, { aud: null }, { room: null }, { more: "x".repeat(3000) }]) {
    assert.equal(await check(made({}, changes)), null, JSON.stringify(changes));
  }
  door.close();
}

async function aSessionThatIsOverIsRefused() {
  const { jwt } = await pass(before, "short");
  const check = checker(before, { room: "short" });
  const { exp } = await check(jwt);
  while (await check(jwt)) {
    assert.ok(Date.now() < exp * 1000 + 100, "it is taken after its end");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.ok(Date.now() >= exp * 1000, "it is refused before its end");
}

async function aSecretIsChanged() {
  const [older, newer] = [good.jwt, (await pass(changing, "tickets")).jwt];
  assert.notEqual(decode(newer.split(".")[0]).kid, header.kid, "the newest secret signs");
  for (const jwt of [older, newer]) assert.ok(await checker(changing)(jwt), "both count while both are live");
  assert.ok(await checker(after)(newer));
  assert.equal(await checker(after)(older), null, "its secret was dropped");
  assert.equal(await checker(before)(newer), null, "its secret is not known yet");
}

// The same at one site that goes on, whose clock the test moves, with what the servers tell of their keys.
async function aSiteFollowsTheChange() {
  let told = before, asked = 0, now = Date.now();
  const real = Date.now;
  Date.now = () => now;
  const door = createServer(async (_, response) => {
    asked += 1;
    if (!told) return response.writeHead(503).end();
    response.end(await (await fetch(jwks(told))).text());
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => door.once("listening", resolve));
  const check = passChecker({ jwks: `http://127.0.0.1:${door.address().port}/`, ...site });
  const newer = (await pass(after, "tickets")).jwt;
  const complain = console.error;
  let complaints = 0;
  console.error = () => (complaints += 1);

  await Promise.all(Array.from({ length: 50 }, async () => assert.ok(await check(good.jwt))));
  assert.equal(asked, 1, "those who come together ask once");
  const unknown = (index) => `${encode({ ...header, kid: `p_${index}` })}.${body}.${signature}`;
  for (let index = 0; index < 50; index += 1) assert.equal(await check(unknown(index)), null);
  assert.equal(asked, 1, "made-up keys are not asked for again and again");
  told = changing;
  now += 10_001;
  assert.ok(await check(newer), "an unknown key is asked for");
  assert.ok(await check(good.jwt));
  assert.equal(asked, 2);
  told = null;
  now += 300_001;
  assert.ok(await check(newer), "nobody answers, and the keys of before count");
  told = after;
  now += 300_001;
  assert.equal(await check(good.jwt), null, "the key of the dropped secret counts no more");
  assert.ok(await check(newer));
  assert.deepEqual([asked, complaints], [4, 1]);
  [Date.now, console.error] = [real, complain];
  door.close();
}

await goodOnesAreTaken();
await otherPlacesRefuseThem();
await forgedOnesAreRefused();
await whatASignatureDoesNotSayIsChecked();
await aSessionThatIsOverIsRefused();
await aSecretIsChanged();
await aSiteFollowsTheChange();
console.log("all is as promised");
