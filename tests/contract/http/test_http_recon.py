"""The reports of reconciliation over HTTP and by command: shapes, pages, scopes. What they say is tested on the store."""

from __future__ import annotations

import json
import secrets
import zlib
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel

from producers import recon_replies as shapes
from producers.keys import UPSTREAM_SCOPES
from tests.commands import tally
from tests.contract.http.door import Door

ROOT = "/v1/recon"
SHAPES: dict[str, type[BaseModel]] = {
    "": shapes.ReconDay,
    "?date=2026-01-05": shapes.ReconDay,
    "?date=9999-12-31": shapes.ReconDay,
    "/settlements": shapes.SettlementPage,
    "/clearing?psp=northpay": shapes.ClearingReport,
    "/proof": shapes.ProofReport,
    "/breaks?code=AMOUNT": shapes.BreakPage,
    "/fees?psp=northpay&month=2026-01": shapes.FeeReport,
}


@pytest.fixture(scope="module")
def finance(door: Door) -> str:
    return door.key_for("finance", "recon:read")


@pytest.fixture(scope="module")
def psp(door: Door) -> str:
    """A PSP with three settlements and three breaks, one of whose subjects is a formula."""
    psp = f"p{secrets.token_hex(4)}"
    with psycopg.connect(door.settings.dsn("tally_reconciliation"), options="-c search_path=reconciliation") as conn:
        for number in range(3):
            conn.execute(
                "INSERT INTO settlements (source, settlement, currency, psp, changed_at) VALUES (%s, %s, 'EUR', %s, now())",
                [psp, f"s-{number}", psp],
            )
            conn.execute(
                "INSERT INTO breaks (break_id, code, subject, class, state, source, psp, currency, amount, items, detail,"
                " opened_at, changed_at, revision) VALUES (%s, 'AMOUNT', '=HYPERLINK(1)', 'B', 'open', %s, %s, 'EUR', 1234, 1,"
                " '{}', now(), now(), 1)",
                [secrets.token_hex(16), psp, psp],
            )
    return psp


@pytest.mark.parametrize("path", SHAPES)
def test_each_report_has_its_shape(door: Door, finance: str, psp: str, path: str) -> None:
    reply = door.get(ROOT + path, key=finance)
    assert reply.status == 200, reply.body
    SHAPES[path].model_validate_json(reply.body)


@pytest.mark.parametrize(("path", "named"), [("/settlements?source", "settlements"), ("/breaks?psp", "breaks")])
def test_lists_lead_on_to_the_rest_and_end(door: Door, finance: str, psp: str, path: str, named: str) -> None:
    query = f"{ROOT}{path}={psp}"
    whole = door.get(query, key=finance).json
    assert (len(whole[named]), whole["next_cursor"]) == (3, None)
    first = door.get(query + "&limit=2", key=finance).json
    rest = door.get(f"{query}&limit=2&cursor={first['next_cursor']}", key=finance).json
    assert (first[named] + rest[named], rest["next_cursor"]) == (whole[named], None)
    assert door.get(query + "&cursor=x", key=finance).json["code"] == "invalid_cursor"


def test_a_break_is_shown_by_its_id_and_others_are_not_found(door: Door, finance: str, psp: str) -> None:
    [one, *_] = door.get(f"{ROOT}/breaks?psp={psp}", key=finance).json["breaks"]
    shown = door.get(f"{ROOT}/breaks/{one['break_id']}", key=finance)
    shapes.BreakShown.model_validate_json(shown.body)
    assert [door.get(f"{ROOT}/breaks/{id_}", key=finance).status for id_ in ("0" * 32, "x", "%00")] == [404] * 3


def test_what_is_known_of_a_settlement_is_explained_and_others_are_not_found(
    door: Door, finance: str, psp: str, environment: dict[str, str]
) -> None:
    reply = door.get(f"{ROOT}/explain?of={psp}/s-1", key=finance)
    told = shapes.Explained.model_validate_json(reply.body)
    assert [one.settlement for one in told.settlements] == ["s-1"]
    assert f"{psp}/s-1 EUR: waiting" in tally(environment, "recon", "explain", f"{psp}/s-1").stdout
    for of in (f"{psp}/s-9", "no-such-order", "0" * 31 + "9"):
        assert door.get(f"{ROOT}/explain?of={of}", key=finance).status == 404
        assert tally(environment, "recon", "explain", of).returncode == 1


def test_reports_need_their_scope(door: Door) -> None:
    keys = [door.key_for("shop", *UPSTREAM_SCOPES), door.key_for("writer", "recon:write")]
    assert {door.get(ROOT + path, key=key).status for path in SHAPES for key in keys} == {403}


def test_commands_show_the_same_for_people_scripts_and_spreadsheets(environment: dict[str, str], psp: str) -> None:
    def run(*words: str) -> str:
        done = tally(environment, "recon", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "house-bank" in run()
    assert {one["source"] for one in json.loads(run("--json"))["sources"]} >= {"northpay-main", "house-bank"}
    assert json.loads(run("files", "--json"))["sources"] == json.loads(run("--json"))["sources"]
    assert run("files", "--csv").startswith("source,came,counted,")
    [*_, last] = json.loads(run("settlements", "--source", psp, "--json"))["settlements"]
    assert (last["settlement"], last["state"]) == ("s-0", "waiting")
    assert "s-2" in run("settlements", "--source", psp)
    assert run("clearing", "--psp", "northpay", "--csv").startswith(
        "psp,station,currency,days_late,tallies,plus,minus\n"
    )
    assert run("fees", "--psp", "northpay", "--month", "2001-01", "--csv").startswith("kind,scheme,currency,")
    assert json.loads(run("fees", "--psp", "northpay", "--month", "2001-01", "--json"))["fees"] == []
    breaks: list[Any] = json.loads(run("breaks", "list", "--psp", psp, "--json"))["breaks"]
    assert run("breaks", "list", "--psp", psp, "--csv").count(",'=HYPERLINK(1)\n") == 3
    assert "AMOUNT (class B), open: =HYPERLINK(1)" in run("breaks", "show", breaks[0]["break_id"])
    none = tally(environment, "recon", "breaks", "show", "0" * 32)
    assert (none.returncode, "there is no break" in none.stderr) == (1, True)
    assert tally(environment, "recon", "files", "--date", "5 May").returncode == 2
    assert tally(environment, "recon", "fees", "--psp", "northpay", "--month", "2026-13").returncode == 2
    assert tally(environment, "recon", "proof").returncode in (0, 1)


def test_what_is_asked_of_nobody_names_what_is_called_alike(environment: dict[str, str], psp: str) -> None:
    for words, near in (
        (("clearing", "--psp", "nortpay"), "northpay"),
        (("fees", "--psp", "nortpay", "--month", "2001-01"), "northpay"),
        (("settlements", "--source", "house-bnak"), "house-bank"),
        (("explain", f"{psp}/s1"), f"{psp}/s-1"),
        (("lines", f"{psp}/s1"), f"{psp}/s-1"),
    ):
        done = tally(environment, "recon", *words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert f"do you mean {near}" in done.stderr


@pytest.mark.parametrize(
    "path",
    [
        "?date=2026-02-30",
        "/fees?psp=northpay&month=2026-13",
        "/fees?psp=northpay",
        "/lines?of=x",
        "/lines?of=northpay-main/1&limit=501",
        "/explain?of=",
        "/breaks?state=maybe",
        "/settlements?limit=0",
    ],
)
def test_a_question_that_makes_no_sense_is_a_problem_that_names_its_field(door: Door, finance: str, path: str) -> None:
    reply = door.get(ROOT + path, key=finance)
    assert (reply.status, reply.headers["content-type"]) == (400, "application/problem+json")
    assert reply.json["code"] == "invalid_parameter"


@pytest.fixture(scope="module")
def file_id(door: Door, psp: str) -> str:
    """A file of three lines of the settlement s-0, whose references are a formula and a terminal's command."""
    file_id = secrets.token_hex(32)
    zeros = [0] * 3
    lists = ("gross", "net", "gross_currencies", "net_currencies", "fees", "commissions", "markups", "scheme_fees",
             "interchange", "taxes", "at", "value_days", "settlements")  # fmt: skip
    columns = dict.fromkeys(lists, zeros) | {
        "kinds": "ccc", "keys": "0" * 96, "psp_refs": ["=1+1", "\x1b[2J", "x"], "order_refs": ["", "@SUM(A1)", ""],
        "rates": [""] * 3, "digests": [1, 2, 3],
    }  # fmt: skip
    with psycopg.connect(door.settings.dsn("tally_reconciliation"), options="-c search_path=reconciliation") as conn:
        [file_no] = conn.execute(
            "INSERT INTO files (source, file_id, upload_id, name, size, received_at, state, reader, changed_at)"
            " VALUES (%s, %s, 'u', 'f.csv', 1, now(), 'folded', 'test:1', now()) RETURNING file_no",
            [psp, file_id],
        ).fetchone() or [0]
        conn.execute(
            "INSERT INTO line_chunks (file_no, chunk, reader, psp, first_line, first_byte, last_byte, settlements, currencies,"
            " columns) VALUES (%s, 0, 'test:1', %s, 2, 0, 9, '{s-0}', '{EUR}', %s)",
            [file_no, psp, zlib.compress(json.dumps(columns).encode())],
        )
        conn.execute(
            "INSERT INTO settlement_claims (settlement_no, file_no) SELECT settlement_no, %s FROM settlements"
            " WHERE source = %s AND settlement = 's-0'",
            [file_no, psp],
        )
    return file_id


def test_lines_are_paged_shown_and_harmless(
    door: Door, finance: str, psp: str, file_id: str, environment: dict[str, str]
) -> None:
    for of in (f"{psp}/s-0", file_id[:20]):
        query = f"{ROOT}/lines?of={of}"
        whole = door.get(query, key=finance)
        shapes.FileLinePage.model_validate_json(whole.body)
        first = door.get(query + "&limit=2", key=finance).json
        rest = door.get(f"{query}&limit=2&cursor={first['next_cursor']}", key=finance).json
        assert [line["record"] for line in first["lines"] + rest["lines"]] == [2, 3, 4]
        assert (first["lines"] + rest["lines"], rest["next_cursor"]) == (whole.json["lines"], None)
    assert door.get(f"{ROOT}/lines?of={psp}/s-9", key=finance).status == 404
    name = f"{file_id[:12]}:3"
    [line] = door.get(f"{ROOT}/explain?of={name}", key=finance).json["lines"]
    assert (line["line"], line["first_byte"], line["text"]) == (name, None, None)
    said = tally(environment, "recon", "explain", name).stdout
    csv = tally(environment, "recon", "lines", f"{psp}/s-0", "--csv").stdout
    assert "record 3 of f.csv" in said
    assert [text in csv for text in (",'=1+1,", ",'@SUM(A1),", "\\x1b[2J")] == [True] * 3
    assert "\x1b" not in said + csv + tally(environment, "recon", "lines", f"{psp}/s-0", "--json").stdout
