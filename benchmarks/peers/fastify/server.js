// The same endpoints in Node, on a database whose table is there: node server.js PORT FILE DURABILITY PROCESSES
"use strict";

const cluster = require("node:cluster");
const { randomUUID } = require("node:crypto");
const Database = require("better-sqlite3");
const fastify = require("fastify");

const [port, file, durability, processes] = process.argv.slice(2);

const BODY = {
  type: "object",
  required: ["name"],
  additionalProperties: false,
  properties: { name: { type: "string" }, description: { type: ["string", "null"] } },
};

const ITEM = {
  type: "object",
  properties: {
    _id: { type: "string" },
    _creationTime: { type: "number" },
    name: { type: "string" },
    description: { type: ["string", "null"] },
  },
};

const COLUMNS = '"_id", "_creation_time" AS "_creationTime", "name", "description"';

function open() {
  const database = new Database(file, { timeout: 5000 });
  database.pragma("journal_mode = WAL");
  database.pragma(`synchronous = ${durability}`);
  return database;
}

function serve() {
  const database = open();
  const insert = database.prepare('INSERT INTO "items" VALUES (?, ?, ?, ?)');
  const get = database.prepare(`SELECT ${COLUMNS} FROM "items" WHERE "_id" = ?`);
  const newest = database.prepare(`SELECT ${COLUMNS} FROM "items" ORDER BY rowid DESC LIMIT 10`);
  const app = fastify();
  app.get("/api/items/:id", { schema: { response: { 200: ITEM } } }, (request, reply) => {
    const item = get.get(request.params.id);
    if (item) reply.send(item);
    else reply.code(404).send({ error: "There is no such item" });
  });
  app.get("/api/items", { schema: { response: { 200: { type: "array", items: ITEM } } } }, (request, reply) => {
    reply.send(newest.all());
  });
  app.post("/api/items", { schema: { body: BODY, response: { 201: ITEM } } }, (request, reply) => {
    const { name, description = null } = request.body;
    const item = { _id: randomUUID(), _creationTime: Date.now(), name, description };
    insert.run(item._id, item._creationTime, name, description); // one statement is a transaction by itself
    reply.code(201).send(item);
  });
  app.listen({ port: Number(port), host: "127.0.0.1" });
}

if (cluster.isPrimary && processes !== "1") {
  for (let started = 0; started < Number(processes); started++) cluster.fork();
} else {
  serve();
}
