"""MT940 and MT942 as banks write them → signed entries with their keys, and balances; or the refusal of the whole file."""

from __future__ import annotations

from datetime import date

import pytest

from reconciliation import gate
from reconciliation.formats import keys, swift_parsed
from reconciliation.formats.mt940 import Mt940, Mt942
from reconciliation.formats.refusing import Unreadable
from reconciliation.formats.shape import ReadFrom, RefusalCode
from schemas.money import Money
from tests.settlement_files import call
from tests.unit.settlement_reading import Told, refused, told

ACCOUNT = "DE02120300000000202051"
SOURCE = ReadFrom("house-bank", "house", accounts=frozenset({ACCOUNT}), references=frozenset({r"\bbatch (\d+)\b"}))
PAID_IN = (
    ":61:2602110211C37,28NTRFNONREF//B1",
    ":86:166?00GUTSCHRIFT?20EREF+P-1?21SVWZ+TX1XT batch 10?2242, TallyShop?30BANKDEFF?31DE89?32NAME",
)
PAID_OUT = (":61:2602120211D20,NTRFNONREF//B2", f":86:/EREF/{call(5)}//REMI/USTD//payout/")
CHARGE = (":61:260211D1,50NCHGNONREF",)


def statement(
    opening: str, closing: str, *entries: tuple[str, ...], number: str = "42/1", first: str = "F", last: str = "F",
    days: tuple[str, str] = ("260210", "260211"),
) -> str:  # fmt: skip
    marks = [("D" if each.startswith("-") else "C", each.removeprefix("-")) for each in (opening, closing)]
    lines = [
        *(":20:STARTUMSE", f":25:{ACCOUNT}", f":28C:{number}", f":60{first}:{marks[0][0]}{days[0]}EUR{marks[0][1]}"),
        *(line for entry in entries for line in entry),
        f":62{last}:{marks[1][0]}{days[1]}EUR{marks[1][1]}",
        "-",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def read(*statements: str, source: ReadFrom = SOURCE) -> Told:
    data = "".join(statements).encode()
    assert gate.chosen(data, source) is next(each for each in gate.READERS if each.name == "mt940")
    return told(Mt940(), data, source)


def code_of(*statements: str, source: ReadFrom = SOURCE) -> RefusalCode:
    return refused(Mt940(), "".join(statements).encode(), source).code


def test_entries_have_signs_keys_and_days() -> None:
    found = read(statement("100,", "115,78", PAID_IN, PAID_OUT, CHARGE))
    assert [line.net for line in found.lines] == [3_728, -2_000, -150]
    assert [line.key for line in found.lines] == [
        keys.paid_out("house", "1042", "EUR"),
        call(5),
        keys.theirs("house", ""),
    ]
    assert [line.psp_ref for line in found.lines] == ["B1", "B2", ""]
    days = [(date.fromordinal(719_163 + each.at // 86_400), each.value_day) for each in found.lines]
    assert days[1] == (date(2026, 2, 11), (date(2026, 2, 12) - date(1970, 1, 1)).days)
    [claim] = found.control.claims
    assert (claim.settlement, claim.opening, claim.amount, claim.day) == (
        f"{ACCOUNT}-EUR-2026-02-10-42", Money(10_000, "EUR"), Money(11_578, "EUR"), "2026-02-11",
    )  # fmt: skip
    assert (found.control.identity, found.control.version) == (f"{claim.settlement} of {ACCOUNT}", "")


@pytest.mark.parametrize(
    ("mark", "signed"), [("C", 5_000), ("D", -5_000), ("RC", -5_000), ("RD", 5_000), ("rc", -5_000), ("CR", 5_000)]
)
def test_a_reversal_has_the_sign_of_where_money_goes(mark: str, signed: int) -> None:
    """CR: a credit whose funds code is R, the last letter of a currency."""
    [line] = read(statement("100,", f"{100 + signed // 100},", (f":61:2602110211{mark}50,NTRFNONREF//B1",))).lines
    assert line.net == signed


def test_an_entry_without_a_type_is_not_lost_to_the_next_one() -> None:
    """The library would let the second take the place of the first."""
    found = read(statement("0,", "3,", (":61:260211C1,",), (":61:260211C2,",)))
    assert [line.net for line in found.lines] == [100, 200]


def test_a_30th_of_february_is_its_last_day_and_a_31st_is_none() -> None:
    found = read(statement("0,", "1,", (":61:2602300228C1,NINTNONREF",)))
    assert found.lines[0].value_day == (date(2026, 2, 28) - date(1970, 1, 1)).days
    assert found.control.notes == ("a 29th or 30th of February, read as its last day",)
    assert code_of(statement("0,", "1,", (":61:260231C1,NINTNONREF",))) == "bad_row"
    assert code_of(statement("0,", "1,", (":61:260431C1,NINTNONREF",))) == "bad_row"


def test_details_longer_than_nine_lines_are_read_to_their_end() -> None:
    lines = ["x" * 65 for _ in range(12)]
    entry = (":61:260211C5,NTRFNONREF//B1", f":86:{lines[0]}", *lines[1:], " batch 7")
    assert read(statement("0,", "5,", entry)).lines[0].order_ref == "7"


def test_a_call_id_is_found_across_the_end_of_a_full_line() -> None:
    text = f"{'y' * 50} {call(7)}"
    entry = (":61:260211D5,NTRFNONREF//B1", f":86:{text[:65]}", text[65:])
    assert read(statement("0,", "-5,", entry)).lines[0].key == call(7)
    two = (":61:260211D5,NTRFNONREF//B1", f":86:{call(7)}", call(8))
    assert read(statement("0,", "-5,", two)).lines[0].key == keys.theirs("house", "B1")


def test_a_long_reference_keeps_the_banks_own_behind_it() -> None:
    entry = (":61:260211C5,NTRFBIPI-dvT1FzfMqvzF5HaU4oetlH7SGRkonU//2022070616391534",)
    [line] = read(statement("0,", "5,", entry)).lines
    assert (line.psp_ref, line.order_ref) == ("2022070616391534", "BIPI-dvT1FzfMqvzF5HaU4oetlH7SGRkonU")


def test_why_a_payment_came_back_is_kept_beside_its_key() -> None:
    entry = (":61:260211C5,NRTINONREF//B1", f":86:/EREF/{call(5)}//RTRN/AC04//REMI/return/")
    [line] = read(statement("0,", "5,", entry)).lines
    assert (line.key, line.net, line.order_ref) == (call(5), 500, "AC04")


def test_pages_of_a_statement_are_one_and_statements_follow_each_other() -> None:
    pages = (
        statement("0,", "37,28", PAID_IN, number="42/1", last="M"),
        statement("37,28", "35,78", CHARGE, number="42/2", first="M"),
    )
    next_one = statement("35,78", "15,78", PAID_OUT, number="43/1", days=("260211", "260212"))
    found = read(next_one, *pages)
    assert [(each.settlement, each.net, each.ties) for each in found.control.sums] == [
        (f"{ACCOUNT}-EUR-2026-02-10-42", 3_578, True),
        (f"{ACCOUNT}-EUR-2026-02-11-43", -2_000, True),
    ]
    assert [line.settlement[-2:] for line in found.lines] == ["43", "42", "42"]
    assert code_of(pages[0], pages[1].replace("37,28", "37,27").replace("35,78", "35,77")) == "balance_gap"
    assert code_of(pages[0], pages[1].replace("42/2", "42/3")) == "sequence_gap"
    assert code_of(*pages, next_one.replace("35,78", "35,79").replace("15,78", "15,79")) == "balance_gap"
    assert code_of(*pages, next_one.replace("43/1", "44/1")) == "sequence_gap"


def test_a_page_by_itself_is_a_statement_of_its_own() -> None:
    [claim] = read(statement("37,28", "35,78", CHARGE, number="42/2", first="M", last="M")).control.claims
    assert claim.settlement == f"{ACCOUNT}-EUR-2026-02-10-42-002"


def test_numbers_that_are_days_of_the_year_may_leave_days_out() -> None:
    friday = statement("0,", "37,28", PAID_IN, number="44/1", days=("260212", "260213"))
    monday = statement("37,28", "35,78", CHARGE, number="47/1", days=("260213", "260216"))
    assert len(read(friday, monday).control.claims) == 2
    assert code_of(friday, monday.replace("47/1", "48/1")) == "sequence_gap"


@pytest.mark.parametrize("form", [ACCOUNT, f"{ACCOUNT}EUR", f"BYLADEM1001/{ACCOUNT}", f"BYLADEM1001/{ACCOUNT}EUR"])
def test_an_account_is_known_with_a_bank_before_it_and_a_currency_behind_it(form: str) -> None:
    data = statement("0,", "37,28", PAID_IN).replace(f":25:{ACCOUNT}", f":25:{form}")
    assert read(data).control.account_ids == (ACCOUNT,)


def test_an_envelope_and_a_byte_order_mark_hide_no_message() -> None:
    inner = statement("0,", "37,28", PAID_IN).removesuffix("-\r\n")
    one = f"{{1:F01BANKDEFFAXXX}}{{2:I940BANKDEFFXXXXN}}{{4:\r\n{inner}-}}{{5:{{MAC:1}}}}\r\n"
    assert [line.net for line in read("\ufeff" + one).lines] == [3_728]
    assert [line.net for line in read(f"ABNANL2A\r\n940\r\nABNANL2A\r\n{inner}-\r\n").lines] == [3_728]


GOOD = statement("0,", "17,28", PAID_IN, PAID_OUT)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (GOOD.replace("C260211EUR17,28", "C260211EUR17,27"), "bad_total"),
        (GOOD.replace("D20,NTRF", "C20,NTRF"), "bad_total"),
        (GOOD[: GOOD.index(":62F")], "truncated"),
        (GOOD.replace(f":25:{ACCOUNT}", ":25:DE91"), "wrong_account"),
        (GOOD.replace(":28C:42/1\r\n", ""), "schema_drift"),
        (GOOD.replace(":62F:", ":99X:1\r\n:62F:"), "schema_drift"),
        (GOOD.replace(":28C:42/1", ":28C:42/1\r\n:28C:43/1"), "schema_drift"),
        (GOOD.replace(":28C:42/1", ":28C:next"), "bad_row"),
        (GOOD.replace(":20:STARTUMSE", "x" * 40), "bad_row"),
        (GOOD.replace("37,28", "37.28"), "bad_row"),
        (GOOD.replace("C37,28", "C1.037,28"), "bad_row"),
        (GOOD.replace("C37,28", "C3,7,28"), "bad_row"),
        (GOOD.replace("C37,28", "C３７,28"), "bad_row"),
        (GOOD.replace("2602110211C", "2602110231C"), "bad_row"),
        (GOOD.replace("2602110211C", "2613110211C"), "bad_row"),
        (GOOD.replace("37,28", "37,281"), "wrong_decimals"),
        (GOOD.replace("EUR", "XXX"), "currency_unknown"),
        (GOOD.replace("C260211EUR17,28", "C260211USD17,28"), "bad_row"),
        (GOOD.replace(":86:166", ":86:" + "x\r\n" * 40_000), "line_too_long"),
    ],
)  # fmt: skip
def test_a_statement_that_is_not_whole_is_refused(data: str, code: RefusalCode) -> None:
    assert data != GOOD
    assert code_of(data) == code


def test_two_persons_release_a_gap_and_a_total() -> None:
    source = ReadFrom("house-bank", "house", released=frozenset({"bad_total"}))
    wrong = GOOD.replace("C260211EUR17,28", "C260211EUR17,27")
    assert [each.ties for each in read(wrong, source=source).control.sums] == [False]


def test_what_the_library_logs_of_an_entry_stays_unsaid(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"), pytest.raises(Unreadable):
        swift_parsed._read(":61:260211C5,NTRF\nAda\nLovelace")
    assert "Lovelace" not in caplog.text


REPORT = (
    f":20:ST1\r\n:25:{ACCOUNT}\r\n:28C:5/1\r\n:34F:EURD0,\r\n:34F:EURC0,\r\n:13D:2602111230+0100\r\n"
    + "".join(f"{line}\r\n" for line in (*PAID_IN, *PAID_OUT))
    + ":90D:1EUR20,\r\n:90C:1EUR37,28\r\n-\r\n"
)


def test_a_report_within_the_day_is_shown_and_in_no_statement() -> None:
    assert gate.chosen(REPORT.encode(), SOURCE).name == "mt942"
    found = told(Mt942(), REPORT.encode(), SOURCE)
    assert [(line.kind, line.net, line.settlement) for line in found.lines] == [("n", 3_728, ""), ("n", -2_000, "")]
    assert [line.key for line in found.lines] == [keys.paid_out("house", "1042", "EUR"), call(5)]
    assert (found.control.claims, found.control.first_day, found.control.totals) == ((), "", {"EUR": 1_728})
    assert found.control.identity == f"report 5 of {ACCOUNT} at 2602111230+0100"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (":90D:1EUR", ":90D:2EUR", "bad_count"),
        (":90C:1EUR37,28", ":90C:1EUR37,27", "bad_total"),
        (":90C:1EUR", ":90C:1USD", "bad_row"),
        (":90C:1EUR", ":90C:EUR", "bad_row"),
        (":34F:EURC0,", ":34F:USDC0,", "bad_row"),
        (":34F:EURD0,\r\n:34F:EURC0,\r\n", "", "schema_drift"),
    ],
)
def test_a_report_that_is_not_whole_is_refused(old: str, new: str, code: RefusalCode) -> None:
    assert refused(Mt942(), REPORT.replace(old, new).encode(), SOURCE).code == code
