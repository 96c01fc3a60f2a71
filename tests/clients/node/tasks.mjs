// The client of a task list: URL.
import assert from "node:assert/strict";
import { ConvexHttpClient } from "convex/browser";
import { ConvexError } from "convex/values";
import { api } from "./_generated/api.js";

const client = new ConvexHttpClient(process.env.URL, { logger: false });
const { tasks } = api;

const first = await client.mutation(tasks.create, { title: "Write", estimatedHours: 1.5, tagNames: ["a", "b"] });
const second = await client.mutation(tasks.create, { title: "Read", dueAt: "2026-12-24T18:00:00Z" });
assert.deepEqual(
  (await client.query(tasks.listTasks, {})).map(({ title, state, dueAt, tagNames }) => [title, state, dueAt, tagNames]),
  [
    ["Write", "todo", null, ["a", "b"]],
    ["Read", "todo", "2026-12-24T18:00:00Z", []],
  ],
);

// Fields that are undefined are left out, and null is a value.
const changed = await client.mutation(tasks.update, {
  taskId: second,
  changes: { state: "in_progress", title: undefined },
});
assert.deepEqual([changed.state, changed.title], ["in_progress", "Read"]);
assert.equal((await client.mutation(tasks.update, { taskId: second, changes: { dueAt: null } })).dueAt, null);
await client.mutation(tasks.update, { taskId: first, changes: { dueAt: "2026-12-31T00:00:00Z" } });

const statistics = await client.query(tasks.statistics);
assert.deepEqual(statistics, {
  taskCount: 2n,
  totalHours: 1.5,
  countByState: { in_progress: 1n, todo: 1n },
  nextDue: [first, "2026-12-31T00:00:00Z"],
});
assert.equal(await client.mutation(tasks.remove, { taskId: first }), null);
assert.equal(await client.query(tasks.get, { taskId: first }), null);
assert.deepEqual((await client.query(tasks.listTasks, { state: "in_progress", limit: 1n })).length, 1);
await assert.rejects(
  client.mutation(tasks.update, { taskId: first, changes: {} }),
  (error) => error instanceof ConvexError && error.data.code === "not_found" && error.data.task_id === first,
);

// All values of Convex, there and back.
const bytes = new Uint8Array([0, 1, 255]).buffer;
for (const value of [
  null, true, false, 0, -0, 1.5, 1e300, NaN, Infinity, -Infinity, 2n ** 63n - 1n, -(2n ** 63n), 0n, "", "a", "\u{1F600}",
  bytes, [], [1, [2n, "x"]], {}, { "": 1, snake_case: { camelCase: [null] } }, Number.MAX_SAFE_INTEGER,
]) {
  const echoed = await client.query(tasks.echo, { value });
  assert.deepEqual(echoed, value);
  assert.ok(typeof value !== "number" || Object.is(echoed, value));
}

// A query on a snapshot that is not older than one time.
assert.deepEqual((await client.consistentQuery(tasks.statistics)).taskCount, 1n);
assert.deepEqual((await client.consistentQuery(tasks.get, { taskId: second })).title, "Read");
console.log("done");
