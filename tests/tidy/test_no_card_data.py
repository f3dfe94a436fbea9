"""Nothing of ours has a place for a card: docs/pci.md says so."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from pydantic import BaseModel

from operations.pages.contract import said
from producers import replies
from producers.description import BODIES
from tests.tidy.reading import nodes, python, text

OF_A_CARD = re.compile(
    r"(?:card_?(?:number|no|holder)|\bpan\b|cvc|cvv|csc|security_code|expiry|exp_(?:month|year)|magstripe)"
)


def fields(model: type[BaseModel]) -> list[str]:
    """The names of all properties, at any depth."""
    return re.findall(r'"(\w+)": ?\{', json.dumps(model.model_json_schema()))


def test_no_event_or_body_has_a_field_for_a_card() -> None:
    every = [each for each in vars(replies).values() if isinstance(each, type) and issubclass(each, BaseModel)]
    answers = [each for each in every if each.model_fields]
    models = [*said(), *BODIES, *answers]
    assert len(models) > 80
    assert [(model.__name__, name) for model in models for name in fields(model) if OF_A_CARD.search(name)] == []
    assert "payment_order_id" in set(fields(replies.Payment)), "the search finds names"


def test_the_page_that_pci_names_its_tests_on_names_tests_that_exist() -> None:
    """The page cites a file, and words of the name of one of its tests."""
    row = re.compile(r"`((?:tests/[\w/]+/)?test_\w+\.py)`: ((?:`[\w…]+`(?:, )?)+)")
    cited = [
        (file.rpartition("/")[2], words)
        for file, all_ in row.findall(text(Path("docs/pci.md")))
        for words in re.findall(r"`(\w+)`", all_)
    ]
    assert len(cited) >= 8
    names = {
        path.name: {node.name for node in nodes(path) if isinstance(node, ast.FunctionDef)} for path in python("tests")
    }
    assert [each for each in cited if not any(each[1] in name for name in names[each[0]])] == []
