// Drives Convex's React hooks in jsdom. Usage: node react_client.cjs PACKAGES URL
const path = require("node:path");
const { createRequire } = require("node:module");
const [packages, url] = process.argv.slice(2);
const load = createRequire(path.join(packages, "x.js"));
const { JSDOM } = load("jsdom");
const dom = new JSDOM("<div id=root></div>");
globalThis.window = dom.window;
globalThis.document = dom.window.document;
globalThis.navigator = dom.window.navigator;
globalThis.IS_REACT_ACT_ENVIRONMENT = false;
const React = load("react");
const { createRoot } = load("react-dom/client");
const { ConvexProvider, ConvexReactClient, useMutation, usePaginatedQuery, useQuery } = load("convex/react");
const { anyApi } = load("convex/server");

const h = React.createElement;
const check = (condition, what) => { if (!condition) throw new Error(what); };
const until = async (condition, what) => {
  const end = Date.now() + 30000;
  while (!condition()) {
    check(Date.now() < end, "waited for " + what + ": " + JSON.stringify(now));
    await new Promise((r) => setTimeout(r, 5));
  }
};

const now = {};
const shown = [];
function App() {
  const list = useQuery(anyApi.chat.listMessages, { channel: "r" });
  // A page that is read before the fifth message is stored has three messages afterwards.
  now.isFull ||= list && list.length >= 5 && list.every((m) => m._id !== "optimistic");
  const args = now.isFull ? { channel: "r" } : "skip";
  const pages = usePaginatedQuery(anyApi.chat.pageOf, args, { initialNumItems: 2 });
  const send = useMutation(anyApi.chat.send).withOptimisticUpdate((store, { channel, body }) => {
    const known = store.getQuery(anyApi.chat.listMessages, { channel });
    if (known !== undefined) {
      store.setQuery(anyApi.chat.listMessages, { channel }, [...known, { _id: "optimistic", channel, body }]);
    }
  });
  now.list = list && list.map((m) => m.body);
  now.ids = list && list.map((m) => m._id);
  now.pages = pages.results.map((m) => m.body);
  now.status = pages.status;
  now.loadMore = pages.loadMore;
  now.send = send;
  shown.push(now.ids);
  return h("p", null, String(now.list));
}

async function main() {
  const client = new ConvexReactClient(url, { webSocketConstructor: load("ws"), verbose: false });
  createRoot(document.getElementById("root")).render(h(ConvexProvider, { client }, h(App)));
  await until(() => now.list !== undefined, "the first result");
  for (const body of ["1", "2", "3", "4", "5"]) await now.send({ channel: "r", body });
  await until(() => String(now.list) === "1,2,3,4,5" && !now.ids.includes("optimistic"), "five messages");
  check(shown.some((ids) => ids && ids.includes("optimistic")), "no optimistic update was shown");
  await until(() => now.status === "CanLoadMore" && now.pages.length === 2, "the first page");
  now.loadMore(2);
  await until(() => now.status === "CanLoadMore" && now.pages.length === 4, "the second page");
  now.loadMore(10);
  await until(() => now.status === "Exhausted" && now.pages.length === 5, "all pages");
  check(String(now.pages) === "5,4,3,2,1", "the pages: " + now.pages);
  await now.send({ channel: "r", body: "6" });
  await until(() => String(now.pages) === "6,5,4,3,2,1", "the pages with a new message");
  await until(() => document.getElementById("root").textContent === "1,2,3,4,5,6", "the document");
  process.stdout.write("DONE\n");
  process.exit(0);
}
main().catch((error) => { process.stdout.write("FAILED " + error.stack + "\n"); process.exit(1); });
