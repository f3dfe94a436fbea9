"""Risk on a real database: lists by version, velocity across batches and processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from consumers.risk.consumer import build
from consumers.risk.settings import RiskLimits
from schemas.events import RiskCleared, RiskRefused, ScreeningRequested
from schemas.money import Money
from tests.store.hearing import Hearing
from topics.settings import Settings


def screening(checkout_id: str, name: str | None = "Ada", buyer: str = "b1") -> ScreeningRequested:
    return ScreeningRequested(
        checkout_id=checkout_id,
        owner="shop",
        buyer_account=buyer,
        name=name,
        totals=(Money(1000, "EUR"),),
        sellers=("s1",),
    )


def rule(risk: Hearing, event: ScreeningRequested, after: timedelta = timedelta(0)) -> str:
    [said] = risk.hears(event, after=after)
    assert isinstance(said, RiskCleared | RiskRefused)
    return said.rule


@pytest.fixture
def start(stored: Settings, tmp_path: Path) -> Iterator[Callable[..., Hearing]]:
    """A starter of risk processes on one database; keyword arguments are lists by name, a name a line."""
    limits = RiskLimits(buyer_checkouts_per_hour_max=2)
    started: list[Hearing] = []

    def start_one(**lists: str) -> Hearing:
        files = tuple(tmp_path / f"{name}.txt" for name in lists)
        for file, names in zip(files, lists.values(), strict=True):
            file.write_text(names)
        settings = stored.model_copy(update={"risk": limits, "risk_lists": files})
        started.append(Hearing(settings, build(settings), f"process {len(started)}"))
        return started[-1]

    yield start_one
    for hearing in started:
        hearing.close()


def test_a_listed_name_is_refused_however_it_is_written(start: Callable[..., Hearing]) -> None:
    risk = start(sanctions="Mallory Doe\n", pep="Eve\n")
    assert rule(risk, screening("c1", "MALLORY,  doe")) == "listed_name"
    assert rule(risk, screening("c2", "Mallory")) == "none"
    [kept, _] = risk.rows("SELECT * FROM screening_view ORDER BY checkout_id")
    assert kept["outcome"] == "refused"
    assert kept["list_version"].startswith("sanctions@")


def test_a_new_version_supersedes_and_the_old_one_is_kept(start: Callable[..., Hearing]) -> None:
    assert rule(start(sanctions="Mallory\n"), screening("c1", "Eve")) == "none"
    newer = start(sanctions="Eve\n")
    assert rule(newer, screening("c2", "Eve")) == "listed_name"
    assert rule(newer, screening("c3", "Mallory", "b2")) == "none"
    versions = newer.rows("SELECT current FROM list_view ORDER BY loaded_at")
    assert [version["current"] for version in versions] == [False, True]


def test_a_list_no_longer_named_is_no_longer_asked(start: Callable[..., Hearing]) -> None:
    assert rule(start(sanctions="Mallory\n"), screening("c1", "Mallory")) == "listed_name"
    assert rule(start(), screening("c2", "Mallory", "b2")) == "none"
    assert rule(start(sanctions="Mallory\n"), screening("c3", "Mallory", "b3")) == "listed_name"


def test_the_same_checkout_gets_the_same_answer_whatever_the_lists_say_now(start: Callable[..., Hearing]) -> None:
    [first] = start(sanctions="Eve\n").hears(screening("c1", "Mallory"))
    later = start(sanctions="Mallory\n")
    assert later.hears(screening("c1", "Mallory")) == [first]
    assert len(later.rows("SELECT 1 FROM screening_view")) == 1


def test_a_buyers_velocity_counts_across_batches_for_an_hour(start: Callable[..., Hearing]) -> None:
    risk = start()
    assert [rule(risk, screening(f"c{n}")) for n in range(3)] == ["none", "none", "velocity_limit"]
    assert rule(risk, screening("c4", buyer="b2")) == "none"
    assert rule(risk, screening("c5"), after=timedelta(hours=1)) == "none"


def test_two_processes_load_twenty_thousand_names_at_once_in_good_time(start: Callable[..., Hearing]) -> None:
    names = "".join(f"Person Number {number} of the List\n" for number in range(20_000))
    both = [start(sanctions=names), start(sanctions=names)]
    threads = [
        threading.Thread(target=risk.hears, args=(screening(f"c{n}", f"person number {n} of the list", f"b{n}"),))
        for n, risk in enumerate(both)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)  # two seconds at most; a loop per name would take minutes
    assert len([said for risk in both for said in risk.all_said(RiskRefused)]) == 2
    [only] = both[0].rows("SELECT names, current FROM list_view")
    assert (only["names"], only["current"]) == (20_000, True)


def test_a_decision_cannot_be_rewritten(start: Callable[..., Hearing]) -> None:
    risk = start()
    for statement in ("DELETE FROM screenings", "UPDATE screenings SET outcome = 'cleared'", "DELETE FROM list_names"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), risk.store.transaction() as conn:
            conn.execute(statement)
