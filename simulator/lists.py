"""An invented sanctions list in the format of an authority: `python -m simulator.lists FILE`."""

from __future__ import annotations

import random
import sys
from pathlib import Path

NAMES = 20_000
KNOWN = "Mallory Listed"  # a name to try
_FIRST = (
    "bel",
    "cor",
    "dan",
    "fer",
    "gal",
    "hor",
    "jas",
    "kel",
    "lor",
    "mir",
    "nav",
    "ost",
    "per",
    "ruf",
    "sal",
    "tir",
)
_LAST = ("a", "ek", "ia", "im", "o", "on", "us", "yn", "ova", "idze", "escu", "sson")


def invented_names(count: int = NAMES, seed: int = 20_000) -> list[str]:
    """Distinct names, the same for each seed; KNOWN comes first."""
    draw = random.Random(seed)
    names = {KNOWN: None}
    while len(names) < count:
        names[f"{_word(draw)} {_word(draw)} {_word(draw)}"] = None
    return list(names)


def _word(draw: random.Random) -> str:
    return (draw.choice(_FIRST) + draw.choice(_FIRST) + draw.choice(_LAST)).capitalize()


def main() -> None:
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_suffix(".tmp")
    whole.write_text(
        "# Invented names: none of these is a person.\n" + "\n".join(invented_names()) + "\n", encoding="utf-8"
    )
    whole.replace(file)


if __name__ == "__main__":
    main()
