// Drives Convex's own client. Usage: node convex_client.cjs PACKAGES URL SCENARIO
const path = require("node:path");
const { createRequire } = require("node:module");
const [packages, url, scenario, token] = process.argv.slice(2);
const { ConvexClient } = createRequire(path.join(packages, "x.js"))("convex/browser");

const list = "chat:listMessages";
const say = (line) => process.stdout.write(line + "\n");
const fail = (error) => { say("FAILED " + (error && error.stack || error)); process.exit(1); };
const check = (condition, what) => { if (!condition) throw new Error(what); };
const until = async (condition) => { while (!condition()) await new Promise((r) => setTimeout(r, 5)); };

const scenarios = {
  async basics(client) {
    const seen = [];
    client.onUpdate(list, { channel: "a" }, (value) => seen.push(value.map((m) => m.body)));
    await until(() => seen.length > 0);
    check(seen[0].length === 0, "the channel is not empty");
    const id = await client.mutation("chat:send", { channel: "a", body: "one" });
    check(typeof id === "string", "no id");
    const now = client.client.localQueryResult(list, { channel: "a" });
    check(now.length === 1 && now[0]._id === id && typeof now[0]._creationTime === "number", "the write is not visible");
    const error = await client.mutation("chat:send", { channel: "a", body: "" }).then(() => null, (e) => e);
    check(error && error.name === "ConvexError" && error.data.reason === "empty", "no ConvexError: " + error);
    check(await client.action("chat:shout", { channel: "a", body: "two" }) === "TWO", "the action");
    await until(() => seen.at(-1).length === 2);
    check((await client.query(list, { channel: "a" })).length === 2, "query");
    const wrong = await client.query(list, { channel: 3 }).then(() => null, (e) => e);
    check(wrong && /ArgumentValidationError/.test(wrong.message), "arguments: " + wrong);
  },
  async auth(client) {
    check(await client.query("chat:whoami", {}) === null, "anonymous");
    const seen = [];
    client.onUpdate("chat:whoami", {}, (value) => seen.push(value));
    client.setAuth(async () => token);
    await until(() => seen.at(-1) === "alice");
    await client.mutation("chat:send", { channel: "a", body: "mine" });
    check((await client.query(list, { channel: "a" })).at(-1).author === "alice", "author");
  },
  // Sends numbers forever, each after the last one, and says each once it is confirmed.
  async stream(client) {
    client.onUpdate(list, { channel: "s" }, (value) => say("COUNT " + value.length));
    for (let number = 0; ; number++) {
      await client.mutation("chat:send", { channel: "s", body: String(number) });
      const known = client.client.localQueryResult(list, { channel: "s" });
      check(known && known.some((m) => m.body === String(number)), "a confirmed write is not visible");
      say("SENT " + number);
    }
  },
};

const client = new ConvexClient(url, { verbose: !!process.env.VERBOSE });
scenarios[scenario](client).then(() => { say("DONE"); process.exit(0); }, fail);
