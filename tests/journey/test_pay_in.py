"""120 checkouts over HTTP, two processes for each room: every order ends as its card says, and all books agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.journey.books import unfinished
from tests.journey.mischief import Copier
from tests.journey.proof import prove
from tests.journey.shopping import checkouts
from tests.journey.till import BUYERS_AT_ONCE
from tests.journey.whole import Whole, hurried, running, settings_for
from topics.settings import Settings

SEED = 20261122
LIMIT_S = 120.0


@pytest.fixture
def whole(make_stack: Callable[..., Settings]) -> Iterator[Whole]:
    with running(settings_for(make_stack)) as whole:
        yield whole


def test_every_checkout_ends_as_its_card_says_and_all_books_agree(whole: Whole) -> None:
    asked = checkouts(SEED, count=120, of_each_fault=3)
    copier = Copier(whole.settings, SEED)
    copier.start()
    with ThreadPoolExecutor(BUYERS_AT_ONCE) as pool:
        offered = whole.till.offer(asked, pool)
        whole.wait_until(lambda: [] if all(one.done() for one in offered) else ["requests"], LIMIT_S)
    for one in offered:
        one.result()
    left = hurried(whole.settings, lambda: unfinished(whole.settings, asked))
    whole.wait_until(left, LIMIT_S)
    copier.finish()
    whole.wait_until(left, LIMIT_S)

    prove(whole.settings, whole.till, asked, copier, SEED, {})
    assert whole.till.tries == 0, "the door took every request at once"
