"""The files of a day that the simulator has settled → a folder, each in that of its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode


def write_files(
    ask: Callable[[str], bytes], files: Sequence[Mapping[str, str]], query: Mapping[str, str], out: Path
) -> list[Path]:
    """Write the files under `out`, whole or not at all: the folder may be watched. → their paths. Errors: those of `ask`."""
    return [_written(ask, file, query, out / file["source"]) for file in files]


def _written(ask: Callable[[str], bytes], file: Mapping[str, str], query: Mapping[str, str], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / file["name"], folder / f".{file['name']}.part"
    with part.open("wb") as written:
        for piece in _pieces(ask, {**query, "source": file["source"], "name": file["name"]}):
            written.write(piece)
    part.replace(target)
    return target


def _pieces(ask: Callable[[str], bytes], query: Mapping[str, str]) -> Iterator[bytes]:
    """An answer has a few megabytes at most: the next one goes on where the last one ended."""
    start = 0
    while piece := ask(f"/control/settlement-file?{urlencode({**query, 'from': start})}"):
        yield piece
        start += len(piece)
