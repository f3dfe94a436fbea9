"""List files as authorities publish them → entries. A file that is broken anywhere gives no entries at all.

OFAC: sdn.csv, alt.csv and add.csv (12, 5 and 6 columns without a header, `-0-` for nothing; OFAC's data specification).
EU: the consolidated list as CSV (semicolons, a header, a line for each name, birth date or address of an entity).
UN: the consolidated list as XML (CONSOLIDATED_LIST).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import IO
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from consumers.risk.entries import Entry

OFAC, EU, UN = "ofac-sdn", "eu-consolidated", "un-consolidated"
FILE_MAX = 256 * 1024 * 1024  # bytes
LINE_MAX = 1024 * 1024  # characters of a line of CSV
TEXT_MAX = 100_000  # characters of an element of XML


class BadList(ValueError):
    """A list file that cannot be read whole; the message names the file, its line and what is wrong."""


@dataclass(frozen=True, slots=True)
class ListFile:
    """One list as its authority published it. Its version is the hash of its files."""

    name: str
    version: str  # sha256, 64 hex digits
    published: date | None  # where the files say so
    entries: tuple[Entry, ...]


@dataclass(slots=True)
class _Draft:
    """What is known of an entry so far."""

    names: dict[str, None] = field(default_factory=dict)
    births: dict[str, None] = field(default_factory=dict)
    countries: dict[str, None] = field(default_factory=dict)
    programmes: dict[str, None] = field(default_factory=dict)

    def entry(self, list_name: str, entry_id: str) -> Entry:
        births = tuple(sorted(self.births))
        return Entry(list_name, entry_id, tuple(self.names), births, tuple(self.countries), tuple(self.programmes))


def read_list(paths: Sequence[Path]) -> ListFile:
    """The list in these files: OFAC's three, or one of the EU or the UN. Errors: BadList, OSError."""
    for path in paths:
        if path.stat().st_size > FILE_MAX:
            raise BadList(f"{path.name} is larger than {FILE_MAX >> 20} MiB")
    read = _reader_of(paths)
    name, published, drafts = read(paths)
    entries = tuple(draft.entry(name, entry_id) for entry_id, draft in drafts.items() if draft.names)
    if not entries:
        raise BadList(f"{paths[0].name} holds no entry")
    return ListFile(name, _hash(paths), published, entries)


_Read = tuple[str, date | None, Mapping[str, _Draft]]


def _reader_of(paths: Sequence[Path]) -> Callable[[Sequence[Path]], _Read]:
    names = {path.name.lower() for path in paths}
    if names & {"sdn.csv", "alt.csv", "add.csv"}:
        missing = {"sdn.csv", "alt.csv", "add.csv"} - names
        if missing or len(paths) != 3:
            raise BadList(
                f"OFAC's list is sdn.csv, alt.csv and add.csv, one of each; missing: {', '.join(sorted(missing))}"
            )
        return _read_ofac
    if len(paths) != 1:
        raise BadList("give the one file of the EU's or the UN's list, or OFAC's three")
    with paths[0].open("rb") as file:
        head = file.read(256).lstrip(b"\xef\xbb\xbf \r\n\t")
    return _read_un if head.startswith(b"<") else _read_eu


def _hash(paths: Sequence[Path]) -> str:
    made = sha256()
    for path in sorted(paths, key=lambda each: each.name.lower()):
        made.update(f"{path.name.lower()} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                made.update(chunk)
    return made.hexdigest()


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """→ each row with the number of its last line, which must have an end, too. Errors: BadList."""
    csv.field_size_limit(LINE_MAX)
    with path.open("rb") as file:
        reader = csv.reader(_lines(path, file), delimiter=delimiter, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise BadList(f"{path.name}, line {reader.line_num}: {error}") from None
            if row:
                yield reader.line_num, row


def _lines(path: Path, file: IO[bytes]) -> Iterator[str]:
    number = 0
    while raw := file.readline(LINE_MAX + 1):
        number += 1
        if len(raw) > LINE_MAX:
            raise BadList(f"{path.name}, line {number}: longer than {LINE_MAX >> 20} MiB")
        if not raw.endswith((b"\n", b"\x1a")):
            raise BadList(f"{path.name}, line {number}: has no end, so the file is cut off")
        if raw.strip() == b"\x1a":  # the end of file of DOS, which OFAC writes
            return
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BadList(f"{path.name}, line {number}: not UTF-8 at byte {error.start + 1}") from None
        if "\0" in text:
            raise BadList(f"{path.name}, line {number}: holds NUL")
        yield text


# ── OFAC ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_NOTHING = "-0-"
_SKIPPED = frozenset({"vessel", "aircraft"})  # they buy nothing
_BORN = re.compile(r"\bDOB (?:circa |approximately )?([^;.]*)")
_DAY = re.compile(r"(\d{1,2}) ([A-Z][a-z]{2}) (\d{4})")
_YEAR = re.compile(r"\b(1[89]\d\d|20\d\d)\b")


def _read_ofac(paths: Sequence[Path]) -> _Read:
    files = {path.name.lower(): path for path in paths}
    drafts: dict[str, _Draft] = {}
    skipped: set[str] = set()
    for line, row in _records(files["sdn.csv"], 12):
        if row[0] in drafts or row[0] in skipped:
            raise BadList(f"sdn.csv, line {line}: entry {row[0]} stands there twice")
        if row[2].lower() in _SKIPPED:
            skipped.add(row[0])
            continue
        draft = drafts[row[0]] = _Draft()
        draft.names[_needed(row[1], "sdn.csv", line, "SDN_Name")] = None
        draft.programmes |= dict.fromkeys(part for part in row[3].replace("] [", ";").strip("[]").split(";") if part)
        draft.births |= dict.fromkeys(chain.from_iterable(map(_births, _BORN.findall(row[11]))))
    for name, columns, take in (("alt.csv", 5, _ofac_alias), ("add.csv", 6, _ofac_country)):
        for line, row in _records(files[name], columns):
            if row[0] in drafts:
                take(drafts[row[0]], row)
            elif row[0] not in skipped:
                raise BadList(f"{name}, line {line}: entry {row[0]} is not in sdn.csv")
    return OFAC, None, drafts


def _records(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    for line, row in _rows(path, ","):
        if len(row) != columns:
            raise BadList(f"{path.name.lower()}, line {line}: {len(row)} columns, not {columns}")
        values = ["" if value.strip() == _NOTHING else value.strip() for value in row]
        if not values[0].isdigit():
            raise BadList(f"{path.name.lower()}, line {line}: {values[0][:20]!r} is no number of an entry")
        yield line, values


def _ofac_alias(draft: _Draft, row: Sequence[str]) -> None:
    if row[3]:
        draft.names[row[3]] = None


def _ofac_country(draft: _Draft, row: Sequence[str]) -> None:
    if row[4]:
        draft.countries[row[4]] = None


def _births(text: str) -> list[str]:
    """A day where there is one; else each year named, and those between the two of a range."""
    day = _DAY.search(text)
    if day:
        try:
            return [datetime.strptime(day[0], "%d %b %Y").replace(tzinfo=UTC).date().isoformat()]
        except ValueError:
            pass
    years = [int(year) for year in _YEAR.findall(text)]
    if len(years) == 2 and 0 < years[1] - years[0] <= 30:
        return [str(year) for year in range(years[0], years[1] + 1)]
    return [str(year) for year in years]


def _needed(value: str, file: str, line: int, column: str) -> str:
    if not value:
        raise BadList(f"{file}, line {line}: {column} is empty")
    return value


# ── EU ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

_EU_ID, _EU_NAME, _EU_BIRTH, _EU_YEAR = (
    "Entity_LogicalId",
    "NameAlias_WholeName",
    "BirthDate_BirthDate",
    "BirthDate_Year",
)
_EU_COUNTRIES = ("Address_CountryDescription", "Citizenship_CountryDescription")
_EU_PROGRAMME, _EU_MADE = "Entity_Regulation_Programme", "fileGenerationDate"


def _read_eu(paths: Sequence[Path]) -> _Read:
    path = paths[0]
    rows = _rows(path, ";")
    _, header = next(rows, (0, []))
    missing = [name for name in (_EU_ID, _EU_NAME, _EU_BIRTH, _EU_YEAR) if name not in header]
    if missing:
        raise BadList(f"{path.name}, line 1: no list that is known; the EU's has a column {missing[0]}")
    drafts: dict[str, _Draft] = {}
    published = None
    for line, row in rows:
        if len(row) != len(header):
            raise BadList(f"{path.name}, line {line}: {len(row)} columns, not {len(header)}")
        found = {name: value.strip() for name, value in zip(header, row, strict=True)}
        published = published or _day(found.get(_EU_MADE, ""))
        entry_id = _needed(found[_EU_ID], path.name, line, _EU_ID)
        _take_eu(drafts.setdefault(entry_id, _Draft()), found)
    return EU, published, drafts


def _take_eu(draft: _Draft, found: Mapping[str, str]) -> None:
    if found[_EU_NAME]:
        draft.names[found[_EU_NAME]] = None
    born = _day(found[_EU_BIRTH])
    if born is not None:
        draft.births[born.isoformat()] = None
    elif _YEAR.fullmatch(found[_EU_YEAR]):
        draft.births[found[_EU_YEAR]] = None
    draft.countries |= dict.fromkeys(found[name] for name in _EU_COUNTRIES if found.get(name))
    if found.get(_EU_PROGRAMME):
        draft.programmes[found[_EU_PROGRAMME]] = None


def _day(text: str) -> date | None:
    for form in ("%Y-%m-%d", "%d/%m/%Y"):
        try:
            return datetime.strptime(text[:10], form).replace(tzinfo=UTC).date()
        except ValueError:
            continue
    return None


# ── UN ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

_UN_NAMES = ("FIRST_NAME", "SECOND_NAME", "THIRD_NAME", "FOURTH_NAME")


def _read_un(paths: Sequence[Path]) -> _Read:
    path = paths[0]
    drafts: dict[str, _Draft] = {}
    published = None
    try:
        with path.open("rb") as file:
            parsed = iterparse(file, events=("start", "end"), forbid_dtd=True)
            _, root = next(parsed)
            if root.tag != "CONSOLIDATED_LIST":
                raise BadList(f"{path.name}: the root is {root.tag[:40]}, not CONSOLIDATED_LIST")
            published = _day(root.get("dateGenerated", ""))
            for event, element in parsed:
                if event == "end" and element.tag in ("INDIVIDUAL", "ENTITY"):
                    _take_un(path, drafts, element)
                    element.clear()
    except ParseError as error:
        raise BadList(f"{path.name}, line {error.position[0]}: {error}") from None
    except (DefusedXmlException, StopIteration) as error:
        raise BadList(f"{path.name}: {type(error).__name__}: a list has no DTD and no entities") from None
    return UN, published, drafts


def _take_un(path: Path, drafts: dict[str, _Draft], element: Element) -> None:
    entry_id = _text(path, element, "DATAID")
    if not entry_id or entry_id in drafts:
        raise BadList(
            f"{path.name}: an entry has no DATAID of its own: {entry_id or _text(path, element, 'FIRST_NAME')!r}"
        )
    draft = drafts[entry_id] = _Draft()
    kind = element.tag
    name = " ".join(filter(None, (_text(path, element, part) for part in _UN_NAMES)))
    aliases = [_text(path, alias, "ALIAS_NAME") for alias in element.findall(f"{kind}_ALIAS")]
    draft.names |= dict.fromkeys(
        each for each in (name, _text(path, element, "NAME_ORIGINAL_SCRIPT"), *aliases) if each
    )
    if not draft.names:
        raise BadList(f"{path.name}: entry {entry_id} has no name")
    for born in element.findall(f"{kind}_DATE_OF_BIRTH"):
        draft.births |= dict.fromkeys(_un_births(path, born))
    for tag in (f"{kind}_ADDRESS/COUNTRY", "NATIONALITY/VALUE"):
        draft.countries |= dict.fromkeys(filter(None, ((each.text or "").strip() for each in element.findall(tag))))
    programme = _text(path, element, "UN_LIST_TYPE")
    if programme:
        draft.programmes[programme] = None


def _un_births(path: Path, born: Element) -> list[str]:
    day = _day(_text(path, born, "DATE"))
    if day is not None:
        return [day.isoformat()]
    years = (_text(path, born, tag) for tag in ("YEAR", "FROM_YEAR", "TO_YEAR"))
    return _births(" ".join(filter(None, years)))


def _text(path: Path, element: Element, tag: str) -> str:
    text = (element.findtext(tag) or "").strip()
    if len(text) > TEXT_MAX:
        raise BadList(f"{path.name}: {tag} has {len(text)} characters")
    return text
