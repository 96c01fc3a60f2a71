// Verifies and signs deliveries with the vendors' own packages of npm.
//
// The standard input is a JSON list of deliveries, the first argument the folder of the packages. The output is a JSON
// list: the verdict on each delivery, or the headers of one to be signed.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.argv[2] + "/x.js"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href).then((loaded) => loaded.default ?? loaded);
// Their main file is for another module system.
const module_ = (name, file) => import(pathToFileURL(`${process.argv[2]}/node_modules/${name}/${file}`).href);

// Stops the clock: a package with a tolerance of five seconds must not depend on how fast the others are loaded.
const RealDate = Date;
function stopClock(at) {
  globalThis.Date = class extends RealDate {
    constructor(...parts) {
      if (parts.length) super(...parts);
      else super(at);
    }

    static now() {
      return at;
    }
  };
}

const seconds = (each) => Math.floor(each.at / 1000);

async function standard(each, Webhook, names) {
  const [id, time, signature] = names;
  const webhook = new Webhook(each.secret);
  if (each.signs) {
    const at = new Date(each.at);
    return { [id]: "msg_1", [time]: String(seconds(each)), [signature]: webhook.sign("msg_1", at, each.body) };
  }
  return Boolean(webhook.verify(each.body, each.headers));
}

const vendors = {
  async github(each) {
    const octokit = await module_("@octokit/webhooks-methods", "dist-src/index.js").catch(() =>
      module_("@octokit/webhooks-methods", "dist-bundle/index.js"));
    if (each.signs) {
      const signature = await octokit.sign(each.secret, each.body);
      return { "X-Hub-Signature-256": signature, "X-GitHub-Delivery": "d-1", "X-GitHub-Event": "push" };
    }
    return octokit.verify(each.secret, each.body, each.headers["X-Hub-Signature-256"]);
  },
  async shopify(each) {
    require("@shopify/shopify-api/adapters/node");
    const { shopifyApi } = require("@shopify/shopify-api");
    const shop = shopifyApi({
      apiKey: "key", apiSecretKey: each.secret, hostName: "shop.example", isEmbeddedApp: false, apiVersion: "2025-10",
      logger: { log: () => {} },
    });
    const rawRequest = { method: "POST", url: "/", headers: each.headers };
    return (await shop.webhooks.validate({ rawBody: each.body, rawRequest, rawResponse: {} })).valid;
  },
  async sendgrid(each) {
    const { EventWebhook } = require("@sendgrid/eventwebhook");
    const webhook = new EventWebhook();
    const names = ["X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp"];
    const key = webhook.convertPublicKeyToECDSA(each.secret);
    return webhook.verifySignature(key, each.body, ...names.map((name) => each.headers[name]));
  },
  async hubspot(each) {
    const { Signature } = require("@hubspot/api-client");
    return Signature.isValid({
      signatureVersion: "v3", signature: each.headers["X-HubSpot-Signature-v3"], method: "POST",
      clientSecret: each.secret, requestBody: each.body, url: each.url,
      timestamp: Number(each.headers["X-HubSpot-Request-Timestamp"]),
    });
  },
  async twilio(each) {
    const { getExpectedTwilioSignature, validateRequest } = require("twilio/lib/webhooks/webhooks");
    const fields = Object.fromEntries(new URLSearchParams(each.body));
    if (each.signs) return { "X-Twilio-Signature": getExpectedTwilioSignature(each.secret, each.url, fields) };
    return validateRequest(each.secret, each.headers["X-Twilio-Signature"], each.url, fields);
  },
  async square(each) {
    const { WebhooksHelper } = require("square");
    return WebhooksHelper.verifySignature({
      requestBody: each.body, signatureHeader: each.headers["x-square-hmacsha256-signature"],
      signatureKey: each.secret, notificationUrl: each.url,
    });
  },
  async paddle(each) {
    const { Paddle } = require("@paddle/paddle-node-sdk");
    const signature = each.headers["Paddle-Signature"];
    return new Paddle("key").webhooks.isSignatureValid(each.body, each.secret, signature);
  },
  async svix(each) {
    const { Webhook } = require("svix");
    return standard(each, Webhook, ["svix-id", "svix-timestamp", "svix-signature"]);
  },
  async standard(each) {
    const { Webhook } = require("standardwebhooks");
    return standard(each, Webhook, ["webhook-id", "webhook-timestamp", "webhook-signature"]);
  },
  async discord(each) {
    const { verifyKey } = require("discord-interactions");
    const names = ["X-Signature-Ed25519", "X-Signature-Timestamp"];
    return verifyKey(each.body, ...names.map((name) => each.headers[name]), each.secret);
  },
  async stripe(each) {
    const Stripe = require("stripe");
    const { webhooks } = new Stripe("sk_test_key");
    if (each.signs) {
      const options = { payload: each.body, secret: each.secret, timestamp: seconds(each) };
      return { "Stripe-Signature": webhooks.generateTestHeaderString(options) };
    }
    return Boolean(webhooks.constructEvent(each.body, each.headers["Stripe-Signature"], each.secret));
  },
  async razorpay(each) {
    const { validateWebhookSignature } = require("razorpay/dist/utils/razorpay-utils");
    return validateWebhookSignature(each.body, each.headers["X-Razorpay-Signature"], each.secret);
  },
};

async function verdict(each) {
  stopClock(each.at);
  try {
    return await vendors[each.vendor](each);
  } catch (error) {
    if (process.env.SHOW) console.error(each.vendor, error);
    if (["MODULE_NOT_FOUND", "ERR_MODULE_NOT_FOUND", "ERR_PACKAGE_PATH_NOT_EXPORTED"].includes(error.code)) throw error;
    return false; // each package rejects with an error of its own
  }
}

const verdicts = [];
for (const each of JSON.parse(readFileSync(0, "utf-8"))) verdicts.push(await verdict(each));
process.stdout.write(JSON.stringify(verdicts));
