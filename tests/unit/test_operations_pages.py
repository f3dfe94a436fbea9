"""docs/commands.md and docs/auditor.md say what the code does."""

from __future__ import annotations

from operations.auditor import balances, webhooks
from operations.auditor.engine.unfinished import OUTBOXES, ROOMS_LOOKS
from operations.auditor.pay_in import published, sums, unfinished
from operations.auditor.pay_in.page import CHECKS
from operations.cli.command_page import page
from operations.stack.home import CHECKOUT

DOCS = CHECKOUT / "docs"


def test_the_page_of_commands_is_what_make_docs_would_write() -> None:
    assert (DOCS / "commands.md").read_text() == page()


def test_every_check_of_the_auditor_is_explained() -> None:
    explained = (DOCS / "auditor.md").read_text()
    names = [*CHECKS, *OUTBOXES, *unfinished.LOOKS, *ROOMS_LOOKS, *webhooks.LOOKS, webhooks.CHECK, balances.KINDS]
    names += [each.name for each in (*balances.SUMS, *sums.SUMS)]
    names += [each.check for each in (*published.SUBJECTS, *balances.BALANCES)]
    assert [name for name in names if f"`{name}`" not in explained] == []
