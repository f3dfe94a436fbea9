"""README, CHANGELOG, docs/ ← the code: links lead somewhere, commands exist, codes and settings are the real ones."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import typer

from consumers.executor.settings import RoutingRule
from consumers.risk.settings import RiskLimits
from operations.cli.main import build, modules_for
from operations.stack.home import CHECKOUT
from operations.stack.settings import AllSettings
from tests.tidy.reading import PACKAGES, files, python, text
from topics.catalog import ROOMS
from topics.payout_rules import PayoutRules
from topics.settings import PspAccount

PAGES = [
    path for path in files() if path.suffix == ".md" and path.parts[0] in {"docs", "schemas", "benchmarks", path.name}
]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"(?<![\w-])tally((?: [a-z][a-z-]*)+)")
SETTING = re.compile(r"\bTALLY_([A-Z_]+)\b")
OTHER_SETTINGS = {"FAILPOINTS", "TEST_SERVERS", "SIMULATOR_URL"}  # of tests and of one command


def tree_of(group: Any) -> dict[str, Any]:
    """Command name → its subcommands, or nothing."""
    return {name: tree_of(inner) for name, inner in getattr(group, "commands", {}).items()}


COMMANDS = tree_of(typer.main.get_command(build(modules_for([]))))


def exists(words: list[str]) -> bool:
    """Whether `tally` takes these words: all of a group's are commands, what follows a command is its argument."""
    inside = COMMANDS
    for word in words:
        if not inside:
            return True
        if word not in inside:
            return False
        inside = inside[word]
    return True


def commands(page: Path) -> list[list[str]]:
    """Every `tally …` in a code span or a block of code."""
    code = re.findall(r"```.*?```|`[^`\n]+`|^    .*$", text(page), re.DOTALL | re.MULTILINE)
    return [found.split() for part in code for found in COMMAND.findall(part)]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    targets = [target for target in LINK.findall(text(page)) if "://" not in target]
    assert [target for target in targets if not (CHECKOUT / page.parent / target).exists()] == []


def test_papers_that_the_code_names_are_in_the_repository() -> None:
    """Comments and docstrings, those of tests included, cite only what a reader can open."""
    names = {path.name for path in files()}
    named = {(str(path), page) for path in python() for page in re.findall(r"[\w-]+\.md\b", text(path))}
    assert [each for each in sorted(named) if each[1] not in names] == []


def test_pages_that_the_code_names_exist() -> None:
    code = [path for path in files() if path.suffix in {".py", ".sh", ".yml"} and path.parts[0] != "tests"]
    named = {(str(path), page) for path in code for page in re.findall(r"\bdocs/[a-z_/-]+\.(?:md|json)\b", text(path))}
    assert [each for each in named if not (CHECKOUT / each[1]).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_in_the_docs_are_commands(page: Path) -> None:
    assert [words for words in commands(page) if not exists(words)] == []


def test_the_readme_shows_every_command_that_a_newcomer_needs() -> None:
    shown = {words[0] for words in commands(Path("README.md"))}
    assert shown >= {"up", "down", "pay", "show", "wallet", "ledger", "verify", "sim", "status"}
    assert {"make up", "make test"} <= set(re.findall(r"make [a-z]+", text(Path("README.md"))))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_settings_in_the_docs_are_settings(page: Path) -> None:
    models = (AllSettings, PayoutRules, RiskLimits, RoutingRule, PspAccount)
    known = {name.upper() for model in models for name in model.model_fields} | OTHER_SETTINGS
    named = {part for whole in SETTING.findall(text(page)) for part in whole.split("__")}
    assert {name.rstrip("_") for name in named} - known - {""} == set()


def test_every_page_is_on_the_map() -> None:
    index = (CHECKOUT / "docs" / "index.md").read_text()
    pages = [path.relative_to("docs") for path in PAGES if path.parts[0] == "docs" and path.name != "index.md"]
    assert [str(page) for page in pages if f"({page})" not in index] == []


def test_every_decision_says_context_choice_and_cost() -> None:
    records = sorted((CHECKOUT / "docs" / "decisions").glob("*.md"))
    assert len(records) >= 8
    for record in records:
        said = re.findall(r"^\*\*(Context|Choice|Cost)\.\*\*", record.read_text(), re.MULTILINE)
        assert said == ["Context", "Choice", "Cost"], record.name


STATUS = re.compile(r"(\d{4}-\d\d-\d\d), (?:accepted|replaced(?: in part)? by \[(\d\d)\]\((\2-[a-z0-9-]+\.md)\))\.")


def test_every_decision_has_a_date_and_a_status() -> None:
    """Under its title. A record is not rewritten when another replaces it: its status names that one."""
    dates = []
    for record in sorted((CHECKOUT / "docs" / "decisions").glob("*.md")):
        _, _, status, _ = record.read_text().split("\n")[:4]
        found = STATUS.fullmatch(status)
        assert found, f"{record.name}: {status}"
        dates.append(date.fromisoformat(found[1]))
        assert found[3] is None or (record.parent / found[3]).exists(), record.name
    assert dates == sorted(dates), "numbers are given in the order of time"


def test_the_changelog_has_one_line_for_each_entry_under_what_it_is() -> None:
    releases = re.split(r"^## ", text(Path("CHANGELOG.md")), flags=re.MULTILINE)[1:]
    assert releases[0].startswith("Unreleased\n")
    for release in releases:
        first, *groups = re.split(r"^### ", release, flags=re.MULTILINE)
        assert not re.search(r"^- ", first, re.MULTILINE), f"an entry of {first.split()[0]} stands in no group"
        named = [group.partition("\n")[0] for group in groups]
        assert sorted(named) == sorted({*named} & {"Added", "Changed", "Fixed", "To do"}), first.split()[0]
        lines = [line for group in groups for line in group.split("\n")[1:] if line]
        assert [line for line in lines if not line.startswith("- ") or len(line) > 230] == []


MADE = re.compile(r"\b(?:Counter|Gauge|Histogram|Metric)\(\s*\"(tally_[a-z_]+)\"")


def test_every_metric_is_in_the_docs_and_every_one_in_the_docs_exists() -> None:
    code = [path for path in files() if path.suffix == ".py" and path.parts[0] not in {"tests", "simulator"}]
    made = {name for path in code for name in MADE.findall(text(path))}
    assert set(re.findall(r"`(tally_\w+)", text(Path("docs/metrics.md")))) == made
    assert {name for page in PAGES for name in re.findall(r"`(tally_[a-z_]+)\{", text(page))} <= made


def test_the_readme_s_sequence_is_what_the_rooms_say_and_hear() -> None:
    arrows = re.findall(r"^ +(\w+)->>(\w+): (?:\d\. )?(\w+)", text(Path("README.md")), re.MULTILINE)
    said = {(room.name, kind.__name__) for room in ROOMS for topic in room.writes for kind in topic.says}
    heard = {(room.name, kind.__name__) for room in ROOMS for topic in room.reads for kind in topic.says}
    named = [(speaker, hearer, event) for speaker, hearer, event in arrows if event[0].isupper()]
    assert [each for each in named if (each[0], each[2]) not in said] == []
    assert [each for each in named if each[1] != "upstream" and (each[1], each[2]) not in heard] == []
    assert {speaker for speaker, _, _ in named} == {"doors", "payments", "risk", "executor", "wallet", "ledger"}


def test_the_steps_of_the_readme_are_those_of_the_walk_through_the_code() -> None:
    drawn = text(Path("README.md")).split("sequenceDiagram")[1].split("```")[0]
    steps = list(dict.fromkeys(re.findall(r": (\d\. \w+)", drawn)))
    walked = re.findall(r"^(\d)\. \*\*(\w+)", text(Path("CONTRIBUTING.md")), re.MULTILINE)
    assert steps == [f"{number}. {word.lower()}" for number, word in walked if number != "0"]
    assert [step[0] for step in steps] == list("123456789")


def picture(page: str, kind: str) -> str:
    """A mermaid picture of that page."""
    return text(Path(page)).split(f"```mermaid\nflowchart {kind}")[1].split("```")[0]


def test_the_picture_of_the_packages_shows_every_one() -> None:
    assert set(re.findall(r"^ +(\w+)\[", picture("docs/architecture.md", "RL"), re.MULTILINE)) == set(PACKAGES)


def imports_in_the_runtime() -> set[tuple[str, str]]:
    """(folder, folder that it imports from)."""
    inside = [path for path in python("topics") if path.parts[1] == "runtime" and len(path.parts) > 3]
    found = {
        (path.parts[2], other) for path in inside for other in re.findall(r"from topics\.runtime\.(\w+)", text(path))
    }
    return {(folder, other) for folder, other in found if folder != other}


def reached(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Pairs that one or more arrows lead from and to."""
    more = {(start, end) for start, middle in arrows for begin, end in arrows if middle == begin} | arrows
    return more if more == arrows else reached(more)


def test_the_picture_of_the_runtime_is_what_its_folders_import() -> None:
    drawn = picture("docs/architecture.md", "BT")
    arrows, imports = set(re.findall(r"^ +(\w+) --> (\w+)", drawn, re.MULTILINE)), imports_in_the_runtime()
    assert set(re.findall(r"^ +(\w+)\[", drawn, re.MULTILINE)) == {folder for each in imports for folder in each}
    assert arrows - imports == set(), "drawn, and no import"
    assert imports - reached(arrows) == set(), "an import, and no arrow leads there"


def test_the_architecture_names_every_room() -> None:
    named = set(re.findall(r"\*(\w+)\*", text(Path("docs/architecture.md")).split("There are eight:")[1].split(".")[0]))
    assert named == {room.name for room in ROOMS if room.reads}


def test_files_that_the_dry_run_of_an_event_touched_are_still_where_it_found_them() -> None:
    table = text(Path("docs/architecture.md")).split("## Adding an event that moves money")[1].split("## ")[0]
    rows = re.findall(r"^\| `([\w/.]+)` \| (.+) \|$", table, re.MULTILINE)
    assert len(rows) == 9
    assert [path for path, what in rows if not what.endswith(", new") and not (CHECKOUT / path).exists()] == []
    assert [path for path, _ in rows if path.startswith("topics/runtime")] == []


def test_tests_that_the_page_of_style_calls_upon_are_there() -> None:
    page = text(Path("docs/style.md"))
    names = {path.name for path in python("tests") if path.parts[1] == "tidy"}
    assert set(re.findall(r"`(test_\w+\.py)`", page)) <= names
    written = {name for path in python("tests") for name in re.findall(r"^def (test_\w+)", text(path), re.MULTILINE)}
    assert set(re.findall(r"`(test_\w+)`", page)) <= written
