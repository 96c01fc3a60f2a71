// The collection in PocketBase, open to everyone. Requests are not logged, since the other servers log none either.
migrate((app) => {
  app.save(
    new Collection({
      type: "base",
      name: "items",
      listRule: "",
      viewRule: "",
      createRule: "",
      fields: [
        { type: "text", name: "name", required: true },
        { type: "text", name: "description" },
        { type: "autodate", name: "created", onCreate: true },
      ],
    }),
  );
  const settings = app.settings();
  settings.logs.maxDays = 0;
  app.save(settings);
});
