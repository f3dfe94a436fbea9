"""Pay-outs before each release: the holder's name against the lists, held for a person, and again by a new list."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from consumers.risk import importing
from consumers.risk.consumer import build
from consumers.risk.readers import read_list
from consumers.risk.settings import RiskLimits
from operations.auditor.engine.stores import Stores
from operations.auditor.pay_in.unfinished import reviews
from operations.stack.servers import Servers
from schemas.events import RiskReviewed
from schemas.payouts import (
    PayoutRiskCleared,
    PayoutRiskDecided,
    PayoutRiskHeld,
    PayoutRiskRefused,
    PayoutScreeningRequested,
    SealedDestination,
)
from tests.sanctions import ALT, SDN, ofac, screen_known
from tests.store.hearing import NOW, Hearing
from topics.runtime.dead_letters.acts import AuditNote
from topics.runtime.delivery.fire import fire
from topics.runtime.outbox.outbox import records_of
from topics.sealing import Sealer
from topics.settings import Settings

ACCOUNT = {"type": "iban", "iban": "DE89370400440532013000"}
HOUR = timedelta(hours=1)
LATER = NOW + 2 * HOUR
LISTED, UNLISTED = "Muhammad al-Khateri", "Ada Lovelace"
HELD, CLEARED, REFUSED = (PayoutRiskHeld, "near_hit"), (PayoutRiskCleared, "none"), (PayoutRiskRefused, "near_hit")
ELSEWHERE = {
    "sdn": SDN.replace("AL-KHATIRI, Mohammed", "SOMEBODY, Else"),
    "alt": ALT.replace("AL KHATERI, Muhammad", "NOBODY, Here"),
}

NEWER = {"sdn": '1005,"AL-KHATERI, Muhammad","individual","SDGT"' + ',"-0- "' * 7 + ',"DOB 1970."\n' + SDN}


@pytest.fixture
def start(stored: Settings) -> Iterator[Callable[..., Hearing]]:
    started: list[Hearing] = []

    def start_one(**limits: object) -> Hearing:
        settings = stored.model_copy(update={"risk": RiskLimits.model_validate(limits), "risk_lists": ()})
        started.append(Hearing(settings, build(settings), f"process {len(started)}"))
        return started[-1]

    yield start_one
    for hearing in started:
        hearing.close()


@pytest.fixture
def load(stored: Settings, tmp_path: Path) -> Callable[..., importing.Diff]:
    def load_one(**files: str) -> importing.Diff:
        return importing.load(stored, read_list(ofac(tmp_path, **files)), AuditNote("anna", "the list of today"))

    return load_one


def sealed(settings: Settings, seller: str, opened: object, country: str = "DE") -> SealedDestination:
    sealer = Sealer(bytes.fromhex(settings.derive("destinations")))
    made = b64encode(sealer.seal(orjson.dumps(opened).decode(), f"{seller}:iban")).decode()
    return SealedDestination("iban", country, "DE89 … 3000", "9f86d081884c7d65", made)


def asks(
    risk: Hearing, payout: str, holder: str | None = UNLISTED, *, no: int = 1, seller: str = "s1", country: str = "DE"
) -> tuple[type, str]:
    """→ what risk answers to one screening."""
    opened = ACCOUNT | ({} if holder is None else {"holder": holder})
    asked = PayoutScreeningRequested(
        payout_id=payout,
        owner="shop",
        seller_account=seller,
        screen_no=no,
        destination=sealed(risk.settings, seller, opened, country),
        currency="EUR",
    )
    [said] = risk.hears(asked)
    assert isinstance(said, PayoutRiskDecided)
    assert (said.payout_id, said.screen_no) == (payout, no)
    return type(said), said.rule


def review(
    risk: Hearing, subject: str, decision: str, about: str = "payout", no: int = 1
) -> list[tuple[type, str, datetime]]:
    """An hour later. → what risk answers, for whom, and as of when."""
    asked = {"about": about, "subject": subject, "screen_no": no, "decision": decision}
    made = RiskReviewed.model_validate(asked | {"actor": "anna", "reason": "seen"})
    said = risk.hears(made, after=HOUR)
    return [(type(one), one.actor, one.decided_at) for one in said if isinstance(one, PayoutRiskDecided)]


def fire_timers(risk: Hearing, now: datetime = NOW) -> list[str]:
    """→ the types of what risk says where its timers are due."""
    return [
        dict(record.headers)["ce_type"].decode().removeprefix("tallystick.").removesuffix(".v1")
        for applied in fire(risk.store, risk.consumer, "a", now)
        for record in records_of(applied.rows)
    ]


def test_a_pay_out_to_a_name_on_no_list_is_cleared_and_one_near_an_entry_waits(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load()
    risk = start()
    assert (asks(risk, "p1"), asks(risk, "p2", LISTED)) == (CLEARED, HELD)
    [held] = risk.rows("SELECT about, subject, seller_account, buyer_account, score, hits FROM hold_view")
    assert (held["about"], held["subject"], held["seller_account"], held["buyer_account"]) == (
        "payout",
        "p2",
        "s1",
        None,
    )
    assert [hit["entry_id"] for hit in held["hits"]] == ["1001"]


@pytest.mark.parametrize(("decision", "answer"), [("clear", PayoutRiskCleared), ("refuse", PayoutRiskRefused)])
def test_a_persons_review_answers_the_screening_once_and_holds_for_the_sellers_next(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff], decision: str, answer: type
) -> None:
    load()
    risk = start()
    asks(risk, "p1", LISTED)
    assert review(risk, "p1", decision) == [(answer, "anna", NOW)]  # as old as the screening
    assert review(risk, "p1", "refuse" if decision == "clear" else "clear") == []
    assert asks(risk, "p1", LISTED, no=2)[0] is answer
    assert asks(risk, "p2", LISTED)[0] is answer
    assert asks(risk, "p3", LISTED, seller="s2") == HELD


def test_the_same_screening_again_gets_what_was_said_last(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load()
    risk = start()
    assert [asks(risk, "p1", LISTED), asks(risk, "p1", LISTED)] == [HELD, HELD]
    review(risk, "p1", "clear")
    assert asks(risk, "p1", LISTED) == (PayoutRiskCleared, "near_hit")
    assert len(risk.rows("SELECT 1 FROM payout_screening_view")) == 1


def test_a_pay_out_waits_while_a_required_list_is_missing_or_the_holder_has_no_name(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    strict = start(lists_required=["ofac-sdn"])
    assert asks(strict, "p1") == (PayoutRiskHeld, "no_list")
    assert review(strict, "p1", "clear") == [(PayoutRiskCleared, "anna", NOW + HOUR)]
    load()
    assert asks(strict, "p2") == CLEARED
    assert [asks(strict, "p3", None), asks(strict, "p4", " - ")] == [(PayoutRiskHeld, "no_name")] * 2
    assert asks(start(screening_required=False), "p5", None) == CLEARED


def test_a_destination_that_was_sealed_for_another_seller_or_installation_waits(start: Callable[..., Hearing]) -> None:
    risk = start()
    moved = sealed(risk.settings, "s2", ACCOUNT | {"holder": UNLISTED})
    other = sealed(risk.settings.model_copy(update={"secret": "x" * 32}), "s1", ACCOUNT | {"holder": UNLISTED})
    for number, destination in enumerate((moved, other, SealedDestination("iban", "DE", "…", "0" * 16, "not base64"))):
        asked = PayoutScreeningRequested(
            payout_id=f"p{number}",
            owner="shop",
            seller_account="s1",
            screen_no=1,
            destination=destination,
            currency="EUR",
        )
        [said] = risk.hears(asked)
        assert (type(said), getattr(said, "rule", None)) == (PayoutRiskHeld, "no_name")


def test_a_blocked_country_or_a_listed_name_refuses(
    stored: Settings, start: Callable[..., Hearing], tmp_path: Path
) -> None:
    (tmp_path / "own.txt").write_text("Mallory\n")
    settings = stored.model_copy(update={"risk": RiskLimits(), "risk_lists": (tmp_path / "own.txt",)})
    risk = Hearing(settings, build(settings), "with a list of its own")
    assert asks(risk, "p1", country="KP") == (PayoutRiskRefused, "blocked_country")
    assert asks(risk, "p2", "MALLORY") == (PayoutRiskRefused, "listed_name")
    risk.close()


def test_a_new_list_holds_a_pay_out_that_was_cleared_a_short_time_ago(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load(**ELSEWHERE)
    risk = start()
    assert asks(risk, "p1", LISTED) == CLEARED
    load()
    assert screen_known(risk.settings, risk.consumer, NOW) == 1
    assert fire_timers(risk) == ["PayoutRiskHeld"]
    assert [(row["about"], row["subject"]) for row in risk.rows("SELECT about, subject FROM hold_view")] == [
        ("payout", "p1")
    ]
    assert review(risk, "p1", "clear") == [(PayoutRiskCleared, "anna", NOW)]
    assert asks(risk, "p1", LISTED, no=2) == CLEARED  # that entry is decided


def test_a_new_list_holds_again_what_a_person_has_cleared_and_another_screening_asks_about_the_new_entry(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    """A screening is reviewed once, and a clearance holds for the entries that the person saw."""
    load()
    risk = start()
    asks(risk, "p1", LISTED)
    review(risk, "p1", "clear")
    assert fire_timers(risk, LATER) == []
    load(**NEWER)
    assert screen_known(risk.settings, risk.consumer, LATER) == 1
    assert fire_timers(risk, LATER) == ["PayoutRiskHeld"]
    assert [(row["about"], row["subject"], row["decision"]) for row in risk.rows("SELECT * FROM hold_view")] == [
        ("payout", "p1", "clear"),
        ("seller", "s1", None),
    ]
    assert asks(risk, "p1", LISTED, no=2) == HELD
    [held] = risk.rows("SELECT hits FROM hold_view WHERE about = 'payout' AND screen_no = 2")
    assert [hit["entry_id"] for hit in held["hits"]] == ["1005"]
    assert review(risk, "p1", "clear", no=2)[0][0] is PayoutRiskCleared
    assert fire_timers(risk, LATER) == []


def test_a_list_that_comes_while_a_person_decides_holds_the_pay_out_again(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load()
    risk = start()
    asks(risk, "p1", LISTED)
    load(**NEWER)
    screen_known(risk.settings, risk.consumer, NOW)
    assert fire_timers(risk) == []
    review(risk, "p1", "clear")
    assert fire_timers(risk, LATER) == ["PayoutRiskHeld"]


def test_what_a_person_has_cleared_without_a_list_is_held_once_the_list_names_it(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load(**ELSEWHERE)
    risk = start(lists_required=["eu-consolidated"])
    assert asks(risk, "p1", LISTED) == (PayoutRiskHeld, "no_list")
    review(risk, "p1", "clear")
    assert fire_timers(risk, LATER) == []
    load()
    screen_known(risk.settings, risk.consumer, LATER)
    assert fire_timers(risk, LATER) == ["PayoutRiskHeld"]


def test_a_new_list_holds_a_pay_out_though_another_one_has_asked_about_its_entry_before(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load(**ELSEWHERE)
    risk = start()
    assert asks(risk, "p1", LISTED) == CLEARED
    load()
    assert asks(risk, "p2", LISTED) == HELD
    screen_known(risk.settings, risk.consumer, NOW)
    assert fire_timers(risk) == ["PayoutRiskHeld"]
    assert {row["subject"] for row in risk.rows("SELECT subject FROM hold_view")} == {"p1", "p2"}


def test_a_new_list_asks_about_a_known_seller_whose_pay_outs_have_left(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff]
) -> None:
    load(**ELSEWHERE)
    risk = start()
    asks(risk, "p1", LISTED)
    load()
    assert screen_known(risk.settings, risk.consumer, NOW + timedelta(days=3)) == 1
    assert fire_timers(risk) == []
    [held] = risk.rows("SELECT about, subject, seller_account, screen_no FROM hold_view")
    assert held == {"about": "seller", "subject": "s1", "seller_account": "s1", "screen_no": 1}
    assert asks(risk, "p2", LISTED) == HELD
    review(risk, "s1", "refuse", "seller")
    assert asks(risk, "p3", LISTED) == REFUSED


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM holds WHERE NOT EXISTS (SELECT FROM reviews r WHERE r.subject = holds.subject)",
        "DELETE FROM payout_screenings WHERE outcome = 'held'",
    ],
)
def test_the_auditor_finds_a_held_pay_out_that_nobody_can_review_or_did_as_it_says(
    stored: Settings, servers: Servers, start: Callable[..., Hearing], statement: str
) -> None:
    risk = start(lists_required=["ofac-sdn"])
    asks(risk, "p1")
    asks(risk, "p2")
    review(risk, "p2", "clear")
    with Stores(stored) as stores:
        assert reviews(stores, NOW).wrong == {}
        admin = make_conninfo(servers.postgres_admin, dbname=stored.database)
        with psycopg.connect(admin, options="-c search_path=risk -c session_replication_role=replica") as conn:
            conn.execute(statement.encode())
        assert reviews(stores, NOW).wrong != {}


def test_no_holders_name_stands_anywhere_in_clear(
    start: Callable[..., Hearing], load: Callable[..., importing.Diff], stored: Settings
) -> None:
    load()
    risk = start()
    asks(risk, "p1", "Muhammad Qwertz al-Khateri")
    asks(risk, "p2", "Ada Qwertz")
    with psycopg.connect(stored.dsn("tally_risk"), options="-c search_path=risk") as conn:
        tables = [row[0] for row in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'risk'")]
        kept = {table: str(conn.execute(f"SELECT * FROM {table}").fetchall()) for table in tables}  # type: ignore[arg-type]
    assert [table for table, rows in kept.items() if "qwertz" in rows.lower()] == []
