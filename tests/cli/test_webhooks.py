"""`flask convex webhooks`: list, show, replay, retry and purge."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flask_convex_http.cli.output import moment
from flask_convex_http.testing import deliver, run_scheduled
from tests.cli.conftest import Convex
from tests.deployment import rows
from tests.orders import NEW_SECRET, SECRET, VARIABLE, Shop, dead, shop

HOUR = timedelta(hours=1)
NOBODY = "_webhooks_" + "0" * 32


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop whose command line is used."""
    monkeypatch.setenv(VARIABLE, SECRET)
    with shop(tmp_path) as made:
        yield made


def listed(shop: Shop, *options: str) -> list[str]:
    """The senders' ids that a list has, in its order."""
    return [delivery["event_id"] for delivery in shop.convex("webhooks", "list", *options, "--json").json]


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


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_replay_asks_first(orders: Shop) -> None:
    """It says how many would have their effects again; only a yes, or --yes, runs them, oldest first."""
    orders.send("e1")
    orders.send("e2")
    asked = orders.convex("webhooks", "replay", "--source", "shop", stdin="n\n")
    assert (asked.status, "2 deliveries will run, and have their effects again" in asked.err) == (1, True)
    assert orders.numbers() == ["e1", "e2"]
    assert orders.convex("webhooks", "replay", "--source", "shop", stdin="y\n").status == 0
    assert orders.numbers() == ["e1", "e2", "e1", "e2"]
    told = orders.convex("webhooks", "replay", "--since", "1h", "--limit", "1", "--yes", "--json").json
    assert [(step["_id"], step["outcome"]) for step in told] == [(orders.delivery("e1").id, "done")]
    assert orders.numbers() == ["e1", "e2", "e1", "e2", "e1"]


def test_each_replay_is_its_own(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be run does not keep the others from running, and makes the exit status 1."""
    orders.send("e1")
    monkeypatch.setenv(VARIABLE, NEW_SECRET)
    orders.send("e2")
    ended = orders.convex("webhooks", "replay", "e1", "e2", "e2", "e3", "--yes")
    assert ended.status == 1
    assert "e2" in ended.out
    assert "old secret" in ended.err
    assert "no delivery 'e3'" in ended.err
    assert orders.numbers() == ["e1", "e2", "e2"]


def test_a_dry_run_is_shown_and_undone(orders: Shop) -> None:
    """The rows that would change are printed, field by field, and what would be scheduled; nothing is asked or done."""
    orders.send("e1")
    (order,) = orders.orders()
    orders.send("e2", type="order.doubtful")
    job = orders.backend.ctx().scheduler.run_after(HOUR, "orders:remind", number="x")
    file = orders.backend.ctx().run_action("orders:store")
    orders.troubles.error = ValueError("not yet")
    orders.send("e3", type="order.settled", paid="e1", gone="", job=job, file=file)
    orders.troubles.error = None
    shown = orders.convex("webhooks", "replay", "--source", "shop", "--dry-run")
    assert (shown.status, shown.err) == (0, "")
    for line in (
        f"  changed {order.id}",
        "    is_paid: false -> true",
        '    tags: [] -> ["settled"]',
        "    total: 7",
        f'  scheduled: orders:remind {{"number":"e3"}} for {moment(orders.clock() + 60_000)}',
        f'  canceled: orders:remind {{"number":"x"}} for {moment(orders.clock() + HOUR.total_seconds() * 1000)}',
        f"  file deleted: {file}",
        "  would answer 200, and change nothing",
    ):
        assert line in shown.out.splitlines()
    assert orders.orders() == [order]
    told = orders.convex("webhooks", "replay", "e3", "--dry-run", "--json").json[0]
    assert told["rows"][0]["fields"]["is_paid"] == {"before": False, "after": True}
    orders.troubles.error = ValueError("not yet")
    failing = orders.convex("webhooks", "replay", "e1", "--dry-run")
    assert (failing.status, "would fail, and change nothing: ValueError: not yet" in failing.out) == (1, True)
    assert len(orders.delivery("e1").attempts) == 1


@pytest.mark.parametrize("command", ["replay", "retry"])
def test_what_is_meant_must_be_said(orders: Shop, command: str) -> None:
    """Neither ids nor filters, or both, are wrong usage; that nothing matches is none."""
    assert orders.convex("webhooks", command).status == 2
    assert orders.convex("webhooks", command, "e1", "--since", "1h").status == 2
    assert orders.convex("webhooks", command, "--limit", "3").status == 2
    assert orders.convex("webhooks", command, "--since", "1h").out == "There are no such deliveries.\n"
    assert orders.convex("webhooks", command, "--since", "1h", "--json").json == []


# --- retry -----------------------------------------------------------------------------------------------------------


def test_a_retry_takes_what_has_failed(orders: Shop) -> None:
    """Filters mean what has failed or is dead; it runs here, or waits for the worker that runs it."""
    orders.send("e1")
    orders.fail("e2")
    orders.fail("e3", error=dead())
    orders.fail("e4", "stock", error=dead())
    told = orders.convex("webhooks", "retry", "--since", "1h", "--json").json
    assert [step["outcome"] for step in told] == ["done", "done", "queued"]
    run_scheduled(orders.backend)
    assert orders.numbers() == ["e1", "e2", "e3", "e4"]
    again = orders.convex("webhooks", "retry", "e2")
    assert (again.status, "`replay` has them happen again" in again.err) == (1, True)


def test_a_retry_that_fails_ends_with_1(orders: Shop) -> None:
    """The error is on stderr, or in what programs read; the delivery is as it was."""
    orders.fail("e1")
    orders.troubles.error = ValueError("still out")
    ended = orders.convex("webhooks", "retry", "e1")
    assert (ended.status, "ValueError: still out" in ended.err) == (1, True)
    told = orders.convex("webhooks", "retry", "--status", "failed", "--json")
    assert (told.status, told.json[0]["outcome"]) == (1, "failed")
    assert orders.delivery("e1").state == "failed"


def test_what_is_stuck_is_retried_by_its_state(orders: Shop) -> None:
    """Deliveries that wait are taken only if they are named, by id or by state."""
    orders.fail("e1", "stock")
    assert orders.convex("webhooks", "retry", "--source", "stock").out == "There are no such deliveries.\n"
    assert "is due now" in orders.convex("webhooks", "retry", "--source", "stock", "--status", "pending").out
    run_scheduled(orders.backend)
    assert orders.delivery("e1", "stock").state == "done"


# --- purge -----------------------------------------------------------------------------------------------------------


def test_a_purge_asks_and_forgets(orders: Shop, tmp_path: Path) -> None:
    """It says what comes of a copy afterwards; what is younger, of another webhook, or waits, stays."""
    orders.send("e1")
    orders.send("e2", "partner")
    orders.send("e3", "stock")
    orders.clock.advance(3 * HOUR)
    orders.send("e4")
    asked = orders.convex("webhooks", "purge", "--older-than", "2h", stdin="n\n")
    assert (asked.status, "2 deliveries will be forgotten; sent again, they run again" in asked.err) == (1, True)
    assert len(listed(orders)) == 4
    assert orders.convex("webhooks", "purge", "--older-than", "2h", "--source", "shop", "--yes", "--json").json == {
        "forgotten": 1
    }
    assert listed(orders) == ["e4", "e3", "e2"]
    assert "3 deliveries" not in orders.convex("webhooks", "purge", "--source", "hmac", "--yes").out
    assert listed(orders) == ["e3"]
    assert rows(tmp_path, "SELECT count(*) FROM _webhook_requests") == [(1,)]
    assert orders.convex("webhooks", "purge", "e3", "e9", "--yes").status == 1
    assert listed(orders) == []
    assert run_scheduled(orders.backend) == []


def test_a_purge_of_bodies_keeps_the_ids(orders: Shop, tmp_path: Path) -> None:
    """Personal data goes, and a copy still runs nothing."""
    orders.send("e1")
    ended = orders.convex("webhooks", "purge", "--source", "shop", "--bodies-only", stdin="y\n")
    assert (ended.status, ended.out) == (0, "1 delivery stripped of headers and body.\n")
    assert rows(tmp_path, "SELECT count(*) FROM _webhook_requests") == [(0,)]
    orders.send("e1")
    assert orders.numbers() == ["e1"]


def test_a_purge_says_what_it_needs(orders: Shop) -> None:
    """Everything is never meant by saying nothing."""
    assert orders.convex("webhooks", "purge").status == 2
    assert orders.convex("webhooks", "purge", "e1", "--older-than", "1d").status == 2


@pytest.mark.parametrize("command", ["list", "show x", "replay x", "retry x", "purge x"])
def test_without_a_migration_the_message_says_what_to_run(unmigrated: Convex, command: str) -> None:
    """Before the first migration each command names the one to run."""
    refused = unmigrated("webhooks", *command.split(), "--json")
    assert (refused.status, refused.out, refused.exception) == (1, "", None)
    assert "flask convex migrate" in refused.err
