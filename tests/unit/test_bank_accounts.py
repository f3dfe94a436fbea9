"""A bank that gets files in the settings: what is missing or impossible is refused by name, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.store.bank import bank_account
from topics.payout_accounts import BankFileAccount
from topics.settings import Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("debtor", None),
        ("cut_offs", []),
        ("cut_offs", ["24:00"]),
        ("cut_offs", ["9:00"]),
        ("file_max", 0),
        ("file_max", 10_001),
        ("out", ""),
        ("statuses", "."),
    ],
)
def test_a_bank_that_could_not_get_files_is_refused_by_the_field(tmp_path: Path, field: str, value: Any) -> None:
    given = bank_account(tmp_path).model_dump(mode="json")
    assert BankFileAccount.model_validate_json(json.dumps(given)).file_max == 1000
    changed = {name: each for name, each in given.items() if name != field}
    if value is not None:
        changed[field] = value
    with pytest.raises(ValidationError) as refused:
        BankFileAccount.model_validate_json(json.dumps(changed))
    assert {error["loc"][0] for error in refused.value.errors()} == {field}


@pytest.mark.parametrize("field", ["sent", "statuses"])
def test_a_bank_has_a_folder_for_each_purpose(tmp_path: Path, field: str) -> None:
    given = bank_account(tmp_path).model_dump(mode="json")
    with pytest.raises(ValidationError, match="different folders"):
        BankFileAccount.model_validate_json(json.dumps(given | {field: given["out"]}))


@pytest.mark.parametrize("field", ["out", "sent", "statuses"])
def test_no_bank_has_a_folder_in_which_another_ones_reports_are_looked_for(tmp_path: Path, field: str) -> None:
    one = bank_account(tmp_path)
    other = one.model_copy(update={"name": "otherbank", "out": tmp_path / "out2", "sent": None, "statuses": None})
    Settings(payout_providers=(one, other))
    with pytest.raises(ValidationError, match=r"statuses.* is also one of 'otherbank'"):
        Settings(payout_providers=(one, other.model_copy(update={field: one.statuses})))
