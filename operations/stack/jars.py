"""The lock file of jars → checked files in the user's Maven repository, fetched with jgo where they are missing."""

from __future__ import annotations

import hashlib
import os
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from operations.stack.home import StackError

LOCK = Path(__file__).with_name("jgo.lock.toml")
DOWNLOADS = 8
MIRRORED = {"*", "central", "external:*"}


class JarError(StackError):
    """A jar cannot be fetched, or differs from the lock file's hash."""


@dataclass(frozen=True)
class Jar:
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def place(self) -> Path:
        """Its path inside any Maven repository."""
        return Path(*self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar")


def locked_jars() -> list[Jar]:
    entries = tomllib.loads(LOCK.read_text(encoding="utf-8"))["dependencies"]
    return [Jar(e["groupId"], e["artifactId"], e["version"], e["sha256"]) for e in entries]


def class_path(fetched: Callable[[int, int], None] = lambda done, of: None) -> str:
    """All locked jars as a Java class path; `fetched(done, of)` is called as they become ready. Errors: JarError."""
    jars = locked_jars()
    repository = local_repository()
    if os.pathsep in str(repository):
        raise JarError(f"a Java class path cannot hold {repository}, whose name has a {os.pathsep}: set M2_REPO")
    paths: list[Path] = []
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        for path in pool.map(lambda jar: ensure(jar, repository), jars):
            paths.append(path)
            fetched(len(paths), len(jars))
    return os.pathsep.join(str(path) for path in paths)


def missing_jars() -> list[Jar]:
    repository = local_repository()
    return [jar for jar in locked_jars() if not (repository / jar.place).exists()]


def ensure(jar: Jar, repository: Path) -> Path:
    """The jar's path, with verified contents; moved into place by rename, since another process may be fetching the jar, too."""
    path = repository / jar.place
    if not path.exists() or digest(path) != jar.sha256:
        fetch(jar, path)
    return path


def fetch(jar: Jar, path: Path) -> None:
    """Download beside the place, check, then move there. jgo itself writes in place, which a kill would leave torn."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tallystick-", dir=path.parent) as staging:
            draft = download(jar, Path(staging))
            found = digest(draft)
            if found != jar.sha256:
                raise JarError(f"{path.name}: sha256 is {found}, {LOCK.name} says {jar.sha256}")
            draft.replace(path)
    except OSError as error:  # requests' errors are OSErrors too
        raise JarError(f"{path.name} cannot be fetched: {error}") from None


def download(jar: Jar, staging: Path) -> Path:
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=staging, remote_repos=remote_repositories(), timeout=60)
    try:
        found: Path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except RuntimeError as error:
        raise JarError(f"{jar.artifact} {jar.version}: {error}") from None
    return found


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def maven_settings() -> ElementTree.Element | None:
    """The user's Maven settings, which jgo does not read itself, without their namespace."""
    try:
        root = ElementTree.parse(Path.home() / ".m2" / "settings.xml").getroot()
    except (OSError, ElementTree.ParseError):
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def local_repository() -> Path:
    """Where the user keeps jars: $M2_REPO, Maven's settings, jgo's, else ~/.m2/repository."""
    if stated := os.environ.get("M2_REPO"):
        return Path(stated).expanduser()
    settings = maven_settings()
    if stated := settings.findtext("localRepository") if settings is not None else None:
        return Path(os.path.expandvars(stated.strip().replace("${user.home}", str(Path.home()))))
    if not any(path.exists() for path in jgo_settings()):
        return Path.home() / ".m2" / "repository"
    from jgo.config import GlobalSettings

    return Path(GlobalSettings.load().repo_cache).expanduser()


def jgo_settings() -> list[Path]:
    """Where jgo would look for its settings. Its import costs 0.2 s, and hardly anybody has such a file."""
    stated, folder = os.environ.get("JGO_CONFIG_FILE"), os.environ.get("XDG_CONFIG_HOME")
    folders = Path(folder) if folder else Path.home() / ".config"
    return [Path(stated).expanduser()] if stated else [folders / "jgo.conf", Path.home() / ".jgorc"]


def remote_repositories() -> dict[str, str]:
    """Where to fetch from: the user's mirror of Maven Central if there is one, then what jgo's settings add."""
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL

    settings = maven_settings()
    mirrors: Sequence[ElementTree.Element] = settings.findall("mirrors/mirror") if settings is not None else ()
    stated = [m.findtext("url", "").strip() for m in mirrors if covers_central(m.findtext("mirrorOf", ""))]
    central = stated[0].rstrip("/") if stated else MAVEN_CENTRAL_URL
    return {"central": central, **GlobalSettings.load().repositories}


def covers_central(mirror_of: str) -> bool:
    names = {name.strip() for name in mirror_of.split(",")}
    return bool(names & MIRRORED) and "!central" not in names
