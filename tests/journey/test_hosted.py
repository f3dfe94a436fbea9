"""Checkouts paid on a page of the PSP's, on the real stack: the page, the charge, the books, and what nobody told us."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from operations.stack.servers import Servers
from tests.conftest import stacks, stores
from tests.journey.desk import Desk
from tests.journey.test_money_back import BY_CURRENCY
from tests.journey.whole import running, settings_for
from tests.simulator.visiting import pay

BACK = "https://shop.example/thanks?cart=7"


@pytest.fixture(scope="module")
def desk(servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with (
        stores(servers, template, tmp_path_factory.mktemp("hosted")) as make_store,
        stacks(make_store) as make,
        running(settings_for(make, BY_CURRENCY, webhooks=True), copies=1) as whole,
    ):
        yield Desk(whole)


@pytest.mark.parametrize("currency", ["EUR", "USD"])
def test_a_buyer_pays_on_the_page_and_every_book_has_it(desk: Desk, currency: str) -> None:
    order = desk.open_session("12.34", "1.00", currency=currency, return_url=BACK)
    assert pay(desk.page(order)).location == BACK
    desk.shows(
        order, payment_order_status="SUCCESS", detail="", wallet_updated=True, ledger_updated=True, next_action=None
    )
    desk.agree()
