"""A read behind a JWT against Flask with PyJWT by hand, in process: `python -m benchmarks.json_web_tokens`."""

from __future__ import annotations

import json
import tempfile
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask, Request, Response, jsonify, request

from benchmarks.harness import Row, alternate, print_table, row
from benchmarks.views import caller
from flask_convex_http import ActionCtx, ConvexHTTP, CustomJWT, HttpRouter, require_bearer

TARGET = 1.2
ISSUER, AUDIENCE = "https://auth.shop.example", "shop"


def our_app(folder: str, public: dict[str, Any]) -> Flask:
    """Return an app whose one route needs a JWT."""
    keys = "data:application/json," + json.dumps({"keys": [{**public, "kid": "key_1"}]})
    provider = CustomJWT(issuer=ISSUER, jwks=keys, algorithm="RS256", audience=AUDIENCE)
    app = Flask("ours", instance_path=folder)
    app.config["CONVEX_WORKER"] = "off"  # the worker would outlive the folder
    convex = ConvexHTTP(app, auth_providers=[provider])
    http = HttpRouter("http", __name__)

    @http.get("/me")
    @require_bearer
    def me(ctx: ActionCtx, request: Request) -> dict[str, str]:
        return {"subject": ctx.identity.subject}

    app.register_blueprint(http)
    with app.app_context():
        convex.migrate()
    return app


def app_by_hand(key: Any) -> Flask:
    """Return the same with PyJWT, which checks each token with a key that is in memory."""
    app = Flask("by hand")

    @app.get("/me")
    def me() -> Response | tuple[Response, int]:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            return jsonify(error="Missing token"), 401
        try:
            claims = jwt.decode(token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER)
        except jwt.PyJWTError:
            return jsonify(error="Invalid token"), 403
        return jsonify(subject=claims["sub"])

    return app


def measure() -> list[Row]:
    """Measure a token that the process has seen before. By hand each check costs the same."""
    key = rsa.generate_private_key(65537, 2048)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "user_1", "exp": time.time() + 3600}
    token = jwt.encode(claims, key, "RS256", headers={"kid": "key_1"})
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    with tempfile.TemporaryDirectory() as folder:
        ours = caller(our_app(folder, public), "/me", token=token)
        theirs = caller(app_by_hand(key.public_key()), "/me", token=token)
        assert json.loads(ours()) == json.loads(theirs())
        return [row("GET /me with a JWT (RS256)", alternate(ours, theirs), TARGET)]


if __name__ == "__main__":
    print_table("JWTs", measure())
