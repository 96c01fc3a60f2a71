"""`flask convex webhooks list` and `show`, and the errors that all of its commands have in common."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flask_convex_http.cli.output import moment
from flask_convex_http.testing import deliver, run_scheduled
from tests.cli.conftest import Convex
from tests.databases import rows
from tests.inbox.rejected import rejection
from tests.orders import VARIABLE, Shop, list_event_ids

HOUR = timedelta(hours=1)
UNKNOWN_ID = "_webhooks_" + "0" * 32


# --- list ------------------------------------------------------------------------------------------------------------


def test_an_empty_list_is_a_sentence(orders: Shop) -> None:
    """If nothing was received a sentence is printed, or an empty list as JSON."""
    assert orders.convex("webhooks", "list").out == "No deliveries match.\n"
    assert orders.convex("webhooks", "list", "--status", "rejected").out == "No rejected deliveries match.\n"
    assert list_event_ids(orders) == list_event_ids(orders, "--status", "dead") == []


def test_the_newest_delivery_is_listed_first(orders: Shop) -> None:
    """Each delivery has a line with the sender's id, the time, the type, the state and the error."""
    orders.send("e1")
    orders.clock.advance(HOUR)
    failed = orders.fail("e2")
    shown = orders.convex("webhooks", "list")
    lines = shown.out.splitlines()
    assert lines[0].split() == ["EVENT", "RECEIVED", "SOURCE", "TYPE", "STATE", "ATTEMPTS", "ERROR"]
    assert lines[1].startswith("e2 ")
    assert lines[1].endswith("order.placed  failed  1         ValueError: The lamp is out")
    assert (failed in shown.out, shown.err) == (False, "")
    assert moment(orders.delivery("e1").received) in lines[2]
    assert list_event_ids(orders, "--limit", "1") == ["e2"]


@pytest.mark.parametrize("event_id", ["f" * 64, "d-7 (again)", "x" * 73, "two\nlines", "\u202ee1", " e1"])
def test_every_listed_id_can_be_typed(orders: Shop, event_id: str) -> None:
    """A sender's id is listed whole. The delivery's own id replaces one that is too long or cannot be copied."""
    orders.send(event_id)
    listed = orders.convex("webhooks", "list").out.splitlines()[1].split("  ")[0]
    assert event_id in orders.convex("webhooks", "show", listed, "--json").json["delivery"]["event_id"]


def test_filters_combine(orders: Shop) -> None:
    """Source, path or provider, time, state and type are combined. A type may end in `*`."""
    orders.send("e1", type="order.placed")
    orders.send("e2", "stock", type="order.paid")
    orders.clock.advance(3 * HOUR)
    orders.fail("e3")
    orders.send("e4", type="refund")
    assert (
        list_event_ids(orders, "--source", "shop") == list_event_ids(orders, "--source", "/shop") == ["e4", "e3", "e1"]
    )
    assert list_event_ids(orders, "--source", "hmac") == ["e4", "e3", "e2", "e1"]
    assert list_event_ids(orders, "--since", "2h") == ["e4", "e3"]
    today = datetime.fromtimestamp(orders.clock() / 1000, UTC)
    assert list_event_ids(orders, "--since", (today - HOUR).isoformat()) == ["e4", "e3"]
    assert list_event_ids(orders, "--since", "0001-01-01") == ["e4", "e3", "e2", "e1"]
    assert list_event_ids(orders, "--status", "failed") == ["e3"]
    assert list_event_ids(orders, "--status", "pending") == ["e2"]
    assert list_event_ids(orders, "--type", "order.*") == ["e3", "e2", "e1"]
    assert list_event_ids(orders, "--type", "order") == []
    assert list_event_ids(orders, "--type", "order.*", "--source", "shop", "--status", "done", "--since", "1d") == [
        "e1"
    ]
    assert orders.convex("webhooks", "list", "--since", "yesterday").status == 2


def test_rejected_deliveries_are_listed_apart(orders: Shop) -> None:
    """Rejected deliveries are not in the inbox. Their list has the reason and nothing of their content."""
    with orders.app.app_context():
        deliver(orders.app.test_client(), "shop", {"id": "e1", "secret": "hush"}, tamper=True)
        deliver(orders.app.test_client(), "partner", {"id": "e2"}, tamper=True)
    assert list_event_ids(orders) == []
    for options, said in (
        ((), "2 deliveries were rejected recently; `flask convex webhooks doctor` lists them.\n"),
        (("--source", "shop"), "1 delivery was rejected recently; `flask convex webhooks doctor` lists them.\n"),
        (("--source", "stock"), ""),
        (("--status", "done"), ""),
        (("--json",), ""),
    ):
        assert orders.convex("webhooks", "list", *options).err == said
    shown = orders.convex("webhooks", "list", "--status", "rejected", "--source", "shop")
    assert "no-match" in shown.out
    (rejected,) = orders.convex("webhooks", "list", "--status", "rejected", "--source", "shop", "--json").json
    assert (rejected["source"], rejected["reason"]) == ("shop", "no-match")
    assert "hush" not in shown.out + json.dumps(rejected)
    orders.clock.advance(HOUR)
    assert orders.convex("webhooks", "list", "--status", "rejected", "--since", "10m", "--json").json == []
    assert len(orders.convex("webhooks", "list", "--status", "rejected", "--limit", "1", "--json").json) == 1
    assert orders.convex("webhooks", "list", "--status", "rejected", "--type", "x").status == 2


def test_the_former_name_of_the_state_is_accepted(orders: Shop) -> None:
    """`--status refused` lists the rejected deliveries too."""
    orders.backend.rejections.add(rejection("r1", source="shop"))
    for status in ("refused", "rejected"):
        assert len(orders.convex("webhooks", "list", "--status", status, "--json").json) == 1


def test_a_sender_cannot_control_the_terminal(orders: Shop) -> None:
    """Control characters in an id, a type or an error are printed escaped, on one line."""
    orders.faults.error = ValueError("\x1b]0;title\x07\nnext")
    orders.send("\x1b[2J\n\u202ee1", type="\x1b[31mred\r\n")
    own = rows(Path(orders.app.instance_path), "SELECT _id FROM _webhooks")[0][0]
    orders.faults.error = None
    for arguments in (("list",), ("show", own), ("replay", own, "--dry-run"), ("replay", own, "--yes")):
        shown = orders.convex("webhooks", *arguments)
        assert shown.status == 0
        assert not {"\x1b", "\r", "\x07", "\u202e"} & set(shown.out + shown.err)
    assert len(orders.convex("webhooks", "list").out.splitlines()) == 2


# --- show ------------------------------------------------------------------------------------------------------------


def test_show_prints_the_whole_delivery(orders: Shop) -> None:
    """The state, times, secret, error, response, attempts, headers and body are found by either id."""
    own = orders.fail("e1")
    orders.convex("webhooks", "retry", own)
    by_event = orders.convex("webhooks", "show", "e1")
    assert by_event.out == orders.convex("webhooks", "show", own).out
    body = b'{"id":"e1","type":"order.placed"}'
    for part in (
        own,
        "shop (hmac)",
        "order.placed e1",
        VARIABLE,
        "200, 9 bytes",
        f"{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}, kept until ",
        "ValueError: The lamp is out",
        "sender",
        "retry",
        "x-signature",
    ):
        assert part in by_event.out
    details = orders.convex("webhooks", "show", "e1", "--json").json
    assert (details["delivery"]["state"], details["body"]) == ("done", None)
    assert details["sha256"] == hashlib.sha256(body).hexdigest()
    assert [attempt.get("outcome", "success") for attempt in details["delivery"]["attempts"]] == ["failed", "success"]
    assert orders.convex("webhooks", "show", "e1", "--body").out == body.decode()


def test_show_prints_what_a_delivery_waits_for(orders: Shop) -> None:
    """A pending delivery shows its job, the time of the next attempt and the delivery ahead in its lane."""
    first = orders.receive("e1", "stock", item="lamp")
    orders.send("e2", "stock", item="lamp")
    job = orders.job("e1")
    shown = orders.convex("webhooks", "show", "e1").out
    assert f"{job.id}, next attempt at {moment(job.due)}" in shown
    assert "until it is done or dead" in shown
    assert f"lamp, behind {first}" in orders.convex("webhooks", "show", "e2").out
    assert orders.convex("webhooks", "show", "e2", "--json").json["behind"] == first
    run_scheduled(orders.backend)
    assert "behind" not in orders.convex("webhooks", "show", "e2").out


def test_show_prints_the_response_to_duplicates(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The response depends on the mode and the provider, and a failed delivery has none."""

    def response(source: str) -> str:
        shown = orders.convex("webhooks", "show", "e1", "--source", source).out
        return next(line.partition(":")[2].strip() for line in shown.splitlines() if line.startswith("Response:"))

    orders.fail("e1")
    assert response("shop") == "none yet: the next delivery of this event runs the handler again"
    for source, status in (("partner", 200), ("stock", 202), ("stock", 202)):
        sent = orders.send("e1", source)
        assert (sent.status_code, response(source)) == (status, f"{status} {sent.text}")
        run_scheduled(orders.backend)
    assert orders.delivery("e1", "stock").state == "done"
    stock = orders.backend.webhooks.get("stock")
    assert stock is not None
    monkeypatch.setattr(stock.provider, "profile", replace(stock.provider.profile, shows_answers=True))
    assert (orders.send("e1", "stock").status_code, response("stock")) == (200, "200, 0 bytes")
    rename(orders, "stock", "former")
    assert response("former") == "202 Accepted"


# --- webhooks that were renamed or removed ---------------------------------------------------------------------------


def rename(shop: Shop, source: str, former: str) -> None:
    """Give the deliveries of a webhook another source, as if the webhook had been renamed since."""
    rows(Path(shop.app.instance_path), f"UPDATE _webhooks SET source = '{former}' WHERE source = '{source}'")


def test_deliveries_of_a_webhook_that_was_renamed_are_found(orders: Shop) -> None:
    """Deliveries are found with and without the former source, and only run if a webhook has that source again."""
    own = orders.receive("e1")
    rename(orders, "shop", "hmac")
    for options in ([], ["--source", "hmac"]):
        assert own in orders.convex("webhooks", "show", "e1", *options).out
        for command in (["replay", "--yes"], ["replay", "--dry-run"]):
            outcome = orders.convex("webhooks", *command, "e1", *options)
            assert (outcome.status, "give it source='hmac'" in outcome.err) == (1, True)
    assert "and it is done" in orders.convex("webhooks", "doctor", "e1").out
    assert "There is no delivery 'e1'" in orders.convex("webhooks", "show", "e1", "--source", "shop").err
    orders.send("e2")
    assert list_event_ids(orders, "--source", "hmac") == ["e1"]
    orders.send("e1")
    assert "one of hmac, shop" in orders.convex("webhooks", "show", "e1").err
    assert "received" not in orders.convex("webhooks", "doctor", "e1").err
    assert orders.convex("webhooks", "purge", "--source", "hmac", "--yes").out == "Purged 1 delivery.\n"


@pytest.mark.parametrize(
    "command",
    ["list", "list --status rejected", "show e1", "replay --dry-run", "replay e1", "retry", "purge", "purge e1"],
)
def test_an_unknown_source_is_a_usage_error(orders: Shop, command: str) -> None:
    """A misspelt source is an error that lists the known ones, not an empty result."""
    orders.send("e1")
    rename(orders, "shop", "former")
    for name in ("nope", "\udce9\x1b", ""):
        outcome = orders.convex("webhooks", *command.split(), "--source", name, "--json")
        assert (outcome.status, outcome.out, outcome.exception) == (2, "", None)
        assert "; there are former, partner, shop, stock." in outcome.err
        assert "\x1b" not in outcome.err


def test_a_source_that_only_rejected_deliveries_have_is_known(orders: Shop) -> None:
    """Rejected deliveries can be listed by a source that their webhook had before."""
    orders.backend.rejections.add(rejection("r1", source="former"))
    (rejected,) = orders.convex("webhooks", "list", "--status", "rejected", "--source", "former", "--json").json
    assert rejected["request_id"] == "r1"


def test_show_hides_credentials(orders: Shop) -> None:
    """The value of the Authorization header is not printed, neither as text nor as JSON."""
    orders.send("e1", "partner")
    ((headers,),) = rows(Path(orders.app.instance_path), "SELECT headers FROM _webhook_requests")
    value = json.loads(headers)["authorization"]
    for option in ([], ["--json"]):
        shown = orders.convex("webhooks", "show", "e1", *option).out
        assert "(not shown)" in shown
        assert value not in shown


def test_an_ambiguous_id_needs_a_source(orders: Shop) -> None:
    """An unknown id is an error, and one that two webhooks have received needs `--source`."""
    orders.send("e1")
    orders.send("e1", "stock")
    ambiguous = orders.convex("webhooks", "show", "e1")
    assert (ambiguous.status, "one of shop, stock" in ambiguous.err) == (1, True)
    assert "shop (hmac)" in orders.convex("webhooks", "show", "e1", "--source", "shop").out
    for name in (UNKNOWN_ID, "e2", "\udce9", "é\x1b"):
        unknown = orders.convex("webhooks", "show", name)
        assert (unknown.status, unknown.exception) == (1, None)
        assert "There is no delivery" in unknown.err


def test_a_purged_body_is_reported(orders: Shop) -> None:
    """A delivery without its body is still shown, and `--body` is an error."""
    orders.send("e1")
    assert orders.convex("webhooks", "purge", "e1", "--bodies-only", "--yes").status == 0
    assert "33 bytes, purged" in orders.convex("webhooks", "show", "e1").out
    assert "were purged" in orders.convex("webhooks", "show", "e1", "--body").err
    assert orders.convex("webhooks", "show", "e1", "--json").json["headers"] is None


@pytest.mark.parametrize("command", ["list", "show x", "replay x", "retry x", "purge x"])
def test_without_a_migration_the_message_says_what_to_run(unmigrated: Convex, command: str) -> None:
    """Before the first migration every command names `flask convex migrate`."""
    outcome = unmigrated("webhooks", *command.split(), "--json")
    assert (outcome.status, outcome.out, outcome.exception) == (1, "", None)
    assert "flask convex migrate" in outcome.err
