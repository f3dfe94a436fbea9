"""docs/commands.md and docs/auditor.md say what the code does."""

from __future__ import annotations

from operations.auditor.audit import LOOKS
from operations.auditor.engine.said import BALANCES, SUBJECTS
from operations.auditor.engine.sums import SUMS
from operations.auditor.pay_in.compare import CHARGE_CHECKS, CHECKOUT_CHECKS, ORDER_CHECKS
from operations.auditor.webhooks import CHECK
from operations.cli.command_page import page
from operations.stack.home import CHECKOUT

DOCS = CHECKOUT / "docs"


def test_the_page_of_commands_is_what_make_docs_would_write() -> None:
    assert (DOCS / "commands.md").read_text() == page()


def test_every_check_of_the_auditor_is_explained() -> None:
    explained = (DOCS / "auditor.md").read_text()
    names = [*CHECKOUT_CHECKS, *ORDER_CHECKS, *CHARGE_CHECKS, *LOOKS, CHECK, *(each.name for each in SUMS)]
    names += [subject.check for subject in SUBJECTS] + [balances[0] for balances in BALANCES]
    assert [name for name in names if f"`{name}`" not in explained] == []
