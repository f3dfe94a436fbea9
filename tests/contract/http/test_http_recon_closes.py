"""Days of reconciliation over HTTP and by command: who may sign, what is answered, what the report's files hold."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from producers import recon_close_replies as shapes
from tests.commands import tally
from tests.contract.http.door import Door, Reply

ROOT = "/v1/recon/closes"


def post(door: Door, body: dict[str, object], key: str) -> Reply:
    return door.send("POST", ROOT, json.dumps(body).encode(), key=key)


@pytest.fixture
def day() -> date:
    """Long ago, so that no file of another test is missing or under way on it."""
    return date(1990, 1, 1) + timedelta(days=random.SystemRandom().randrange(7000))


def test_one_key_proposes_and_another_persons_signs(door: Door, day: date) -> None:
    ann, bob = (door.key_for(owner, "recon:read", "recon:write") for owner in ("ann", "bob"))
    asked: dict[str, object] = {"date": day.isoformat(), "reason": "all well"}
    first = post(door, asked, key=ann)
    assert first.status == 201, first.body
    proposed = shapes.Close.model_validate_json(first.body)
    assert (proposed.state, first.headers["location"]) == ("proposed", f"{ROOT}/{day}")
    again = post(door, asked, key=ann)
    assert (again.status, again.headers["idempotent-replayed"]) == (200, "true")
    unread = post(door, asked, key=bob)
    assert (unread.status, [each["field"] for each in unread.json["errors"]]) == (422, ["sha256"])
    own = post(door, asked | {"sha256": proposed.sha256}, key=ann)
    assert (own.status, own.json["code"]) == (403, "same_person")
    signed = post(door, asked | {"sha256": proposed.sha256}, key=bob)
    assert (signed.status, signed.json["state"]) == (201, "signed")
    shown = door.get(f"{ROOT}/{day}", key=ann)
    told = shapes.CloseShown.model_validate_json(shown.body)
    assert [each.state for each in told.decisions] == ["proposed", "signed"]
    text = json.dumps(shown.json["report"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == proposed.sha256
    other = post(door, asked | {"sha256": "0" * 64}, key=bob)
    assert (other.status, other.json["code"]) == (409, "refused")


def test_days_are_listed_newest_first_and_lead_on(door: Door, day: date) -> None:
    key = door.key_for("ann", "recon:read", "recon:write")
    for offset in range(2):
        of = (day + timedelta(days=offset)).isoformat()
        assert post(door, {"date": of, "reason": "all well"}, key=key).status in (200, 201)
    days, cursor = [], ""
    while True:
        page = door.get(f"{ROOT}?limit=1{cursor}", key=key)
        told = shapes.ClosePage.model_validate_json(page.body)
        days += [each.day for each in told.closes]
        if told.next_cursor is None:
            break
        cursor = f"&cursor={told.next_cursor}"
    assert days == sorted(set(days), reverse=True)
    assert {day, day + timedelta(days=1)} <= set(days)
    assert door.get(ROOT + "?cursor=x", key=key).json["code"] == "invalid_cursor"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "x"}, "date"),
        ({"date": "5 May", "reason": "x"}, "date"),
        ({"date": "2001-01-01"}, "reason"),
        ({"date": "2001-01-01", "reason": " "}, "reason"),
        ({"date": "2001-01-01", "reason": "4111111111111111"}, "reason"),
        ({"date": "2001-01-01", "reason": "x", "sha256": "abc"}, "sha256"),
        ({"date": "2001-01-01", "reason": "x", "force": True}, "force"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(door: Door, body: dict[str, object], field: str) -> None:
    refused = post(door, body, key=door.key_for("ann", "recon:write"))
    assert refused.status in (400, 422)
    assert [each["field"] for each in refused.json["errors"]] == [field]


def test_to_read_and_to_sign_are_scopes_of_their_own(door: Door, day: date) -> None:
    reads, writes = door.key_for("ann", "recon:read"), door.key_for("ann", "recon:write")
    assert post(door, {"date": day.isoformat(), "reason": "x"}, key=reads).status == 403
    assert {door.get(path, key=writes).status for path in (ROOT, f"{ROOT}/{day}")} == {403}
    assert {door.get(f"{ROOT}/{of}", key=reads).status for of in ("1970-01-01", "x", "%00")} == {404}


def test_a_day_that_is_not_over_is_refused(door: Door) -> None:
    refused = post(door, {"date": "9999-12-31", "reason": "x"}, key=door.key_for("ann", "recon:write"))
    assert (refused.status, refused.json["code"]) == (409, "refused")
    assert "is not over" in refused.json["detail"]


def test_the_command_signs_and_writes_the_signed_report(environment: dict[str, str], day: date, tmp_path: Path) -> None:
    def run(*words: str, code: int = 0) -> str:
        done = tally(environment, "recon", *words)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    of = ("--date", day.isoformat())
    assert "can be signed" in run("close", *of, "--dry-run")
    assert "needed for anything but a dry run" in " ".join(run("close", *of, code=2).split())
    proposed = json.loads(run("close", *of, "--reason", "all well", "--as", "ann", "--json"))
    assert (proposed["state"], proposed["replayed"]) == ("proposed", False)
    assert proposed["sha256"] in run("close", *of, "--dry-run")
    assert "missing_field: sha256" in run("close", *of, "--reason", "all well", "--as", "bob", code=1)
    mine = run("close", *of, "--reason", "all well", "--as", "ann", "--sha256", proposed["sha256"], code=1)
    assert "same_person" in mine
    told = run("close", *of, "--reason", "all well", "--as", "bob", "--sha256", proposed["sha256"])
    assert f"{day}: signed by operator bob" in told
    assert "is signed by operator bob" in run("close", *of, "--dry-run")
    html, table = tmp_path / "day.html", tmp_path / "day.csv"
    run("report", *of, "--html", str(html), "--csv", str(table))
    page = html.read_text()
    assert proposed["sha256"] in page
    assert "Signed by operator bob" in page
    with table.open(newline="") as lines:
        assert {"sources", "breaks"} >= {row["section"] for row in csv.DictReader(lines)} - {
            "settlements", "clearing", "clearing_totals", "proof", "carried_over", "fees", "held", "missing", "under_way"
        }  # fmt: skip
    shown = json.loads(run("report", *of, "--json"))
    assert (shown["sha256"], [each["state"] for each in shown["decisions"]]) == (
        proposed["sha256"],
        ["proposed", "signed"],
    )


def test_the_command_refuses_what_it_cannot_do(environment: dict[str, str], tmp_path: Path) -> None:
    for words, code in (
        (("close", "--date", "5 May", "--reason", "x"), 2),
        (("close", "--date", "9999-12-31", "--dry-run"), 1),
        (("close", "--date", "9999-12-31", "--reason", "x"), 1),
        (("report", "--date", "2001-01-01"), 2),
        (("report", "--date", "2001-01-01", "--html", str(tmp_path / "no" / "such.html")), 1),
    ):
        done = tally(environment, "recon", *words)
        assert done.returncode == code, (words, done.stderr)
    done = tally(environment, "recon", "report", "--date", "2001-01-01", "--html", str(tmp_path / "a.html"))
    assert "Not signed." in (tmp_path / "a.html").read_text()
    assert done.returncode == 0
    claim = tally(environment, "recon", "fees", "--psp", "northpay", "--month", "2001-01", "--claim")
    assert (claim.returncode, claim.stdout.split(",")[:4]) == (0, ["psp_ref", "our_ref", "day", "gross"])
