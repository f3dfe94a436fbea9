"""Checkouts paid on a page of the PSP's, on the real stack: by plain HTTP, and in a browser where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from operations.stack.servers import Servers
from tests.conftest import stacks, stores
from tests.journey.books import lying_about, unheard
from tests.journey.browsing import browsing, fill_in, keep_picture, press, shop
from tests.journey.desk import Desk
from tests.journey.holdings import everything_held
from tests.journey.test_money_back import BY_CURRENCY
from tests.journey.whole import running, settings_for
from tests.simulator.visiting import NO_MONEY, VISA, WITH_3DS, look, pay
from topics.webhooks.limits import WebhookLimits

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

BACK = "https://shop.example/thanks?cart=7"
PAID = {"payment_order_status": "SUCCESS", "detail": "", "wallet_updated": True, "ledger_updated": True}
LOOPBACK = WebhookLimits(http_allowed=True, allowed_networks=(ip_network("127.0.0.0/8"),))


@pytest.fixture(scope="module")
def desk(servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with (
        stores(servers, template, tmp_path_factory.mktemp("hosted")) as make_store,
        stacks(make_store) as make,
        running(
            settings_for(lambda **more: make(**more, webhooks=LOOPBACK), BY_CURRENCY, webhooks=True), copies=1
        ) as whole,
    ):
        yield Desk(whole)


# ── by plain HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("currency", ["EUR", "USD"])
def test_a_buyer_pays_on_the_page_and_every_book_has_it(desk: Desk, currency: str) -> None:
    order = desk.open_session("12.34", "1.00", currency=currency, return_url=BACK)
    assert pay(desk.page(order)).location == BACK
    desk.shows(order, **PAID, next_action=None)


def test_the_webhook_is_there_before_the_buyer_is_back(desk: Desk) -> None:
    order = desk.open_session("5.00", return_url=BACK)
    url = desk.page(order)
    desk.simulate("next", {"op": "page", "subject": order, "fault": "told_first"})
    assert pay(url).location == BACK
    desk.shows(order, **PAID)


def test_a_page_with_manual_capture_authorises(desk: Desk) -> None:
    order = desk.open_session("20.00", manual=True, return_url=BACK)
    pay(desk.page(order))
    desk.shows(order, payment_order_status="EXECUTING", detail="authorised", amount_capturable="20.00")
    desk.capture(order, "20.00", final=True)
    desk.shows(order, **PAID)


# ── in a browser ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def back() -> Iterator[str]:
    with shop() as url:
        yield url


@pytest.fixture
def tabs(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 900, "height": 900})
    context.set_default_timeout(40_000)  # a loaded machine
    yield context
    context.close()


def go(tabs: BrowserContext, url: str) -> Page:
    page = tabs.new_page()
    page.goto(url)
    return page


def test_in_a_browser_paid_by_a_double_click_and_not_again_by_going_back(
    desk: Desk, tabs: BrowserContext, back: str
) -> None:
    order = desk.open_session("1234.50", return_url=back)
    page = go(tabs, desk.page(order))
    keep_picture(page, "1-card")
    fill_in(page, "4242 4242 4242 4241", expiry="01 / 20")
    press(page, "Pay 1,234.50 EUR")
    page.get_by_text("This is not a card number.").wait_for()
    keep_picture(page, "2-typed-wrong")
    fill_in(page, VISA)
    page.get_by_role("button", name="Pay 1,234.50 EUR").dblclick()
    page.wait_for_url(back)
    page.go_back()
    page.get_by_text("Already paid").wait_for()
    page.reload()
    page.get_by_text("Already paid").wait_for()
    keep_picture(page, "3-already-paid")
    page.get_by_role("link", name="Back to the shop").click()
    page.wait_for_url(back)
    desk.shows(order, **PAID)


def test_in_a_browser_declined_then_3d_secure_then_paid(desk: Desk, tabs: BrowserContext, back: str) -> None:
    order = desk.open_session("49.90", currency="USD", return_url=back)
    page = go(tabs, desk.page(order))
    page.set_viewport_size({"width": 390, "height": 780})
    fill_in(page, NO_MONEY)
    press(page, "Pay 49.90 USD")
    page.get_by_text("not enough money").wait_for()
    keep_picture(page, "4-declined")
    page.reload()
    page.get_by_text("not enough money").wait_for()
    fill_in(page, WITH_3DS)
    press(page, "Pay 49.90 USD")
    page.get_by_text("3-D Secure").wait_for()
    keep_picture(page, "5-3d-secure")
    desk.shows(order, detail="action_required", amount_captured="0.00")
    press(page, "Yes, it is me")
    page.wait_for_url(back)
    desk.shows(order, **PAID)


def test_in_a_browser_the_second_tab_learns_that_the_first_has_paid(
    desk: Desk, tabs: BrowserContext, back: str
) -> None:
    order = desk.open_session("7.00", return_url=back)
    url = desk.page(order)
    first, second = go(tabs, url), go(tabs, url)
    for page in (first, second):
        fill_in(page, VISA)
    press(first, "Pay 7.00 EUR")
    first.wait_for_url(back)
    press(second, "Pay 7.00 EUR")
    second.get_by_text("Already paid").wait_for()
    desk.shows(order, **PAID, amount_captured="7.00")


def test_in_a_browser_a_closed_tab_and_no_webhook_are_found_by_asking(
    desk: Desk, tabs: BrowserContext, back: str
) -> None:
    order = desk.open_session("8.00", return_url=back)
    page = go(tabs, desk.page(order))
    desk.simulate("next", {"op": "page", "subject": order, "fault": "silent"})
    fill_in(page, VISA)
    with page.expect_request_finished(lambda request: request.method == "POST"):
        press(page, "Pay 8.00 EUR")
    page.close()
    desk.hurry_until(lambda: [] if desk.order(order)["payment_order_status"] == "SUCCESS" else ["not found yet"])
    desk.shows(order, **PAID)


def test_in_a_browser_a_buyer_gives_up(desk: Desk, tabs: BrowserContext, back: str) -> None:
    order = desk.open_session("9.00", return_url=back)
    page = go(tabs, desk.page(order))
    press(page, "Cancel and go back")
    page.wait_for_url(back)
    desk.shows(order, payment_order_status="FAILED", detail="declined", decline_code="cancelled_by_buyer")


def test_in_a_browser_a_page_expires_by_the_psps_word(desk: Desk, tabs: BrowserContext, back: str) -> None:
    order = desk.open_session("10.00", return_url=back)
    page = go(tabs, desk.page(order))
    fill_in(page, VISA)
    desk.hurry_until(lambda: [] if "has expired" in look(page.url).html else ["open"], by_s=1900.0)
    press(page, "Pay 10.00 EUR")
    page.get_by_text("This page has expired").wait_for()
    keep_picture(page, "6-expired")
    desk.shows(order, payment_order_status="FAILED", detail="declined", decline_code="page_expired", next_action=None)


# ── at the end ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_card_is_in_any_store_topic_or_log(desk: Desk) -> None:
    """Cards were typed above, paid with and declined; here is one more."""
    order = desk.open_session("6.00", return_url=BACK)
    url = desk.page(order)
    pay(url, NO_MONEY)
    pay(url)
    desk.shows(order, **PAID)
    desk.hurry_until(lambda: lying_about(desk.whole.settings) or unheard(desk.whole.settings))
    held = everything_held(desk.whole.settings, desk.whole.home.path)
    assert [where for where, content in held if order.encode() in content], "it is looked for in the right places"
    cards = [spelt.encode() for card in (VISA, NO_MONEY, WITH_3DS) for spelt in (card, card.replace(" ", ""))]
    assert [where for where, content in held if any(card in content for card in cards)] == []


def test_pages_that_nobody_paid_and_pages_that_were_paid_are_in_no_book_twice(desk: Desk) -> None:
    """The last of this file: PSPs' books, ours and the auditor, with one page open still."""
    order = desk.open_session("11.00", return_url=BACK)
    desk.page(order)
    assert desk.audit() == []
    desk.hurry_until(lambda: [] if desk.order(order)["payment_order_status"] == "FAILED" else ["open"], by_s=1900.0)
    desk.agree()
