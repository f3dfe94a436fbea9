"""What a sanctions list says of one person or company, whichever authority wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

import orjson


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of one list. `content` is the hash of what it says: a decision about it holds until that changes."""

    list_name: str
    entry_id: str  # the authority's own
    names: tuple[str, ...]  # as the list writes them; the first one is its main name
    births: tuple[str, ...] = ()  # years and dates, ISO 8601
    countries: tuple[str, ...] = ()  # as the list writes them
    programmes: tuple[str, ...] = ()
    content: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.content:
            object.__setattr__(self, "content", self._hash())

    @property
    def key(self) -> tuple[str, str]:
        return self.list_name, self.entry_id

    def _hash(self) -> str:
        said = [self.names, self.births, self.countries, self.programmes]
        return sha256(orjson.dumps(said)).hexdigest()[:32]
