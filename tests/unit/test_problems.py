"""Problem documents: every code that a contract can raise is listed; nothing that was sent is repeated."""

from __future__ import annotations

import re

import orjson
import pytest

from operations.stack.home import CHECKOUT
from producers.problems import CODES, Problem, broken
from schemas.requests import FieldError


def test_every_code_of_the_contract_is_listed() -> None:
    sources = [CHECKOUT / "schemas" / name for name in ("requests.py", "ids.py", "text.py", "money.py")]
    pattern = r"(?:PydanticCustomError|Refusal|InvalidMoney|FieldError)\(\s*(?:\"\", )?\"([a-z_]+)\""
    raised = {code for source in sources for code in re.findall(pattern, source.read_text())}
    assert len(raised) > 8
    assert raised - {"currency_mismatch"} <= CODES.keys()


@pytest.mark.parametrize("code", CODES)
def test_every_problem_is_a_whole_document(code: str) -> None:
    document = orjson.loads(Problem(code).body())
    assert document["code"] == code
    assert document["status"] == CODES[code].status
    assert document["type"] == f"/errors#{code}"
    assert document["title"]
    assert document["detail"]


def test_a_code_that_is_not_listed_is_our_fault() -> None:
    assert Problem("something_new").status == 500


def test_a_problem_names_the_first_field_and_at_most_twenty() -> None:
    document = orjson.loads(broken([FieldError(f"f{i}", "wrong_type", "no") for i in range(50)]).body())
    assert document["field"] == "f0"
    assert len(document["errors"]) == 20
