// Asks a server's RESP door with ioredis. Argument: the address. The server has the example rules.
// Ends with an AssertionError where an answer is another than is promised, else says at the end what was done.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { argv, env } from "node:process";

// Modules are looked for where the test says; import does not heed NODE_PATH.
const require = createRequire(`${env.TEST_CLIENTS_NPM}/`);
const { Redis } = require("ioredis");
const { version } = require("ioredis/package.json");

const [host, port] = argv[2].split(":");
// One connection, and no second try that would hide the end of the first.
const common = { host, port: Number(port), maxRetriesPerRequest: 0, retryStrategy: () => null, commandTimeout: 10_000 };

// TIDEGATE.CHECK as each way of asking gets it: RESP2's array; RESP3's map as ioredis flattens it by default; the map itself.
const ways = [
  {
    name: "resp2",
    options: { protocol: 2 },
    isAnswer: (said) => assert.deepEqual([...said.slice(0, 4), said[5]], [1, 100, 98, -1, "any-client"]),
  },
  {
    name: "flattened",
    options: { protocol: 3 },
    isAnswer: (said) => {
      assert.deepEqual(said.slice(0, 8), ["allowed", 1, "limit", 100, "remaining", 98, "retry_after_ms", -1]);
      assert.deepEqual(said.slice(10), ["rule", "any-client", "degraded", null]);
    },
  },
  {
    name: "resp3",
    options: { protocol: 3, replyMapping: "resp3" },
    isAnswer: ({ reset_after_ms, ...rest }) => {
      assert.ok(reset_after_ms > 0);
      const decision = { limit: 100, remaining: 98, retry_after_ms: -1, rule: "any-client", degraded: null };
      assert.deepEqual({ ...rest }, { allowed: true, ...decision });
    },
  },
];

for (const { name, options, isAnswer } of ways) {
  const client = new Redis({ ...common, ...options });
  const throttle = (key, ...numbers) => client.call("CL.THROTTLE", `${name}-${key}`, ...numbers);
  assert.equal(await client.ping(), "PONG");
  assert.deepEqual(await throttle("one", 15, 30, 60), [0, 16, 15, -1, 2]);

  // What is asked at once is one pipeline; answers come in the order of the questions.
  const all = await Promise.all(Array.from({ length: 20 }, () => throttle("crowd", 14, 1, 86_400)));
  assert.deepEqual(all.map(([limited]) => limited), [...Array(15).fill(0), ...Array(5).fill(1)]);
  const remaining = [...Array(15).keys()].reverse().concat(Array(5).fill(0));
  assert.deepEqual(all.map((reply) => reply[2]), remaining);

  const pipeline = client.pipeline();
  pipeline.call("TIDEGATE.CHECK", "default", "client_id", `ioredis-${name}`, "COST", "2");
  pipeline.call("GET", "x");
  pipeline.call("ECHO", "still here");
  const [[, said], [error], [, echo]] = await pipeline.exec();
  isAnswer(said);
  assert.match(error.message, /unknown command 'GET'/);
  assert.equal(echo, "still here");
  await client.quit();
}
console.log(`ioredis ${version} was answered as promised`);
