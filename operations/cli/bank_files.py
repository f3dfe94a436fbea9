"""Bank files, over the API: a list, and one file's lines and what its bank has told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from operations.cli.cut import cut
from operations.cli.tables import Table
from operations.cli.terminal import note, say

if TYPE_CHECKING:
    from operations.cli.commands.pay import Api

PAGE = 500
ROOT = "/v1/ops/bank-files"
MORE = "--limit"


def files(api: Api, state: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest files. Errors: those of Api.call."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(found) <= limit:
        asked = {"limit": PAGE, "state": state, "cursor": cursor}
        page = api.call("GET", f"{ROOT}?{_query(asked)}")
        found += page["files"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return cut(found, limit, MORE)


def file(api: Api, file_id: str, limit: int) -> dict[str, Any]:
    """One file with its first lines. Errors: those of Api.call."""
    path = f"{ROOT}/{quote(file_id, safe='')}"
    shown = api.call("GET", f"{path}?{_query({'limit': PAGE})}")
    lines = shown["lines"]
    while len(lines) <= limit and len(lines) < shown["transactions"]:
        page = api.call("GET", f"{path}?{_query({'limit': PAGE, 'after': lines[-1]['position']})}")["lines"]
        if not page:
            break
        lines += page
    return shown | {"lines": cut(lines, limit, MORE)}


def _query(asked: dict[str, Any]) -> str:
    return urlencode({name: value for name, value in asked.items() if value is not None})


def print_files(found: list[dict[str, Any]]) -> None:
    if not found:
        note("no such files")
        return
    table = Table("file", "bank", "cut-off (UTC)", "amount", "state", "lines")
    table.columns[3].justify = "right"
    for one in found:
        amount, cut_off = f"{one['amount']} {one['currency']}", one["cut_off"][:16].replace("T", " ")
        table.add_row(one["file_id"], one["provider"], cut_off, amount, _state(one), counts(one["states"]))
    table.show()


def print_file(one: dict[str, Any]) -> None:
    print_files([one])
    table = Table("line", "pay-out", "EndToEndId", "amount", "state")
    table.columns[3].justify = "right"
    for line in one["lines"]:
        amount = f"{line['amount']} {line['currency']}"
        table.add_row(str(line["position"]), line["payout_id"], line["call_id"], amount, _state(line))
    table.show()
    for report in one["reports"]:
        say(_report(report))
        say(*(f"  {odd['end_to_end_id']} {odd['status']}: {odd['why']}, moves nothing" for odd in report["odd"]))


def _report(report: dict[str, Any]) -> str:
    at = report["received_at"][:19].replace("T", " ")
    told = f"{report['lines']} named, {report['matched']} told on, {len(report['odd'])} unknown"
    return f"{at}  report {report['group_status'] or 'of lines'}, from {report['stored_by']}: {told}"


def counts(states: dict[str, int]) -> str:
    """As in `998 paid, 2 failed`."""
    return ", ".join(f"{lines} {state}" for state, lines in sorted(states.items(), key=lambda each: -each[1]))


def _state(one: dict[str, Any]) -> str:
    return f"{one['state']} ({one['code']})" if one["code"] else str(one["state"])
