// The client of a chat: URL, TOKEN of Ada, OTHER_TOKEN of Bob, WRONG_TOKEN.
import assert from "node:assert/strict";
import { ConvexHttpClient } from "convex/browser";
import { ConvexError } from "convex/values";
import { api } from "./_generated/api.js";

const { URL, TOKEN, OTHER_TOKEN, WRONG_TOKEN } = process.env;
const client = new ConvexHttpClient(URL, { logger: false });

// Results of queries and mutations, and application errors with their data.
assert.deepEqual(await client.query(api.chat.listChannels), []);
const general = await client.mutation(api.chat.createChannel, { name: "general" });
assert.match(general, /^channels_/);
const [channel] = await client.query(api.chat.listChannels);
assert.deepEqual(Object.keys(channel).sort(), ["_creationTime", "_id", "name"]);
assert.equal(channel._id, general);

const data = (code) => (error) => error instanceof ConvexError && error.data.code === code;
await assert.rejects(client.mutation(api.chat.createChannel, { name: " " }), (error) => {
  assert.ok(error instanceof ConvexError);
  assert.deepEqual(error.data, { code: "empty_name", fields: ["name"] });
  return true;
});
await assert.rejects(
  client.mutation(api.chat.createChannel, { name: "general" }),
  (error) => error instanceof ConvexError && error.data === "There is a channel of this name",
);

// Identities: none, one, another, none again, and a token that nobody has issued.
const send = (body) =>
  client.mutation(api.chat.send, { channelId: general, content: { type: "text", body } });
await assert.rejects(send("Hello"), data("unauthenticated"));
assert.equal(await client.query(api.chat.currentUser), null);
client.setAuth(TOKEN);
await assert.rejects(send("Hello"), data("unauthenticated")); // no user yet
const ada = await client.mutation(api.chat.signIn);
assert.equal(await client.mutation(api.chat.signIn), ada);
assert.equal((await client.query(api.chat.currentUser)).displayName, "Ada");
client.setAuth(OTHER_TOKEN);
assert.notEqual(await client.mutation(api.chat.signIn), ada);
client.setAuth(WRONG_TOKEN);
await assert.rejects(client.query(api.chat.currentUser), /InvalidAuthHeader|Unauthenticated|NoAuthProvider/);
client.clearAuth();
assert.equal(await client.query(api.chat.currentUser), null);

// Mutations of one client run in order, and one that fails does not stop the next.
client.setAuth(TOKEN);
const numbers = [...Array(12).keys()];
const sent = await Promise.allSettled(
  numbers.map((number) =>
    number === 5
      ? client.mutation(api.chat.createChannel, { name: "" })
      : send(`Message ${number}`),
  ),
);
assert.deepEqual(sent.map(({ status }) => status).indexOf("rejected"), 5);
await client.mutation(
  api.chat.send,
  { channelId: general, content: { type: "image", imageUrl: "https://shop.example/a.png", altText: null } },
  { skipQueue: true },
);

// Pages, newest first, until the end.
const pages = [];
let cursor = null;
for (;;) {
  const found = await client.query(api.chat.listMessages, {
    channelId: general,
    paginationOpts: { numItems: 5, cursor },
  });
  pages.push(found.page);
  cursor = found.continueCursor;
  if (found.isDone) break;
}
const messages = pages.flat();
assert.deepEqual(messages[0].content, { type: "image", imageUrl: "https://shop.example/a.png", altText: null });
assert.deepEqual(
  messages.slice(1).map(({ content }) => content.body),
  numbers.filter((number) => number !== 5).map((number) => `Message ${number}`).reverse(),
);
assert.ok(messages.every(({ authorId, authorName }) => authorId === ada && authorName === "Ada"));
await assert.rejects(
  client.query(api.chat.listMessages, { channelId: general, paginationOpts: { numItems: 5, cursor: "wrong" } }),
);

// An int is a bigint in results, and a bigint or a number in arguments.
const liked = messages[0]._id;
assert.equal(messages[0].likeCount, 0n);
assert.equal(await client.mutation(api.chat.like, { messageId: liked, times: 2 }), 2n);
assert.equal(await client.mutation(api.chat.like, { messageId: liked, times: 2n ** 60n }), 2n ** 60n + 2n);
assert.equal(await client.mutation(api.chat.like, { messageId: liked }), 2n ** 60n + 3n);

// Actions, which run functions.
await client.mutation(api.chat.createChannel, { name: "random" });
assert.equal(await client.action(api.chat.announceEverywhere, { body: "Maintenance" }), 2n);

// Internal and missing functions have the same message, and are no application errors.
const refusal = async (reference, args) => {
  try {
    await client.mutation(reference, args);
  } catch (error) {
    assert.ok(!(error instanceof ConvexError));
    return error.message.replace(/\[Request ID: \w+\]/, "").replaceAll(/chat:\w+/g, "chat:it");
  }
  assert.fail("no error");
};
const internal = await refusal(api.chat.announce, { channelId: general, body: "Mine" });
assert.equal(internal, await refusal(api.chat.missing, {}));
assert.match(internal, /Could not find public function/);

// Wrong arguments name the argument as the client writes it.
await assert.rejects(client.query(api.chat.listMessages, { channelId: "channels_1" }), /channelId/);
await assert.rejects(client.query(api.chat.listChannels, { limit: 1 }), /limit/);
console.log("done");
