"""A break → text: what is wrong, how far persons are, what is proposed, what may be done, all that was done."""

from __future__ import annotations

from typing import Any

from operations.cli.recon_answers import Columns, table
from operations.cli.terminal import say
from producers.recon_reports import Answer
from producers.recon_work import sentences
from schemas.repairs import Repair


def print_break(found: Answer, columns: Columns) -> None:
    amount = f"{found['amount']} {found['currency']}" if found["currency"] else ""
    say(f"{found['code']} (class {found['class']}), {found['state']}: {found['subject']}", *filter(None, [amount]))
    say(*_standing(found))
    say(*(f"{name}: {value}" for name, value in found["detail"].items() if value))
    table(found["its_items"], columns)
    if (proposal := found["proposal"]) is not None:
        say(f"proposed by {proposal['maker']} ({proposal['reason']}), sha256 {proposal['sha256']}:")
        say(*(f"  {line}" for line in sentences(Repair.read(proposal["repair"]))))
    for each in found["suggestions"]:
        say(f"perhaps: {each['action']} {_fields(each['fields'])}: {each['because']}")
    say(*(_act(act) for act in found["actions"]))


def _standing(found: Answer) -> list[str]:
    whose = f", {found['assignee']}" if found["assignee"] else ""
    by = f", to be decided by {found['decide_by']:%Y-%m-%d %H:%M} UTC" if found["decide_by"] else ""
    return [f"{found['work']}{whose}{by}"]


def _fields(fields: dict[str, Any]) -> str:
    return " ".join(f"{name} {' '.join(value) if isinstance(value, list) else value}" for name, value in fields.items())


def _act(act: Answer) -> str:
    detail = act["detail"]
    told = f"{act['at']:%m-%d %H:%M:%S} {act['action'].replace('_', '-')} by {act['actor']}"
    told += f": {detail['reason']}" if detail.get("reason") else ""
    told += f", correction {detail['correction_id']}" if detail.get("correction_id") else ""
    return told + (f"; refused, {detail['refused']}: {detail['why']}" if detail.get("refused") else "")
