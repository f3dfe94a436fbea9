"""Sanctions lists on a real database: imported whole or not at all, screened against, decided once, and screened again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from consumers.risk import importing
from consumers.risk.consumer import build
from consumers.risk.readers import read_list
from consumers.risk.rescreening import AT_ONCE
from consumers.risk.settings import RiskLimits
from schemas.events import RiskCleared, RiskDecided, RiskHeld, RiskRefused, RiskReviewed, ScreeningRequested
from schemas.money import Money
from tests.sanctions import ALT, EU, SDN, ofac, one, screen_known
from tests.store.hearing import NOW, Hearing
from topics.runtime.dead_letters.acts import AuditNote
from topics.settings import Settings

BY = AuditNote("anna", "the list of today")
LISTED = "Muhammad al-Khateri"


@pytest.fixture
def start(stored: Settings) -> Iterator[Callable[..., Hearing]]:
    """A starter of risk processes on one database."""
    started: list[Hearing] = []

    def start_one(limits: RiskLimits | None = None) -> Hearing:
        settings = stored.model_copy(update={"risk": limits or RiskLimits(), "risk_lists": ()})
        started.append(Hearing(settings, build(settings), f"process {len(started)}"))
        return started[-1]

    yield start_one
    for hearing in started:
        hearing.close()


@pytest.fixture
def load(stored: Settings, tmp_path: Path) -> Callable[..., importing.Diff]:
    def load_one(sdn: str = SDN, alt: str = ALT) -> importing.Diff:
        return importing.load(stored, read_list(ofac(tmp_path, sdn, alt)), BY)

    return load_one


def screening(checkout_id: str, name: str | None = LISTED, buyer: str = "b1") -> ScreeningRequested:
    return ScreeningRequested(
        checkout_id=checkout_id,
        owner="shop",
        buyer_account=buyer,
        name=name,
        totals=(Money(1000, "EUR"),),
        sellers=("s1",),
    )


def said(risk: Hearing, *asked: ScreeningRequested) -> list[tuple[type, str]]:
    return [(type(one), one.rule) for one in risk.hears(*asked) if isinstance(one, RiskDecided)]


def review(risk: Hearing, subject: str, decision: str, about: str = "payment", screen_no: int = 1) -> None:
    asked = {"about": about, "subject": subject, "screen_no": screen_no, "decision": decision}
    risk.hears(RiskReviewed.model_validate(asked | {"actor": "anna", "reason": "seen"}))


def screen_again(risk: Hearing) -> int:
    """→ how many buyers a whole round of upkeep screened."""
    return screen_known(risk.settings, risk.consumer)


HELD, CLEARED, REFUSED = (RiskHeld, "near_hit"), (RiskCleared, "none"), (RiskRefused, "near_hit")


def test_a_buyer_near_an_entry_waits_and_the_entry_and_score_are_kept(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load()
    risk = start()
    assert said(risk, screening("c1"), screening("c2", "Ada Lovelace", "b2"), screening("c3", None, "b3")) == [
        HELD,
        CLEARED,
        CLEARED,
    ]
    [held] = risk.rows("SELECT * FROM hold_view")
    [hit] = held["hits"]
    assert (hit["list_name"], hit["entry_id"], hit["listed_name"]) == ("ofac-sdn", "1001", "AL KHATERI, Muhammad")
    assert held["score"] == hit["score"] == 100
    assert held["list_version"].startswith("ofac-sdn@")


def test_a_cleared_false_positive_is_not_asked_again_until_the_entry_changes(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load()
    risk = start()
    assert said(risk, screening("c1")) == [HELD]
    review(risk, "c1", "clear")
    assert said(risk, screening("c2")) == [CLEARED]
    load(alt=ALT.replace("ZARYA OIL", "ZARYA GAS"))  # another entry
    assert said(risk, screening("c3")) == [CLEARED]
    load(sdn=SDN.replace("Passport H1", "Passport H2"))  # what nobody is screened by
    assert said(risk, screening("c4")) == [CLEARED]
    load(sdn=SDN.replace("DOB 19 Jun 1951", "DOB 20 Jun 1951"))
    assert said(risk, screening("c5")) == [HELD]


def test_a_clearance_is_of_that_account_under_that_name_alone(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load()
    risk = start()
    said(risk, screening("c1"))
    review(risk, "c1", "clear")
    assert said(risk, screening("c2", LISTED, "b2")) == [HELD]
    assert said(risk, screening("c3", "Mohammed Nasir Al-Khatiri")) == [HELD]


def test_a_buyer_whom_a_person_refused_is_refused_from_then_on(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load()
    risk = start()
    said(risk, screening("c1"))
    review(risk, "c1", "refuse")
    assert said(risk, screening("c2")) == [REFUSED]


def test_a_new_version_screens_known_buyers_again_and_asks_about_each_once(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load(
        sdn=SDN.replace("AL-KHATIRI, Mohammed", "SOMEBODY, Else"),
        alt=ALT.replace("AL KHATERI, Muhammad", "NOBODY, Here"),
    )
    risk = start()
    assert said(risk, screening("c1"), screening("c2", "Ada Lovelace", "b2")) == [CLEARED, CLEARED]
    assert screen_again(risk) == 0  # screened when they paid
    load()
    assert screen_again(risk) == 2
    [held] = risk.rows("SELECT about, subject, screen_no, rule, decision FROM hold_view")
    assert held == {"about": "buyer", "subject": "b1", "screen_no": 1, "rule": "near_hit", "decision": None}
    load(alt=ALT.replace("ZARYA OIL", "ZARYA GAS"))
    assert (screen_again(risk), len(risk.rows("SELECT 1 FROM hold_view"))) == (2, 1)
    review(risk, "b1", "clear", "buyer")
    assert said(risk, screening("c3")) == [CLEARED]


def test_many_known_buyers_are_screened_in_slices(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load(alt="")
    risk = start()
    risk.hears(*(screening(f"c{n}", f"Person {n} Kuvolari", f"b{n}") for n in range(AT_ONCE + 50)))
    load()
    chore = risk.consumer.sum_up
    assert chore is not None
    with risk.store.transaction() as conn:
        assert chore(conn, risk.settings.retention, NOW) == AT_ONCE
    assert screen_again(risk) == 50


def test_no_name_of_a_buyer_stands_anywhere_in_clear(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff], stored: Settings
) -> None:
    load()
    risk = start()
    said(risk, screening("c1", "Muhammad Qwertz al-Khateri"), screening("c2", "Ada Qwertz", "b2"))
    with psycopg.connect(stored.dsn("tally_risk"), options="-c search_path=risk") as conn:
        tables = [row[0] for row in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'risk'")]
        kept = {table: str(conn.execute(f"SELECT * FROM {table}").fetchall()) for table in tables}  # type: ignore[arg-type]
    assert [table for table, rows in kept.items() if "qwertz" in rows.lower()] == []
    assert len(risk.rows("SELECT 1 FROM party_view")) == 2


def test_without_a_sanctions_list_no_buyer_is_kept(start: Callable[..., Hearing]) -> None:
    risk = start()
    assert said(risk, screening("c1")) == [CLEARED]
    assert risk.rows("SELECT 1 FROM party_view") == []


def test_payments_wait_while_a_required_list_is_missing(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    risk = start(RiskLimits(lists_required=frozenset({"ofac-sdn"})))
    assert said(risk, screening("c1", "Ada Lovelace")) == [(RiskHeld, "no_list")]
    load()
    assert said(risk, screening("c2", "Ada Lovelace")) == [CLEARED]


def test_an_import_says_what_changes_and_the_same_again_changes_nothing(
    stored: Settings, load: Callable[..., importing.Diff], start: Callable[..., Hearing]
) -> None:
    first = load()
    assert (first.before, first.added, first.changed, first.removed) == (None, ("1001", "1002", "1004"), (), ())
    assert not load().is_new
    later = load(alt=ALT.replace("ZARYA OIL", "ZARYA GAS"))
    assert (later.before, later.added, later.changed, later.removed) == (first.version, (), ("1002",), ())
    back = load()
    assert (back.is_new, back.changed) == (True, ("1002",))
    risk = start()
    assert [
        row["current"] for row in risk.rows("SELECT current FROM list_view ORDER BY version = %s", first.version)
    ] == [
        False,
        True,
    ]
    assert len(risk.rows("SELECT 1 FROM list_entry_view WHERE until_no IS NULL")) == 3
    assert len(risk.rows("SELECT no FROM import_view")) == 3


def test_two_lists_are_current_beside_each_other(
    stored: Settings, load: Callable[..., importing.Diff], start: Callable[..., Hearing], tmp_path: Path
) -> None:
    load()
    importing.load(stored, read_list(one(tmp_path, EU)), BY)
    risk = start()
    said(risk, screening("c1", "Mohammed Nasir Al-Khatiri"))
    [held] = risk.rows("SELECT list_version, hits FROM hold_view")
    assert sorted(hit["list_name"] for hit in held["hits"]) == ["eu-consolidated", "ofac-sdn"]
    assert held["list_version"].count("@") == 2


def test_a_list_of_the_settings_is_no_longer_asked_and_an_imported_one_stays(
    stored: Settings, load: Callable[..., importing.Diff], tmp_path: Path, start: Callable[..., Hearing]
) -> None:
    (tmp_path / "own.txt").write_text("Mallory\n")
    settings = stored.model_copy(update={"risk_lists": (tmp_path / "own.txt",)})
    risk = Hearing(settings, build(settings), "with a list of its own")
    load()
    assert said(risk, screening("c1", "Mallory", "b2"), screening("c2")) == [(RiskRefused, "listed_name"), HELD]
    risk.close()
    assert said(start(), screening("c3", "Mallory", "b2"), screening("c4")) == [CLEARED, HELD]


def test_two_processes_follow_a_new_version_each_for_itself(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    first, other = start(), start()
    assert said(first, screening("c1")) + said(other, screening("c2")) == [CLEARED, CLEARED]
    load()
    assert said(first, screening("c3")) + said(other, screening("c4")) == [HELD, HELD]
