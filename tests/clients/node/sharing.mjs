// The client of a file sharing app: URL.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { ConvexHttpClient } from "convex/browser";
import { api } from "./_generated/api.js";

const client = new ConvexHttpClient(process.env.URL, { logger: false });
const { sharing } = api;
const content = Buffer.from("The content of a file.".repeat(10_000));
const origin = "https://files.example";

// As a page of another origin uploads: a preflight, then the bytes.
const uploadUrl = await client.mutation(sharing.generateUploadUrl);
assert.ok(uploadUrl.startsWith(process.env.URL), uploadUrl);
const preflight = await fetch(uploadUrl, {
  method: "OPTIONS",
  headers: { Origin: origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type" },
});
assert.ok(preflight.ok);
assert.ok(["*", origin].includes(preflight.headers.get("Access-Control-Allow-Origin")));
assert.match(preflight.headers.get("Access-Control-Allow-Headers"), /content-type/i);
const response = await fetch(uploadUrl, {
  method: "POST",
  headers: { "Content-Type": "text/plain", Origin: origin },
  body: content,
});
assert.equal(response.status, 200);
assert.ok(["*", origin].includes(response.headers.get("Access-Control-Allow-Origin")));
const { storageId } = await response.json();

const thumbnail = new Uint8Array([137, 80, 78, 71]).buffer;
const fileId = await client.mutation(sharing.share, { storageId, fileName: "notes.txt", thumbnail });
const [file] = await client.query(sharing.listFiles);
assert.deepEqual(
  { ...file, url: "" },
  { id: fileId, fileName: "notes.txt", url: "", sizeInBytes: BigInt(content.length), thumbnail },
);
assert.ok(file.url.startsWith(process.env.URL), file.url);
const download = await fetch(file.url);
assert.match(download.headers.get("Content-Type"), /^text\/plain/);
assert.ok(Buffer.from(await download.arrayBuffer()).equals(content));

const digest = await client.action(sharing.checksum, { fileId });
assert.equal(Buffer.from(digest).toString("hex"), createHash("sha256").update(content).digest("hex"));
await client.mutation(sharing.remove, { fileId });
assert.equal((await fetch(file.url)).status, 404);
await assert.rejects(client.action(sharing.checksum, { fileId }), (error) => error.data.code === "not_found");
await assert.rejects(client.mutation(sharing.share, { storageId, fileName: "x" }));
console.log("done");
