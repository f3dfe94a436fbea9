"""Invented names against an invented list: how many are found, how many wrongly, and what a name costs beside a plain scan."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rapidfuzz import fuzz, process

from consumers.risk.matching import NameIndex
from operations.bench.people import Case, Invented, invent

SCANNED = 100  # names for the floor: each is compared with every name of the list
RATE, SHARE = 700, 0.15  # buyers a second, and the share of a core that they may take


def run(seed: int, entries: int = 20_000, cases: int = 10_000) -> dict[str, Any]:
    """Figures of one run. CPU times are this process's own; `ratio` is a name's share of what a plain scan takes.

    `known_share_needed` is the share of `RATE` buyers a second that must have been met before for all of them to fit in `SHARE`.
    """
    invented = invent(seed, entries, cases)
    building_s, index = _cpu(lambda: NameIndex(invented.entries))
    asked = [*invented.variants, *invented.others]
    first_s, (recall, false_hits, by_kind) = _cpu(lambda: recall_and_false_hits(index, invented))
    listed = [entry.names[0] for entry in invented.entries]
    scan_s, _ = _cpu(
        lambda: [process.extractOne(one.name, listed, scorer=fuzz.token_sort_ratio) for one in asked[:SCANNED]]
    )
    known = {one.name: index.near(one.name) for one in asked[:1000]}
    known_s, _ = _cpu(lambda: [known[one.name] for one in asked[:1000]])
    a_name, a_scan = first_s / len(asked), scan_s / SCANNED
    return {
        "seed": seed,
        "entries": len(invented.entries),
        "names": len(index),
        "cases": len(asked),
        "recall": round(recall, 4),
        "false_hits": round(false_hits, 4),
        "by_kind": by_kind,
        "index_cpu_s": round(building_s, 2),
        "name_cpu_ms": round(1000 * a_name, 3),
        "known_name_cpu_ms": round(known_s, 6),
        "scan_cpu_ms": round(1000 * a_scan, 3),
        "ratio": round(a_name / a_scan, 3),
        "core_share_all_new": round(RATE * a_name, 3),
        "new_buyers_per_s_in_share": round(SHARE / a_name),
        "known_share_needed": round(max(0.0, 1 - SHARE / (RATE * a_name)), 3),
    }


def recall_and_false_hits(index: NameIndex, invented: Invented) -> tuple[float, float, dict[str, float]]:
    """→ the shares of variants that found their entry and of others that found any; and both by kind."""
    found = _share(invented.variants, lambda one: any(hit.entry_id == one.of for hit in index.near(one.name, one.born)))
    wrong = _share(invented.others, lambda one: bool(index.near(one.name, one.born)))
    by_kind = {kind: round(share, 4) for shares in (found, wrong) for kind, share in shares.items() if kind}
    return found[""], wrong[""], by_kind


def _share(cases: Iterable[Case], true: Callable[[Case], bool]) -> Mapping[str, float]:
    """By kind, and under "" of all."""
    asked: Counter[str] = Counter()
    yes: Counter[str] = Counter()
    for one in cases:
        is_true = true(one)
        for kind in ("", one.kind):
            asked[kind] += 1
            yes[kind] += is_true
    return {kind: yes[kind] / asked[kind] for kind in asked}


def _cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result
