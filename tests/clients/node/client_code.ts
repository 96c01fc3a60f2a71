// Code of clients. In each wrong line the compiler finds the error that the comment before it says.
import { ConvexHttpClient } from "convex/browser";
import { fetchQuery } from "convex/nextjs";
import { useAction, useMutation, usePaginatedQuery, useQueries, useQuery } from "convex/react";
import type { FunctionArgs, FunctionReturnType, GenericDataModel, IndexNames, NamedTableInfo } from "convex/server";
import { api } from "./_generated/api.js";
import type { DataModel, Doc, Id, TableNames } from "./_generated/dataModel.js";

const client = new ConvexHttpClient("https://chat.example");

// --- what is right ---------------------------------------------------------------------------------------------------

export async function right(): Promise<void> {
  const channels: Doc<"channels">[] = await client.query(api.chat.listChannels);
  const channelId: Id<"channels"> = channels[0]._id;
  await client.query(api.chat.listChannels, {});
  await client.mutation(api.chat.send, { channelId, content: { type: "text", body: "Hello" } });
  await client.mutation(api.chat.send, { channelId, content: { type: "image", imageUrl: "https://a.example" } });
  const likes: bigint = await client.mutation(api.chat.like, { messageId: "" as Id<"messages">, times: 2 });
  await client.mutation(api.chat.like, { messageId: "" as Id<"messages">, times: likes });
  const count: bigint = await client.action(api.chat.announceEverywhere, { body: "Hello" });
  const task: Doc<"tasks"> | null = await client.query(api.tasks.get, { taskId: "" as Id<"tasks"> });
  const state: "todo" | "in_progress" | "done" | undefined = task?.state;
  const [id, due]: [Id<"tasks">, string] = (await client.query(api.tasks.statistics)).nextDue ?? ["" as Id<"tasks">, ""];
  const thumbnail: ArrayBuffer | null = (await client.query(api.sharing.listFiles))[0].thumbnail;
  const stored: Id<"_storage"> = "" as Id<"_storage">;
  await client.mutation(api.sharing.share, { storageId: stored, fileName: "a", thumbnail });
  await client.consistentQuery(api.tasks.statistics);
  await fetchQuery(api.tasks.listTasks, { state });
  void [count, id, due];
}

export function Component(): string {
  const user: Doc<"users"> | null | undefined = useQuery(api.chat.currentUser);
  const send = useMutation(api.chat.send).withOptimisticUpdate((store, { channelId }) => {
    store.getQuery(api.tasks.listTasks, { limit: 1 });
    void channelId;
  });
  const announce: (args: { body: string }) => Promise<bigint> = useAction(api.chat.announceEverywhere);
  const { results, loadMore } = usePaginatedQuery(
    api.chat.listMessages,
    { channelId: "" as Id<"channels"> },
    { initialNumItems: 10 },
  );
  loadMore(5);
  const content = results[0].content;
  const text: string = content.type === "text" ? content.body : content.imageUrl;
  const several = useQueries({ first: { query: api.chat.listChannels, args: {} } });
  useQuery(api.tasks.get, user ? { taskId: "" as Id<"tasks"> } : "skip");
  void [send, announce, several];
  return text;
}

const model: GenericDataModel = null as unknown as DataModel;
const table: TableNames = "shared_files";
const index: IndexNames<NamedTableInfo<DataModel, "tasks">> = "by_state";
const args: FunctionArgs<typeof api.tasks.create> = { title: "Write", tagNames: ["a"], estimatedHours: 1.5 };
const result: FunctionReturnType<typeof api.chat.like> = 1n;
void [model, table, index, args, result];

// --- what is wrong ---------------------------------------------------------------------------------------------------

export async function wrong(): Promise<void> {
  const channelId = "" as Id<"channels">;
  // @ts-expect-error: Expected 2 arguments, but got 1
  await client.query(api.chat.listMessages);
  // @ts-expect-error: Property 'body' is missing
  await client.action(api.chat.announceEverywhere, {});
  // @ts-expect-error: 'text' does not exist in type
  await client.action(api.chat.announceEverywhere, { text: "Hello" });
  // @ts-expect-error: Type 'number' is not assignable to type 'string'
  await client.action(api.chat.announceEverywhere, { body: 1 });
  // @ts-expect-error: Type 'string' is not assignable to type 'Id<"tasks">'
  await client.query(api.tasks.get, { taskId: "tasks_1" });
  // @ts-expect-error: is not assignable to type 'Id<"tasks">'
  await client.query(api.tasks.get, { taskId: channelId });
  // @ts-expect-error: is not assignable to type '"todo" | "in_progress" | "done" | null | undefined'
  await client.query(api.tasks.listTasks, { state: "later" });
  // @ts-expect-error: '"query"' is not assignable to type '"mutation"'
  await client.mutation(api.chat.listChannels);
  // @ts-expect-error: '"mutation"' is not assignable to type '"query"'
  await client.query(api.tasks.create, { title: "Write" });
  // @ts-expect-error: Property 'announce' does not exist
  await client.mutation(api.chat.announce, { channelId, body: "Internal" });
  // @ts-expect-error: Property 'list_channels' does not exist
  await client.query(api.chat.list_channels);
  // @ts-expect-error: 'imageUrl' does not exist in type
  await client.mutation(api.chat.send, { channelId, content: { type: "text", body: "", imageUrl: "" } });
  // @ts-expect-error: Type 'null' is not assignable to type 'string | undefined'
  await client.mutation(api.tasks.update, { taskId: "" as Id<"tasks">, changes: { title: null } });
  // @ts-expect-error: 'task' is possibly 'null'
  (await client.query(api.tasks.get, { taskId: "" as Id<"tasks"> }).then((task) => task.title)).trim();
  // @ts-expect-error: Type 'bigint' is not assignable to type 'number'
  const likes: number = await client.mutation(api.chat.like, { messageId: "" as Id<"messages"> });
  // @ts-expect-error: Type '"items"' does not satisfy the constraint
  const item: Id<"items"> | null = null;
  // @ts-expect-error: Property 'title' does not exist on type
  const title: string = (null as unknown as Doc<"channels">).title;
  void [likes, item, title];
}
