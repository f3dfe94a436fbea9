"""The project's own files → a wheel; a wheel → an environment of its own, without anything being fetched."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Container
from importlib import metadata
from pathlib import Path

from operations.stack.home import CHECKOUT
from tests.tidy.reading import files

UV = Path(sys.executable).with_name("uv")


def build(source: Path, into: Path) -> Path:
    """A wheel of the project's own files: nothing that an earlier build has left in the checkout."""
    for path in files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / path, source / path)
    command = [UV, "build", "--quiet", "--offline", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--out-dir", into, source], check=True, capture_output=True)
    [wheel] = into.glob("*.whl")
    return wheel


def install(wheel: Path, at: Path, packages: Container[str] | None = None) -> Path:
    """The wheel in an environment of its own, with these packages, or all that this one has. → its folder of commands"""
    venv.create(at, symlinks=True)
    python = at / "bin" / "python"
    command = [
        UV,
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--compile-bytecode",
        "--python",
        python,
        wheel,
    ]
    subprocess.run(command, check=True, capture_output=True)
    [place] = at.glob("lib/python*/site-packages")
    for found in metadata.distributions(path=[sysconfig.get_path("purelib")]):
        if found.name != "tallystick" and (packages is None or normal(found.name) in packages):
            link(found, place)
    return at / "bin"


def link(package: metadata.Distribution, into: Path) -> None:
    """Its files and folders of the first level."""
    for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
        if not (into / name).exists():
            (into / name).symlink_to(str(package.locate_file(name)))


def normal(name: str) -> str:
    """As lock files spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()
