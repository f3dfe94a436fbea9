"""docs/configuration.md ← the settings of all and of each room: the page says what the code says."""

from __future__ import annotations

import importlib
import pkgutil

import consumers
from operations.pages.configuration import page
from operations.stack.home import CHECKOUT
from operations.stack.settings import AllSettings
from topics.settings import Settings


def test_the_configuration_page_is_what_make_docs_would_write() -> None:
    assert (CHECKOUT / "docs" / "configuration.md").read_text() == page()


def own_settings() -> set[type[Settings]]:
    """The class of each room that decides by settings of its own."""
    rooms = [found.name for found in pkgutil.iter_modules(consumers.__path__)]
    has = [room for room in rooms if (CHECKOUT / "consumers" / room / "settings.py").exists()]
    modules = [importlib.import_module(f"consumers.{room}.settings") for room in has]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return {each for each in classes if issubclass(each, Settings) and each is not Settings}


def test_every_start_reads_what_each_room_decides_by_and_the_page_shows_it() -> None:
    assert own_settings() == set(AllSettings.__bases__)
    assert len(own_settings()) > 1
    said = page()
    assert [name for name in AllSettings.model_fields if f"`TALLY_{name.upper()}`" not in said] == []


def test_what_one_room_decides_by_is_no_other_room_s() -> None:
    own = [set(each.model_fields) - set(Settings.model_fields) for each in own_settings()]
    assert all(own)
    assert sum(map(len, own)) == len(set().union(*own))
