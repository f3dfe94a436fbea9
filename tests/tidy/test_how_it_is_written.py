"""Every file of the project ← docs/style: names, sizes and what must not be in a repository."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

from operations.stack.home import CHECKOUT
from tests.tidy.reading import PACKAGES, files, nodes, python, text, tree
from topics.catalog import CONSUMERS

LINES_MAX = 550
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
READS_ENVIRONMENT = {
    "topics/runtime/shape/failpoints.py",  # a test's hand in a process that it started
    "operations/bench/ledger.py",  # starts rooms with an environment of their own
    "operations/cli/main.py",  # the entry point of all commands: how wide a table may be where no screen is
    "operations/cli/commands/sim.py",  # finds a simulator that is known by its URL alone
    "operations/stack/jars.py",  # Java, Maven and PostgreSQL say where they are
    "operations/stack/kafka.py",
    "operations/stack/postgres.py",
    "operations/stack/layout.py",  # hands the settings down to the processes of the stack
    "operations/stack/process.py",
    "operations/cli/stack_shown.py",
    "operations/cli/stack_started.py",
    "simulator/__main__.py",  # an entry point
}
CODE = {".py", ".sh", ".toml", ".md", ".yml", ".yaml", ".json", ""}

# Written apart, so that this file does not find itself.
LEFT_UNDONE = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|HA" + r"CK)\b")
ELSEWHERE = re.compile(
    r"py" + r"pi\.org|python" + r"hosted|repo1?\.mav" + r"en|npm" + r"js\.org|[\s\"'=(](/wo" + r"rk|/ro" + r"ot)/"
)

NAMED = ast.Name | ast.Attribute
sources = python()
tests = [path for path in python("tests") if path.name.startswith("test_")]


def test_a_module_opens_with_what_flows_through_it() -> None:
    modules = [path for path in sources if path.name != "__init__.py"]
    assert [str(path) for path in modules if not ast.get_docstring(tree(path))] == []


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [str(path) for path in sources if VAGUE & {path.stem, *path.parts[:-1]}] == []


def test_no_class_is_a_manager_of_anything() -> None:
    named = [node.name for path in sources for node in nodes(path) if isinstance(node, ast.ClassDef)]
    assert [name for name in named if re.search(r"Manager|Abstract|Helper|Util|Impl$", name)] == []


def test_no_file_of_code_is_too_long_to_be_read_at_once() -> None:
    lengths = {str(path): text(path).count("\n") for path in sources}
    assert {path: lines for path, lines in lengths.items() if lines > LINES_MAX} == {}


def test_what_commands_say_goes_through_what_makes_it_visible() -> None:
    """operations/cli/terminal.py and operations/cli/tables.py: a word of a stranger commands no terminal."""
    spoken = (
        "operations/cli/commands/",
        "operations/cli/letters/",
        "operations/cli/stack_shown.py",
        "operations/cli/stack_started.py",
        "operations/cli/main.py",
    )
    around = re.compile(r"typer\.echo\(|(?<![\w.])print\(|\brich\.(table|console) import|sys\.std(out|err)\.write\(")
    found = [str(path) for path in sources if str(path).startswith(spoken) and around.search(text(path))]
    assert found == []


def test_one_place_knows_the_login_of_a_rooms_reader() -> None:
    named = [
        str(path)
        for path in python(*PACKAGES)
        if "migrations" not in path.parts and re.search(r"tally_.*_read[\"']", text(path))
    ]
    assert named == ["topics/runtime/shape/reading.py"]


def test_operations_ask_over_http_in_one_place() -> None:
    """With its bounds on bytes and time. Load is made by a client of its own: it shares the machine with what it measures."""
    clients = re.compile(
        r"^\s*(?:import|from) (?:http\.client|urllib\.request|urllib3|aiohttp|httpx|requests|httptools)\b", re.M
    )
    asking = {str(path) for path in sources if str(path).startswith("operations/") and clients.search(text(path))}
    assert asking == {"operations/http_client.py", "operations/bench/client.py"}


def test_functions_are_small() -> None:
    """Half of them have ten lines or fewer, and nine in ten under thirty."""
    functions = [
        node.end_lineno - node.lineno + 1
        for path in python(*PACKAGES)
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    functions.sort()
    assert functions[len(functions) // 2] <= 10
    assert functions[len(functions) * 9 // 10] < 30


def test_every_package_says_to_type_checkers_that_its_types_are_there() -> None:
    assert [package for package in PACKAGES if not (CHECKOUT / package / "py.typed").exists()] == []


def test_no_way_to_fail_is_declared_that_nothing_fails_by() -> None:
    every = [node for path in python(*PACKAGES) for node in nodes(path)]
    classes = [node for node in every if isinstance(node, ast.ClassDef)]
    bases = {one.name: {base.id for base in one.bases if isinstance(base, ast.Name)} for one in classes}
    failures = {"Exception", "BaseException", "ValueError", "RuntimeError", "OSError"}
    while found := {name for name, of in bases.items() if of & failures and name not in failures}:
        failures |= found
    used = {node.id for node in every if isinstance(node, ast.Name)}
    used |= {node.attr for node in every if isinstance(node, ast.Attribute)}
    assert len(failures) > 15
    assert sorted((failures & bases.keys()) - used) == []


def test_make_does_nothing_twice_in_one_target() -> None:
    recipes = [part.splitlines()[1:] for part in re.split(r"^(?=\S+:)", text(Path("Makefile")), flags=re.MULTILINE)]
    done = [[line for line in recipe if line.startswith("\t")] for recipe in recipes]
    assert sum(map(bool, done)) > 8
    assert [line for lines in done for line in lines if lines.count(line) > 1] == []


def test_only_its_adapter_and_the_settings_know_a_psp_by_name() -> None:
    """So that a new one edits nothing else."""
    rooms = python("schemas", "topics", "psp", "producers", "consumers")
    naming = {str(path) for path in rooms if re.search(r"north_?pay|south_?pay", text(path), re.IGNORECASE)}
    adapters = {f"psp/{psp}{part}.py" for psp in ("northpay", "southpay") for part in ("", "_wire")}
    assert naming == adapters | {"topics/settings.py"}


def test_schemas_say_what_is_written_and_neither_sign_nor_connect() -> None:
    every = [node for path in python("schemas") for node in nodes(path)]
    modules = {node.module for node in every if isinstance(node, ast.ImportFrom)}
    modules |= {each.name for node in every if isinstance(node, ast.Import) for each in node.names}
    assert "schemas.money" in modules
    assert modules & {"hmac", "ipaddress", "socket", "ssl", "urllib.parse"} == set()


def test_what_is_imported_of_the_packages_is_there() -> None:
    """No type checker reads these, and a test that takes long is run seldom."""
    every = [(path, node) for path in python("tests", "docs") for node in nodes(path)]
    froms = [(path, node) for path, node in every if isinstance(node, ast.ImportFrom) and node.module]
    asked = [(path, node.module or "", each.name) for path, node in froms for each in node.names]
    ours = [each for each in asked if each[1].partition(".")[0] in PACKAGES]
    assert len(ours) > 1000
    assert [f"{path}: {name} of {module}" for path, module, name in ours if not is_in(module, name)] == []


def is_in(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or bool(importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


def test_nothing_is_left_undone() -> None:
    written = [path for path in files() if path.suffix in CODE and path.name != "requirements.lock"]
    assert [str(path) for path in written if LEFT_UNDONE.search(text(path))] == []


def test_nothing_names_a_package_index_or_a_folder_of_one_machine() -> None:
    written = [path for path in files() if path.suffix in {*CODE, ".lock"} and path.name not in {".git"}]
    assert len(written) > 200
    assert [str(path) for path in written if ELSEWHERE.search(text(path))] == []


def test_the_environment_is_read_at_entry_points_only() -> None:
    reads = {
        str(path)
        for path in python(*PACKAGES)
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    assert reads == READS_ENVIRONMENT


def test_nobody_sleeps_in_a_decision() -> None:
    """`decide` is pure: no clock, no randomness, no I/O."""
    impure = {"time", "random", "secrets", "os", "psycopg", "confluent_kafka", "structlog", "asyncio", "socket"}
    for path in python("consumers"):
        if path.name in {"decide.py", "templates.py", "attempt.py", "payment.py", "routing.py"}:
            assert not impure & set(imported(path)), path


def test_the_process_knows_no_room_by_name() -> None:
    """What a room runs beside its loop is said by the room's own consumer.py."""
    named = re.compile("|".join(rf"\"{room.name}\"|consumers\.{room.name}" for room in CONSUMERS))
    assert [str(path) for path in python("topics") if "process" in path.parts and named.search(text(path))] == []


def test_no_migration_imports_code_that_goes_on_changing() -> None:
    """What it did on the day it was written it does for ever, so it may not call what will mean something else by then."""
    migrations = [path for path in python(*PACKAGES) if "migrations" in path.parts]
    assert len(migrations) > 15
    live = {"tests", *PACKAGES}
    assert {str(path): found for path in migrations if (found := live & set(imported(path)))} == {}


def imported(path: Path) -> list[str]:
    found = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += [alias.name.partition(".")[0] for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module.partition(".")[0])
    return found


# ── tests ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def functions(*paths: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for path in paths for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def calls(function: ast.AST) -> set[str]:
    """Last names of what it calls: `raises`, `await_topics`."""
    called = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {node.attr if isinstance(node, ast.Attribute) else node.id for node in called if isinstance(node, NAMED)}


def looking() -> set[str]:
    """Names of functions that assert, and of those that call one of them."""
    known = {"raises", "validate"}
    every = functions(*python("tests"))
    known |= {one.name for one in every if any(isinstance(node, ast.Assert) for node in ast.walk(one))}
    called = [(one.name, calls(one)) for one in every]
    while more := {name for name, names in called if names & known} - known:
        known |= more
    return known


def test_every_test_asserts_something() -> None:
    """Itself, or through a function that does."""
    known = looking()
    written = [(str(path), one.name) for path in tests for one in functions(path) if one.name.startswith("test_")]
    assert len(written) > 200
    assert [(path, name) for path, name in written if name not in known] == []


def test_no_test_sleeps_without_a_condition() -> None:
    """A sleep is allowed inside a loop that looks for something."""
    assert [f"{path}:{line}" for path in tests for line in sleeps(path)] == []


def sleeps(path: Path) -> list[int]:
    looping = {id(inner) for node in nodes(path) if isinstance(node, ast.While) for inner in ast.walk(node)}
    found = [node for node in nodes(path) if isinstance(node, ast.Call) and id(node) not in looping]
    return [node.lineno for node in found if ast.unparse(node.func).endswith("sleep")]


def test_every_connection_to_postgresql_is_opened_in_one_place() -> None:
    """So that a failover, and several hosts in a DSN, are met there once for all."""
    opening = re.compile(
        r"psycopg\.(Async)?(Connection\.)?connect\(|create_engine\((?!\s*\"postgresql\+psycopg://\", creator)"
    )
    opened = [str(path) for package in PACKAGES for path in python(package) if opening.search(text(path))]
    assert opened == ["topics/runtime/shape/postgres.py"]
