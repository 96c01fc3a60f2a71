BEGIN TRANSACTION;
CREATE TABLE "_cron_jobs" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "name" TEXT NOT NULL,
   "schedule" TEXT NOT NULL,
   "function" TEXT NOT NULL,
   "args" TEXT NOT NULL,
   "next_tick" REAL NOT NULL,
   "last_job" TEXT
) STRICT;
CREATE TABLE "_cron_runs" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "name" TEXT NOT NULL,
   "tick" REAL NOT NULL,
   "job" TEXT NOT NULL,
   "skipped" INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE "_once_calls" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "key" TEXT NOT NULL,
   "state" TEXT NOT NULL,
   "owner" TEXT NOT NULL,
   "started" REAL NOT NULL,
   "expires" REAL NOT NULL,
   "result" TEXT,
   "error" TEXT
) STRICT;
CREATE TABLE "_rate_limits" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "name" TEXT NOT NULL,
   "key" TEXT NOT NULL,
   "tokens" REAL NOT NULL,
   "time" REAL NOT NULL,
   "full_at" REAL NOT NULL
) STRICT;
CREATE TABLE "_scheduled_functions" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "name" TEXT NOT NULL,
   "args" TEXT NOT NULL,
   "kind" TEXT NOT NULL,
   "state" TEXT NOT NULL,
   "scheduled_time" REAL NOT NULL,
   "due" REAL NOT NULL,
   "completed_time" REAL,
   "error" TEXT,
   "worker" TEXT,
   "attempts" TEXT NOT NULL DEFAULT '[]'
) STRICT;
INSERT INTO "_scheduled_functions" VALUES('_scheduled_functions_01a19467e80089549f29fd5fbde11d55',1.79349120000000170896e+12,'reminders:remind','{"number":0}','mutation','pending',1793494800000.0,1793494800000.0,NULL,NULL,NULL,'[]');
INSERT INTO "_scheduled_functions" VALUES('_scheduled_functions_01a19467e807540e93334b9b4bfd2c11',1.79349120000730175776e+12,'reminders:remind','{"number":1}','mutation','pending',1793494800007.3,1793494800007.3,NULL,NULL,NULL,'[]');
INSERT INTO "_scheduled_functions" VALUES('_scheduled_functions_01a19467e80e54317609e0fd1468e0da',1.79349120001460180665e+12,'reminders:remind','{"number":2}','mutation','pending',1793494800014.6,1793494800014.6,NULL,NULL,NULL,'[]');
INSERT INTO "_scheduled_functions" VALUES('_scheduled_functions_01a19467e815fd9c801566a570a7eb4f',1.7934912000219018555e+12,'reminders:remind','{"number":3}','mutation','pending',1.79349480002190014653e+12,1.79349480002190014653e+12,NULL,NULL,NULL,'[]');
INSERT INTO "_scheduled_functions" VALUES('_scheduled_functions_01a19467e81d46f7b99d4c6150e90260',1.79349120002920190426e+12,'reminders:remind','{"number":4}','mutation','pending',1.79349480002920019534e+12,1.79349480002920019534e+12,NULL,NULL,NULL,'[]');
CREATE TABLE "_settings" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "key" TEXT NOT NULL,
   "value" TEXT NOT NULL
) STRICT;
INSERT INTO "_settings" VALUES('_settings_0000000000001e57ff4f545b4c0d8494',0.0,'shape','{"orders":{"columns":{"number":{"kind":"integer","nullable":false,"checks":"1528085c2a2add10"},"state":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"note":{"kind":"text","nullable":true,"checks":"2422dfa28096a5ec"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_number":{"fields":["number"],"unique":true},"by_state":{"fields":["state"],"unique":false},"by_note":{"fields":["note"],"unique":true}},"old_names":[]},"lines":{"columns":{"order":{"kind":"text","nullable":false,"checks":"cde1b3a0e00cdde7"},"text":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_order":{"fields":["order"],"unique":false}},"old_names":[]},"_storage":{"columns":{"sha256":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"size":{"kind":"integer","nullable":false,"checks":"1528085c2a2add10"},"content_type":{"kind":"text","nullable":true,"checks":"2422dfa28096a5ec"},"revision":{"kind":"integer","nullable":false,"checks":"1528085c2a2add10"},"name":{"kind":"text","nullable":true,"checks":"2422dfa28096a5ec"}},"indexes":{"by_creation_time":{"fields":[],"unique":false}},"old_names":[]},"_used_uploads":{"columns":{"nonce":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"expires":{"kind":"real","nullable":false,"checks":"340e74229736328a"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_nonce":{"fields":["nonce"],"unique":true},"by_expiry":{"fields":["expires"],"unique":false}},"old_names":[]},"_scheduled_functions":{"columns":{"name":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"args":{"kind":"json","nullable":false,"checks":"f23bd99f724e2848"},"kind":{"kind":"text","nullable":false,"checks":"9fc93364da0ec12e"},"state":{"kind":"text","nullable":false,"checks":"c4adc9b525ddf99c"},"scheduled_time":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"due":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"completed_time":{"kind":"real","nullable":true,"checks":"a19ddd10827c9f6b"},"error":{"kind":"text","nullable":true,"checks":"2422dfa28096a5ec"},"worker":{"kind":"text","nullable":true,"checks":"2422dfa28096a5ec"},"attempts":{"kind":"json","nullable":false,"checks":"afc568510248668b"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_state":{"fields":["state","kind","due"],"unique":false}},"old_names":[]},"_cron_jobs":{"columns":{"name":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"schedule":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"function":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"args":{"kind":"json","nullable":false,"checks":"f23bd99f724e2848"},"next_tick":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"last_job":{"kind":"text","nullable":true,"checks":"ca331a27db49f8e6"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_name":{"fields":["name"],"unique":true}},"old_names":[]},"_cron_runs":{"columns":{"name":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"tick":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"job":{"kind":"text","nullable":false,"checks":"252d69f6d8ee1913"},"skipped":{"kind":"integer","nullable":false,"checks":"1528085c2a2add10"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_tick":{"fields":["name","tick"],"unique":true},"by_time":{"fields":["tick"],"unique":false}},"old_names":[]},"_once_calls":{"columns":{"key":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"state":{"kind":"text","nullable":false,"checks":"7fe856bc66e33da6"},"owner":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"started":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"expires":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"result":{"kind":"text","nullable":true,"checks":"2422dfa28096a5ec"},"error":{"kind":"text","nullable":true,"checks":"2422dfa28096a5ec"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_key":{"fields":["key"],"unique":true},"by_expiry":{"fields":["expires"],"unique":false}},"old_names":[]},"_rate_limits":{"columns":{"name":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"key":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"tokens":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"time":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"full_at":{"kind":"real","nullable":false,"checks":"340e74229736328a"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_name":{"fields":["name","key"],"unique":true},"by_full_at":{"fields":["full_at"],"unique":false}},"old_names":[]},"_webhooks":{"columns":{"source":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"event_id":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"type":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"provider":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"state":{"kind":"text","nullable":false,"checks":"e29a445970f18f7c"},"received":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"expires":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"due":{"kind":"real","nullable":false,"checks":"340e74229736328a"},"secret_label":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"request_id":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"size":{"kind":"integer","nullable":false,"checks":"1528085c2a2add10"},"completed_time":{"kind":"real","nullable":true,"checks":"a19ddd10827c9f6b"},"error":{"kind":"text","nullable":true,"checks":"2422dfa28096a5ec"},"answer":{"kind":"json","nullable":true,"checks":"03c9fba6cb07110f"},"lane":{"kind":"text","nullable":true,"checks":"2422dfa28096a5ec"},"job":{"kind":"text","nullable":true,"checks":"ca331a27db49f8e6"},"attempts":{"kind":"json","nullable":false,"checks":"d368f2accdaa6204"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_event":{"fields":["source","event_id"],"unique":true},"by_state":{"fields":["state","due"],"unique":false}},"old_names":[]},"_webhook_requests":{"columns":{"headers":{"kind":"json","nullable":false,"checks":"93a7005bfdab9169"},"body":{"kind":"blob","nullable":false,"checks":"9f39bcb44f8ed456"}},"indexes":{"by_creation_time":{"fields":[],"unique":false}},"old_names":[]},"_webhook_contents":{"columns":{"source":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"fingerprint":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"event_id":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"expires":{"kind":"real","nullable":false,"checks":"340e74229736328a"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_fingerprint":{"fields":["source","fingerprint"],"unique":true},"by_expiry":{"fields":["expires"],"unique":false}},"old_names":[]},"_webhook_turns":{"columns":{"source":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"lane":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"delivery":{"kind":"text","nullable":false,"checks":"3b52385a94dfbf8c"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_lane":{"fields":["source","lane"],"unique":false},"by_delivery":{"fields":["delivery"],"unique":false}},"old_names":[]},"api_keys":{"columns":{"name":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"hint":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"hash":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"scopes":{"kind":"json","nullable":false,"checks":"59be9fd24eebec92"},"expires_at":{"kind":"real","nullable":true,"checks":"a19ddd10827c9f6b"},"revoked_at":{"kind":"real","nullable":true,"checks":"a19ddd10827c9f6b"},"last_used_at":{"kind":"real","nullable":true,"checks":"a19ddd10827c9f6b"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_hash":{"fields":["hash"],"unique":true},"by_name":{"fields":["name"],"unique":false}},"old_names":[]},"access_tokens":{"columns":{"subject":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"hint":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"hash":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"scopes":{"kind":"json","nullable":false,"checks":"59be9fd24eebec92"},"expires_at":{"kind":"real","nullable":true,"checks":"a19ddd10827c9f6b"},"revoked_at":{"kind":"real","nullable":true,"checks":"a19ddd10827c9f6b"},"last_used_at":{"kind":"real","nullable":true,"checks":"a19ddd10827c9f6b"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_hash":{"fields":["hash"],"unique":true},"by_subject":{"fields":["subject"],"unique":false}},"old_names":[]},"_settings":{"columns":{"key":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"},"value":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_key":{"fields":["key"],"unique":true}},"old_names":[]},"people":{"columns":{"name":{"kind":"text","nullable":false,"checks":"1b7bba1b74ba4a84"}},"indexes":{"by_creation_time":{"fields":[],"unique":false},"by_name":{"fields":["name"],"unique":false}},"old_names":["users"]}}');
INSERT INTO "_settings" VALUES('_settings_01a19467e800daaa0820c3aaa6653a22',1793491200000.0,'secret','McmRTcmxWQ3lE-hk5jNpzuUFCnXy0cWUhc9JNVVQz6I');
CREATE TABLE "_storage" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "sha256" TEXT NOT NULL,
   "size" INTEGER NOT NULL,
   "content_type" TEXT,
   "revision" INTEGER NOT NULL DEFAULT 0,
   "name" TEXT
) STRICT;
CREATE TABLE "_used_uploads" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "nonce" TEXT NOT NULL,
   "expires" REAL NOT NULL
) STRICT;
CREATE TABLE "_webhook_contents" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "source" TEXT NOT NULL,
   "fingerprint" TEXT NOT NULL,
   "event_id" TEXT NOT NULL,
   "expires" REAL NOT NULL
) STRICT;
CREATE TABLE "_webhook_requests" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "headers" TEXT NOT NULL,
   "body" BLOB NOT NULL
) STRICT;
CREATE TABLE "_webhook_turns" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "source" TEXT NOT NULL,
   "lane" TEXT NOT NULL,
   "delivery" TEXT NOT NULL
) STRICT;
CREATE TABLE "_webhooks" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "source" TEXT NOT NULL,
   "event_id" TEXT NOT NULL,
   "type" TEXT NOT NULL,
   "provider" TEXT NOT NULL,
   "state" TEXT NOT NULL,
   "received" REAL NOT NULL,
   "expires" REAL NOT NULL,
   "due" REAL NOT NULL,
   "secret_label" TEXT NOT NULL,
   "request_id" TEXT NOT NULL,
   "size" INTEGER NOT NULL,
   "completed_time" REAL,
   "error" TEXT,
   "answer" TEXT,
   "lane" TEXT,
   "job" TEXT,
   "attempts" TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE "access_tokens" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "subject" TEXT NOT NULL,
   "hint" TEXT NOT NULL,
   "hash" TEXT NOT NULL,
   "scopes" TEXT NOT NULL,
   "expires_at" REAL,
   "revoked_at" REAL,
   "last_used_at" REAL
) STRICT;
CREATE TABLE "api_keys" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "name" TEXT NOT NULL,
   "hint" TEXT NOT NULL,
   "hash" TEXT NOT NULL,
   "scopes" TEXT NOT NULL,
   "expires_at" REAL,
   "revoked_at" REAL,
   "last_used_at" REAL
) STRICT;
CREATE TABLE "lines" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "order" TEXT NOT NULL,
   "text" TEXT NOT NULL
) STRICT;
INSERT INTO "lines" VALUES('lines_01a19467e8005ade4a5daf1ef38a53e3',1.79349120000000024407e+12,'orders_01a19467e800b1a8e82dc020de5914c1','0.0');
INSERT INTO "lines" VALUES('lines_01a19467e800b73f2550f39a82c3a90c',1.79349120000000048823e+12,'orders_01a19467e800b1a8e82dc020de5914c1','0.1');
INSERT INTO "lines" VALUES('lines_01a19467e8009eed8f090f6b5a69f108',1.79349120000000073239e+12,'orders_01a19467e800b1a8e82dc020de5914c1','0.2');
INSERT INTO "lines" VALUES('lines_01a19467e80019db00c486fb95297dd3',1.79349120000000097656e+12,'orders_01a19467e800b1a8e82dc020de5914c1','0.3');
INSERT INTO "lines" VALUES('lines_01a19467e800ce9ebd86474a19717c30',1.79349120000000122072e+12,'orders_01a19467e800b1a8e82dc020de5914c1','0.4');
INSERT INTO "lines" VALUES('lines_01a19467e800ea5be1d9f412e3b8ba82',1.79349120000000146479e+12,'orders_01a19467e800b1a8e82dc020de5914c1','0.5');
INSERT INTO "lines" VALUES('lines_01a19467e8070560e339c88fded1cbfa',1.793491200007300293e+12,'orders_01a19467e807d919a7951d96d69c9981','1.0');
INSERT INTO "lines" VALUES('lines_01a19467e80744c9675ed917675af146',1.79349120000730053708e+12,'orders_01a19467e807d919a7951d96d69c9981','1.1');
INSERT INTO "lines" VALUES('lines_01a19467e807a144818b0b01f440dff5',1.79349120000730078124e+12,'orders_01a19467e807d919a7951d96d69c9981','1.2');
INSERT INTO "lines" VALUES('lines_01a19467e8071da0278a7106043c6995',1.7934912000073010254e+12,'orders_01a19467e807d919a7951d96d69c9981','1.3');
INSERT INTO "lines" VALUES('lines_01a19467e80771be6ac98025d174e101',1.79349120000730126956e+12,'orders_01a19467e807d919a7951d96d69c9981','1.4');
INSERT INTO "lines" VALUES('lines_01a19467e8077570bc62dc27971f2e83',1.79349120000730151373e+12,'orders_01a19467e807d919a7951d96d69c9981','1.5');
INSERT INTO "lines" VALUES('lines_01a19467e80e77719e8e281609ea6b3d',1.79349120001460034181e+12,'orders_01a19467e80edd29a90374646a675752','2.0');
INSERT INTO "lines" VALUES('lines_01a19467e80ecb36e7a4b65a36ade531',1.79349120001460058597e+12,'orders_01a19467e80edd29a90374646a675752','2.1');
INSERT INTO "lines" VALUES('lines_01a19467e80ee953efe9cfffa9286718',1.79349120001460083e+12,'orders_01a19467e80edd29a90374646a675752','2.2');
INSERT INTO "lines" VALUES('lines_01a19467e80e47a88f239e8b8cbaa40f',1.79349120001460107416e+12,'orders_01a19467e80edd29a90374646a675752','2.3');
INSERT INTO "lines" VALUES('lines_01a19467e80e8e48c29a4d3a2dd33f0c',1.79349120001460131832e+12,'orders_01a19467e80edd29a90374646a675752','2.4');
INSERT INTO "lines" VALUES('lines_01a19467e80e3865311c0170fce9dbaa',1.79349120001460156249e+12,'orders_01a19467e80edd29a90374646a675752','2.5');
INSERT INTO "lines" VALUES('lines_01a19467e815ac9d3600aa3ed83cb122',1.79349120002190039061e+12,'orders_01a19467e815cc93d457136cdc35ec46','3.0');
INSERT INTO "lines" VALUES('lines_01a19467e8153645b4c04796e1c6f11c',1.79349120002190063477e+12,'orders_01a19467e815cc93d457136cdc35ec46','3.1');
INSERT INTO "lines" VALUES('lines_01a19467e81507be1a75f8b10510f8b5',1.79349120002190087893e+12,'orders_01a19467e815cc93d457136cdc35ec46','3.2');
INSERT INTO "lines" VALUES('lines_01a19467e8156b16a18a603c20d408fc',1.7934912000219011231e+12,'orders_01a19467e815cc93d457136cdc35ec46','3.3');
INSERT INTO "lines" VALUES('lines_01a19467e815482aa31cd31eab563dea',1.79349120002190136717e+12,'orders_01a19467e815cc93d457136cdc35ec46','3.4');
INSERT INTO "lines" VALUES('lines_01a19467e815c5db171cc90c71ea3722',1.79349120002190161133e+12,'orders_01a19467e815cc93d457136cdc35ec46','3.5');
INSERT INTO "lines" VALUES('lines_01a19467e81df784b6c2df0aac600f8c',1.79349120002920043941e+12,'orders_01a19467e81d6647c7b9c46d04d82063','4.0');
INSERT INTO "lines" VALUES('lines_01a19467e81d207ff58d26959792ccc4',1.79349120002920068357e+12,'orders_01a19467e81d6647c7b9c46d04d82063','4.1');
INSERT INTO "lines" VALUES('lines_01a19467e81de69ba7e0677513a43a7b',1.79349120002920092774e+12,'orders_01a19467e81d6647c7b9c46d04d82063','4.2');
INSERT INTO "lines" VALUES('lines_01a19467e81d4926d2301fe6c13e060c',1.7934912000292011719e+12,'orders_01a19467e81d6647c7b9c46d04d82063','4.3');
INSERT INTO "lines" VALUES('lines_01a19467e81d14e486856531861c5251',1.79349120002920141606e+12,'orders_01a19467e81d6647c7b9c46d04d82063','4.4');
INSERT INTO "lines" VALUES('lines_01a19467e81d06cd60cd7877695631ef',1.79349120002920166009e+12,'orders_01a19467e81d6647c7b9c46d04d82063','4.5');
CREATE TABLE "orders" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "number" INTEGER NOT NULL,
   "state" TEXT NOT NULL,
   "note" TEXT
) STRICT;
INSERT INTO "orders" VALUES('orders_01a19467e800b1a8e82dc020de5914c1',1793491200000.0,0,'paid',NULL);
INSERT INTO "orders" VALUES('orders_01a19467e807d919a7951d96d69c9981',1793491200007.3,1,'new','n');
INSERT INTO "orders" VALUES('orders_01a19467e80edd29a90374646a675752',1793491200014.6,2,'paid',NULL);
INSERT INTO "orders" VALUES('orders_01a19467e815cc93d457136cdc35ec46',1.79349120002190014645e+12,3,'new',NULL);
INSERT INTO "orders" VALUES('orders_01a19467e81d6647c7b9c46d04d82063',1.79349120002920019538e+12,4,'paid',NULL);
CREATE TABLE "people" (
   "_id" TEXT PRIMARY KEY NOT NULL,
   "_creation_time" REAL NOT NULL,
   "name" TEXT NOT NULL
) STRICT;
INSERT INTO "people" VALUES('users_01a19467e824ca3ee8f180f0b80149fc',1.79349120003650024414e+12,'Ada');
INSERT INTO "people" VALUES('users_01a19467e82b663d13ff28de09889ea4',1.79349120004380029299e+12,'Bob');
INSERT INTO "people" VALUES('people_01a19467e833729f788cfa8b94d17128',1.79349120005110034175e+12,'Cid');
INSERT INTO "people" VALUES('people_01a19467e83ae21604c1539861747d06',1.79349120005840039059e+12,'Dan');
CREATE INDEX "orders.by_creation_time" ON "orders" ("_creation_time", "_id");
CREATE UNIQUE INDEX "orders.by_number" ON "orders" ("number");
CREATE INDEX "orders.by_state" ON "orders" ("state", "_creation_time", "_id");
CREATE UNIQUE INDEX "orders.by_note" ON "orders" ("note") WHERE "note" IS NOT NULL;
CREATE INDEX "orders.by_note.order" ON "orders" ("note", "_creation_time", "_id");
CREATE INDEX "lines.by_creation_time" ON "lines" ("_creation_time", "_id");
CREATE INDEX "lines.by_order" ON "lines" ("order", "_creation_time", "_id");
CREATE INDEX "_storage.by_creation_time" ON "_storage" ("_creation_time", "_id");
CREATE INDEX "_used_uploads.by_creation_time" ON "_used_uploads" ("_creation_time", "_id");
CREATE UNIQUE INDEX "_used_uploads.by_nonce" ON "_used_uploads" ("nonce");
CREATE INDEX "_used_uploads.by_expiry" ON "_used_uploads" ("expires", "_creation_time", "_id");
CREATE INDEX "_scheduled_functions.by_creation_time" ON "_scheduled_functions" ("_creation_time", "_id");
CREATE INDEX "_scheduled_functions.by_state" ON "_scheduled_functions" ("state", "kind", "due", "_creation_time", "_id");
CREATE INDEX "_cron_jobs.by_creation_time" ON "_cron_jobs" ("_creation_time", "_id");
CREATE UNIQUE INDEX "_cron_jobs.by_name" ON "_cron_jobs" ("name");
CREATE INDEX "_cron_runs.by_creation_time" ON "_cron_runs" ("_creation_time", "_id");
CREATE UNIQUE INDEX "_cron_runs.by_tick" ON "_cron_runs" ("name", "tick");
CREATE INDEX "_cron_runs.by_time" ON "_cron_runs" ("tick", "_creation_time", "_id");
CREATE INDEX "_once_calls.by_creation_time" ON "_once_calls" ("_creation_time", "_id");
CREATE UNIQUE INDEX "_once_calls.by_key" ON "_once_calls" ("key");
CREATE INDEX "_once_calls.by_expiry" ON "_once_calls" ("expires", "_creation_time", "_id");
CREATE INDEX "_rate_limits.by_creation_time" ON "_rate_limits" ("_creation_time", "_id");
CREATE UNIQUE INDEX "_rate_limits.by_name" ON "_rate_limits" ("name", "key");
CREATE INDEX "_rate_limits.by_full_at" ON "_rate_limits" ("full_at", "_creation_time", "_id");
CREATE INDEX "_webhooks.by_creation_time" ON "_webhooks" ("_creation_time", "_id");
CREATE UNIQUE INDEX "_webhooks.by_event" ON "_webhooks" ("source", "event_id");
CREATE INDEX "_webhooks.by_state" ON "_webhooks" ("state", "due", "_creation_time", "_id");
CREATE INDEX "_webhook_requests.by_creation_time" ON "_webhook_requests" ("_creation_time", "_id");
CREATE INDEX "_webhook_contents.by_creation_time" ON "_webhook_contents" ("_creation_time", "_id");
CREATE UNIQUE INDEX "_webhook_contents.by_fingerprint" ON "_webhook_contents" ("source", "fingerprint");
CREATE INDEX "_webhook_contents.by_expiry" ON "_webhook_contents" ("expires", "_creation_time", "_id");
CREATE INDEX "_webhook_turns.by_creation_time" ON "_webhook_turns" ("_creation_time", "_id");
CREATE INDEX "_webhook_turns.by_lane" ON "_webhook_turns" ("source", "lane", "_creation_time", "_id");
CREATE INDEX "_webhook_turns.by_delivery" ON "_webhook_turns" ("delivery", "_creation_time", "_id");
CREATE INDEX "api_keys.by_creation_time" ON "api_keys" ("_creation_time", "_id");
CREATE UNIQUE INDEX "api_keys.by_hash" ON "api_keys" ("hash");
CREATE INDEX "api_keys.by_name" ON "api_keys" ("name", "_creation_time", "_id");
CREATE INDEX "access_tokens.by_creation_time" ON "access_tokens" ("_creation_time", "_id");
CREATE UNIQUE INDEX "access_tokens.by_hash" ON "access_tokens" ("hash");
CREATE INDEX "access_tokens.by_subject" ON "access_tokens" ("subject", "_creation_time", "_id");
CREATE INDEX "_settings.by_creation_time" ON "_settings" ("_creation_time", "_id");
CREATE UNIQUE INDEX "_settings.by_key" ON "_settings" ("key");
CREATE INDEX "people.by_creation_time" ON "people" ("_creation_time", "_id");
CREATE INDEX "people.by_name" ON "people" ("name", "_creation_time", "_id");
COMMIT;
