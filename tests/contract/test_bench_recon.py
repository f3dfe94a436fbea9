"""`tally bench recon` sends files through the real processes, checks what they have made of them, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations.bench import ledger, recon_year
from operations.bench.recon import ReconPlan, run
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from tests.conftest import SECRET
from tests.databases import copy_database


def test_the_figures_of_small_files_are_there_and_what_was_planted_is_found(
    servers: Servers, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "migrate", lambda settings, admin: copy_database(servers, template, settings.database))
    where = {"kafka": servers.kafka, "postgres": servers.postgres, "postgres_admin": servers.postgres_admin}
    figures = run(load_settings(home=tmp_path, secret=SECRET, **where), ReconPlan(lines=2000, workers=1))
    rates = ("read_lines_per_s", "whole_lines_per_s", "two_files_lines_per_s", "floor_rows_per_s", "expectations_per_s")
    assert all(figures[name] > 0 for name in (*rates, "ratio", "peak_growth")), figures
    assert figures["peak_mb_by_process"].keys() == {"reconciliation", "settlements-1"}
    assert figures["peak_mb"] >= figures["peak_mb_of_a_tenth"] > 0


def test_lines_fold_beside_tallies_of_other_payments_and_these_are_archived(
    servers: Servers, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "migrate", lambda settings, admin: copy_database(servers, template, settings.database))
    where = {"kafka": servers.kafka, "postgres": servers.postgres, "postgres_admin": servers.postgres_admin}
    settings = load_settings(home=tmp_path, secret=SECRET, **where)
    figures = recon_year.run(settings, recon_year.YearPlan(tallies=12_000, lines=2000))
    rates = ("fold_rows_per_s", "fold_rows_per_s_empty", "moved_per_s", "copied_per_s", "expectations_per_s")
    assert all(figures[name] > 0 for name in (*rates, "ratio", "table_mb")), figures
