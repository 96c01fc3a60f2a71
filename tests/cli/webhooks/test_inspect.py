"""`flask convex webhooks`: list and show, and what all of its commands say alike."""

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
from tests.orders import VARIABLE, Shop, listed

HOUR = timedelta(hours=1)
NOBODY = "_webhooks_" + "0" * 32


# --- list ------------------------------------------------------------------------------------------------------------


def test_an_empty_list_is_a_sentence(orders: Shop) -> None:
    """Where nothing was received, people read a sentence and programs an empty list."""
    assert orders.convex("webhooks", "list").out == "There are no such deliveries.\n"
    assert orders.convex("webhooks", "list", "--status", "refused").out == "No such delivery was refused lately.\n"
    assert listed(orders) == listed(orders, "--status", "dead") == []


def test_the_list_has_the_newest_first(orders: Shop) -> None:
    """A line for each delivery: the sender's id, when it came, what it is, its state and what it failed with."""
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
    assert listed(orders, "--limit", "1") == ["e2"]


@pytest.mark.parametrize("event_id", ["f" * 64, "d-7 (again)", "x" * 73, "two\nlines", "\u202ee1", " e1"])
def test_each_id_that_is_listed_can_be_typed(orders: Shop, event_id: str) -> None:
    """A sender's id is there whole, and ours in its place if it is endless or holds what nobody can copy."""
    orders.send(event_id)
    listed = orders.convex("webhooks", "list").out.splitlines()[1].split("  ")[0]
    assert event_id in orders.convex("webhooks", "show", listed, "--json").json["delivery"]["event_id"]


def test_filters_combine(orders: Shop) -> None:
    """By source, path or provider, time, state and type, of which the end may be anything."""
    orders.send("e1", type="order.placed")
    orders.send("e2", "stock", type="order.paid")
    orders.clock.advance(3 * HOUR)
    orders.fail("e3")
    orders.send("e4", type="refund")
    assert listed(orders, "--source", "shop") == listed(orders, "--source", "/shop") == ["e4", "e3", "e1"]
    assert listed(orders, "--source", "hmac") == ["e4", "e3", "e2", "e1"]
    assert listed(orders, "--since", "2h") == ["e4", "e3"]
    today = datetime.fromtimestamp(orders.clock() / 1000, UTC)
    assert listed(orders, "--since", (today - HOUR).isoformat()) == ["e4", "e3"]
    assert listed(orders, "--since", "0001-01-01") == ["e4", "e3", "e2", "e1"]
    assert listed(orders, "--status", "failed") == ["e3"]
    assert listed(orders, "--status", "pending") == ["e2"]
    assert listed(orders, "--type", "order.*") == ["e3", "e2", "e1"]
    assert listed(orders, "--type", "order") == []
    assert listed(orders, "--type", "order.*", "--source", "shop", "--status", "done", "--since", "1d") == ["e1"]
    assert orders.convex("webhooks", "list", "--since", "yesterday").status == 2


def test_what_was_refused_is_listed_from_where_it_is(orders: Shop) -> None:
    """Forgeries are not in the inbox; their list has why, and nothing of what they hold."""
    with orders.app.app_context():
        deliver(orders.app.test_client(), "shop", {"id": "e1", "secret": "hush"}, tamper=True)
        deliver(orders.app.test_client(), "partner", {"id": "e2"}, tamper=True)
    assert listed(orders) == []
    for options, said in (
        ((), "2 were refused lately; `flask convex webhooks doctor` says which.\n"),
        (("--source", "shop"), "1 was refused lately; `flask convex webhooks doctor` says which.\n"),
        (("--source", "stock"), ""),
        (("--status", "done"), ""),
        (("--json",), ""),
    ):
        assert orders.convex("webhooks", "list", *options).err == said
    refused = orders.convex("webhooks", "list", "--status", "refused", "--source", "shop")
    assert "no-match" in refused.out
    (told,) = orders.convex("webhooks", "list", "--status", "refused", "--source", "shop", "--json").json
    assert (told["source"], told["reason"]) == ("shop", "no-match")
    assert "hush" not in refused.out + json.dumps(told)
    orders.clock.advance(HOUR)
    assert orders.convex("webhooks", "list", "--status", "refused", "--since", "10m", "--json").json == []
    assert len(orders.convex("webhooks", "list", "--status", "refused", "--limit", "1", "--json").json) == 1
    assert orders.convex("webhooks", "list", "--status", "refused", "--type", "x").status == 2


def test_what_a_sender_says_does_not_command_the_terminal(orders: Shop) -> None:
    """Control characters of an id, a type or an error are shown, and stay on their line."""
    orders.troubles.error = ValueError("\x1b]0;title\x07\nnext")
    orders.send("\x1b[2J\n\u202ee1", type="\x1b[31mred\r\n")
    own = rows(Path(orders.app.instance_path), "SELECT _id FROM _webhooks")[0][0]
    orders.troubles.error = None
    for arguments in (("list",), ("show", own), ("replay", own, "--dry-run"), ("replay", own, "--yes")):
        shown = orders.convex("webhooks", *arguments)
        assert shown.status == 0
        assert not {"\x1b", "\r", "\x07", "\u202e"} & set(shown.out + shown.err)
    assert len(orders.convex("webhooks", "list").out.splitlines()) == 2


# --- show ------------------------------------------------------------------------------------------------------------


def test_show_tells_all_there_is(orders: Shop) -> None:
    """State, times, secret, error, answer, attempts, headers and the body's digest, by our id or the sender's."""
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
        f"{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}, forgotten from ",
        "ValueError: The lamp is out",
        "sender",
        "retry",
        "x-signature",
    ):
        assert part in by_event.out
    told = orders.convex("webhooks", "show", "e1", "--json").json
    assert (told["delivery"]["state"], told["sha256"], told["body"]) == ("done", hashlib.sha256(body).hexdigest(), None)
    assert [attempt.get("outcome", "success") for attempt in told["delivery"]["attempts"]] == ["failed", "success"]
    assert orders.convex("webhooks", "show", "e1", "--body").out == body.decode()


def test_show_tells_what_a_delivery_waits_for(orders: Shop) -> None:
    """When a worker tries next, and behind which other delivery one stands in its lane."""
    first = orders.received("e1", "stock", item="lamp")
    orders.send("e2", "stock", item="lamp")
    job = orders.job("e1")
    shown = orders.convex("webhooks", "show", "e1").out
    assert f"{job.id}, next try at {moment(job.due)}" in shown
    assert "not before it is done" in shown
    assert f"lamp, behind {first}" in orders.convex("webhooks", "show", "e2").out
    assert orders.convex("webhooks", "show", "e2", "--json").json["behind"] == first
    run_scheduled(orders.backend)
    assert "behind" not in orders.convex("webhooks", "show", "e2").out


def test_show_tells_what_copies_are_answered(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker runs is accepted, before and after it has; a chat's people see no text; a failure has no answer."""

    def answer(source: str) -> str:
        shown = orders.convex("webhooks", "show", "e1", "--source", source).out
        return next(line.partition(":")[2].strip() for line in shown.splitlines() if line.startswith("Answer:"))

    orders.fail("e1")
    assert answer("shop") == "none yet: its handler runs again when it is sent again"
    for source, status in (("partner", 200), ("stock", 202), ("stock", 202)):
        sent = orders.send("e1", source)
        assert (sent.status_code, answer(source)) == (status, f"{status} {sent.text}")
        run_scheduled(orders.backend)
    assert orders.delivery("e1", "stock").state == "done"
    stock = orders.backend.webhooks.get("stock")
    assert stock is not None
    monkeypatch.setattr(stock.provider, "profile", replace(stock.provider.profile, shows_answers=True))
    assert (orders.send("e1", "stock").status_code, answer("stock")) == (200, "200, 0 bytes")
    rename(orders, "stock", "former")
    assert answer("former") == "202 Accepted"


# --- a webhook that is not there any more ----------------------------------------------------------------------------


def rename(shop: Shop, source: str, former: str) -> None:
    """Deliveries have a source that the app's webhook had once."""
    rows(Path(shop.app.instance_path), f"UPDATE _webhooks SET source = '{former}' WHERE source = '{source}'")


def test_deliveries_of_a_webhook_that_was_renamed_are_found(orders: Shop) -> None:
    """By the sender's id, with and without the former source; to run them the app must have that source again."""
    own = orders.received("e1")
    rename(orders, "shop", "hmac")
    for options in ([], ["--source", "hmac"]):
        assert own in orders.convex("webhooks", "show", "e1", *options).out
        for command in (["replay", "--yes"], ["replay", "--dry-run"]):
            refused = orders.convex("webhooks", *command, "e1", *options)
            assert (refused.status, "give it source='hmac'" in refused.err) == (1, True)
    assert "State:    done" in orders.convex("webhooks", "doctor", "e1").out
    assert "There is no delivery 'e1'" in orders.convex("webhooks", "show", "e1", "--source", "shop").err
    orders.send("e2")
    assert listed(orders, "--source", "hmac") == ["e1"]
    orders.send("e1")
    assert "one of hmac, shop" in orders.convex("webhooks", "show", "e1").err
    assert "received" not in orders.convex("webhooks", "doctor", "e1").err
    assert orders.convex("webhooks", "purge", "--source", "hmac", "--yes").out == "1 delivery forgotten.\n"


@pytest.mark.parametrize(
    "command",
    ["list", "list --status refused", "show e1", "replay --dry-run", "replay e1", "retry", "purge", "purge e1"],
)
def test_a_source_that_nobody_has_is_wrong_usage(orders: Shop, command: str) -> None:
    """A misspelt source is not taken for one without deliveries; those that there are, are named."""
    orders.send("e1")
    rename(orders, "shop", "former")
    for name in ("nope", "\udce9\x1b", ""):
        refused = orders.convex("webhooks", *command.split(), "--source", name, "--json")
        assert (refused.status, refused.out, refused.exception) == (2, "", None)
        assert "; there are former, partner, shop, stock." in refused.err
        assert "\x1b" not in refused.err


def test_a_source_that_only_refused_deliveries_have_is_known(orders: Shop) -> None:
    """What a webhook has refused under a former source can be listed by it."""
    orders.backend.refusals.add(
        source="former", path="/", reason="no-match", message="m", headers={}, body=b"", request_id="r1"
    )
    (told,) = orders.convex("webhooks", "list", "--status", "refused", "--source", "former", "--json").json
    assert told["request_id"] == "r1"


def test_show_hides_credentials(orders: Shop) -> None:
    """What a sender puts into the Authorization header is not printed, in no form."""
    orders.send("e1", "partner")
    ((headers,),) = rows(Path(orders.app.instance_path), "SELECT headers FROM _webhook_requests")
    value = json.loads(headers)["authorization"]
    for option in ([], ["--json"]):
        shown = orders.convex("webhooks", "show", "e1", *option).out
        assert "(not shown)" in shown
        assert value not in shown


def test_show_wants_to_know_which(orders: Shop) -> None:
    """An id that nobody has sent is an error, and one that two webhooks have received needs a source."""
    orders.send("e1")
    orders.send("e1", "stock")
    ambiguous = orders.convex("webhooks", "show", "e1")
    assert (ambiguous.status, "one of shop, stock" in ambiguous.err) == (1, True)
    assert "shop (hmac)" in orders.convex("webhooks", "show", "e1", "--source", "shop").out
    for name in (NOBODY, "e2", "\udce9", "é\x1b"):
        unknown = orders.convex("webhooks", "show", name)
        assert (unknown.status, unknown.exception) == (1, None)
        assert "There is no delivery" in unknown.err


def test_show_says_that_a_body_was_forgotten(orders: Shop) -> None:
    """Without its body a delivery is still shown; to print the body is an error then."""
    orders.send("e1")
    assert orders.convex("webhooks", "purge", "e1", "--bodies-only", "--yes").status == 0
    assert "33 bytes, forgotten" in orders.convex("webhooks", "show", "e1").out
    assert "were forgotten" in orders.convex("webhooks", "show", "e1", "--body").err
    assert orders.convex("webhooks", "show", "e1", "--json").json["headers"] is None


@pytest.mark.parametrize("command", ["list", "show x", "replay x", "retry x", "purge x"])
def test_without_a_migration_the_message_says_what_to_run(unmigrated: Convex, command: str) -> None:
    """Before the first migration each command names the one to run."""
    refused = unmigrated("webhooks", *command.split(), "--json")
    assert (refused.status, refused.out, refused.exception) == (1, "", None)
    assert "flask convex migrate" in refused.err
