"""The audit's report: checks, the number of things examined, findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHOWN = 3  # findings of a check that are named


@dataclass(frozen=True, slots=True)
class Check:
    """The verdict on one check. `examined` is the number of things examined."""

    name: str
    ok: bool
    examined: int
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_dict(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "checks": [{"name": c.name, "ok": c.ok, "examined": c.examined, "detail": c.detail} for c in self.checks],
        }


def judged(name: str, examined: int, wrong: Sequence[str], *, expected: bool, aside: Iterable[str] = ()) -> Check:
    """A check's verdict. With nothing examined, though there should be something, it fails, too."""
    notes = [note for note in aside if note]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        return Check(name, False, examined, "; ".join([*wrong[:SHOWN]]) + more)
    if expected and not examined:
        return Check(name, False, 0, "there was nothing to look at, and there should be")
    return Check(name, True, examined, "; ".join(notes))
