"""Files of NACHA's returns → what has come back, under the key of the payment; or the refusal of the whole file."""

from __future__ import annotations

import pytest

from reconciliation.formats import keys
from reconciliation.formats.nacha_returns import NachaReturns
from reconciliation.formats.shape import NO_KEY, ReadFrom, RefusalCode
from tests.settlement_files import call
from tests.unit.settlement_reading import refused, told

SOURCE = ReadFrom("house-bank", "house", accounts=frozenset({"123456789"}))
BANK = "09140060"


def header(made: str = "2602110306") -> str:
    return f"101 091400606 691000134{made}A094101{'TALLYBANK':<23}{'TALLY SHOP':<23}"


def begin(company: str = "123456789") -> str:
    return f"5200{'TALLY SHOP':<36}{company:<10}CTX{'PAYOUT':<10}{'':<6}260211   1{BANK}0000001"


def came_back(code: str, cents: int, trace: str, information: str = "", addenda: str = "799R03") -> list[str]:
    entry = f"6{code}{BANK}6{'0001234567':<17}{cents:010d}{'':<15}{'ADA LOVELACE':<22}  1{BANK}0000001"
    return [entry, f"{addenda}{trace}{'':<6}{BANK}{information:<44}{BANK}0000001"]


def end(*lines: str) -> list[str]:
    """The batch's control behind its lines, as added up here."""
    entries = [line for line in lines if line[0] == "6"]
    hash_ = sum(int(line[3:11]) for line in entries) % 10**10
    debit, credit = (sum(int(line[29:39]) for line in entries if line[2] == digit) for digit in "61")
    return [*lines, f"8200{len(lines) - 1:06d}{hash_:010d}{debit:012d}{credit:012d}{'123456789':<35}{BANK}0000001"]


def file(*batches: list[str], padded: bool = True) -> bytes:
    lines = [header(), *(line for batch in batches for line in batch)]
    controls = [line for line in lines if line[0] == "8"]
    count, hash_, debit, credit = (
        sum(int(line[a:b]) for line in controls) for a, b in ((4, 10), (10, 20), (20, 32), (32, 44))
    )
    blocks = -(-(len(lines) + 1) // 10)
    lines.append(f"9{len(batches):06d}{blocks:06d}{count:08d}{hash_ % 10**10:010d}{debit:012d}{credit:012d}")
    if padded:
        lines += ["9" * 94] * (10 * blocks - len(lines))
    return "".join(f"{line:<94}\n" for line in lines).encode()


BACK = came_back("21", 4565, "091400600000003", f"OUR REF {call(5)}")
DRAWN = came_back("26", 12354, "091400600000001")
GOOD = file(end(begin(), *BACK), end(begin(), *DRAWN))


@pytest.mark.parametrize(
    "data", [GOOD, file(end(begin(), *BACK), end(begin(), *DRAWN), padded=False), GOOD.replace(b" \n", b"\n")]
)
def test_returns_have_the_sign_of_where_money_goes_and_the_key_of_their_payment(data: bytes) -> None:
    found = told(NachaReturns(), data, SOURCE)
    assert [(line.kind, line.net, line.net_currency) for line in found.lines] == [
        ("s", 4565, "USD"),
        ("s", -12354, "USD"),
    ]
    assert [line.key for line in found.lines] == [call(5), keys.theirs("house", "091400600000001")]
    assert [(line.psp_ref, line.order_ref) for line in found.lines] == [
        ("091400600000003", "R03"), ("091400600000001", "R03"),
    ]  # fmt: skip
    assert {line.settlement for line in found.lines} == {""}, "no statement: nothing of it is booked"
    assert (found.control.claims, found.control.first_day) == ((), "")
    assert found.control.identity == "returns 691000134 2026-02-11 0306 A"


def test_a_return_is_the_same_line_in_whatever_file_it_comes() -> None:
    one = told(NachaReturns(), file(end(begin(), *BACK)).replace(b"2602110306", b"2602120400"), SOURCE).digests()
    assert one == told(NachaReturns(), GOOD, SOURCE).digests()[:1]


def test_a_notification_of_change_moves_nothing() -> None:
    notice = came_back("21", 0, "091400600000004", addenda="798C01")
    found = told(NachaReturns(), file(end(begin(), *BACK, *notice)), SOURCE)
    assert [(line.kind, line.net, line.order_ref) for line in found.lines] == [("s", 4565, "R03"), ("n", 0, "C01")]
    assert "notification of change C01" in found.control.notes
    moves = came_back("21", 5, "091400600000004", addenda="798C01")
    assert refused(NachaReturns(), file(end(begin(), *moves)), SOURCE).code == "bad_row"


def test_other_addenda_of_an_entry_are_read_past() -> None:
    more = [BACK[0], f"710{'':<91}", BACK[1]]
    assert [line.net for line in told(NachaReturns(), file(end(begin(), *more)), SOURCE).lines] == [4565]
    assert NO_KEY not in {line.key for line in told(NachaReturns(), GOOD, SOURCE).lines}


def changed(old: str, new: str) -> bytes:
    assert old.encode() in GOOD
    return GOOD.replace(old.encode(), new.encode(), 1)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (changed("8200000002", "8200000003"), "bad_count"),
        (changed("8200000002000914006", "8200000002000914007"), "bad_total"),
        (changed("000000000000000000004565", "000000000000000000004566"), "bad_total"),
        (changed("9000002", "9000003"), "bad_count"),
        (changed("90000020000010", "90000020000020"), "bad_count"),
        (changed("900000200000100000004", "900000200000100000005"), "bad_count"),
        (GOOD[: GOOD.index(b"9000002")], "truncated"),
        (changed("799R03", "705R03"), "schema_drift"),
        (changed("621", "622"), "schema_drift"),
        (changed("799R03", "799X03"), "bad_row"),
        (changed("0000004565", "00000045.5"), "bad_row"),
        (changed("2602110306", "2602300306"), "bad_row"),
        (changed("123456789 CTX", "987654321 CTX"), "wrong_account"),
        (GOOD.replace(b"5200", b"x200", 1), "bad_row"),
        (GOOD.replace(b"\n6", b"x\n6", 1), "bad_row"),
        (file(end(begin(), *BACK), end(begin(), *DRAWN))[:95] + GOOD, "bad_row"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_whole_is_refused(data: bytes, code: RefusalCode) -> None:
    assert refused(NachaReturns(), data, SOURCE).code == code
