"""Headers that senders and proxies put credentials into."""

#: Headers that hold credentials, as curl's manual, browsers and the APIs of clouds and tools name them.
CREDENTIALS = (
    *("Authorization", "Proxy-Authorization", "Cookie", "Cookie2", "Set-Cookie", "Authentication-Info"),
    *("X-API-Key", "Api-Key", "ApiKey", "X-Auth-Token", "X-Auth-Key", "X-Access-Token", "Access-Token", "X-Token"),
    *("X-CSRF-Token", "X-XSRF-Token", "X-CSRFToken", "X-Session-Token", "X-Session-Id", "X-Secret", "X-Client-Secret"),
    *("X-Amz-Security-Token", "X-Goog-Api-Key", "X-Goog-IAP-JWT-Assertion", "Ocp-Apim-Subscription-Key", "X-MS-Token"),
    *("X-Shopify-Access-Token", "Private-Token", "X-Gitlab-Token", "X-Vault-Token", "Cf-Access-Jwt-Assertion"),
    *("Cf-Access-Client-Secret", "X-Forwarded-Access-Token", "X-Forwarded-Authorization", "X-Original-Authorization"),
    *("X-Amzn-Oidc-Data", "Proxy-Authenticate", "WWW-Authenticate", "X-Hub-Token", "DPoP", "Signature-Key"),
)
