"""Settlement readers under coverage-guided fuzzing, where atheris is installed (it is in no lock: `pip install atheris`).

    python -m tests.fuzz_settlements paypal_trr -max_total_time=60

Bytes, and whole files that were hurt → lines or a Refusal: whatever else a reader raises is a crash with its input kept.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def main(name: str, options: list[str]) -> None:
    """Errors: ImportError where there is no atheris."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["reconciliation.formats", "reconciliation.gate"]):
        from reconciliation import gate
        from tests.unit import test_settlement_fuzz as fuzz
    reader = next(each for each in gate.READERS if each.name == name)
    whole = fuzz.WHOLE[name]

    def once(data: bytes) -> None:
        """The first byte says how: the bytes alone, or put into the whole file at a place that the next two say."""
        told = atheris.FuzzedDataProvider(data)
        if told.ConsumeBool():
            fuzz.outcome(reader, told.ConsumeBytes(1 << 16))
            return
        at, size = told.ConsumeIntInRange(0, len(whole)), told.ConsumeIntInRange(0, 40)
        fuzz.outcome(reader, whole[:at] + told.ConsumeBytes(200) + whole[at + size :], told.ConsumeIntInRange(1, 4096))

    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
