"""The files of a day that the simulator has settled → a folder, each in that of its source."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

TIMEOUT_S = 60.0


def fetch(url: str, files: Sequence[Mapping[str, str]], query: Mapping[str, str], out: Path) -> list[Path]:
    """Write the files under `out`, whole or not at all: the folder may be watched. → their paths. Errors: OSError."""
    return [_fetched(f"{url}/control/settlement-file", file, query, out / file["source"]) for file in files]


def _fetched(url: str, file: Mapping[str, str], query: Mapping[str, str], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / file["name"], folder / f".{file['name']}.part"
    asked = urlencode({**query, "source": file["source"], "name": file["name"]})
    with urllib.request.urlopen(f"{url}?{asked}", timeout=TIMEOUT_S) as answer, part.open("wb") as written:
        shutil.copyfileobj(answer, written)
    part.replace(target)
    return target
