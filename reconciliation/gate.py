"""Blocks of a file's bytes → chunks of lines and the file's control; or the Refusal of the whole file.

Pure: the same bytes from the same source give the same chunks, under the same reader.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain

from reconciliation.formats.adyen_payment_accounting import AdyenPaymentAccounting
from reconciliation.formats.adyen_settlement_details import AdyenSettlementDetails
from reconciliation.formats.bai2 import Bai2
from reconciliation.formats.blocks import refuse_binary, sized
from reconciliation.formats.camt053 import Camt053
from reconciliation.formats.camt054 import Camt054
from reconciliation.formats.checkoutcom_financial_actions import CheckoutcomFinancialActions
from reconciliation.formats.checkoutcom_payouts import CheckoutcomPayouts
from reconciliation.formats.checkoutcom_settlement_breakdown import CheckoutcomSettlementBreakdown
from reconciliation.formats.mt940 import Mt940, Mt942
from reconciliation.formats.nacha_returns import NachaReturns
from reconciliation.formats.native_csv import NativeCsv
from reconciliation.formats.paypal_stl import PayPalStl
from reconciliation.formats.paypal_trr import PayPalTrr
from reconciliation.formats.shape import Chunk, Control, Reader, ReadFrom, Refusal, RefusalCode
from reconciliation.formats.stripe_balance_change import StripeBalanceChange
from reconciliation.formats.stripe_payout_reconciliation import StripePayoutReconciliation
from topics.settlement_sources import SettlementSource

READERS: tuple[Reader, ...] = (
    AdyenSettlementDetails(),
    AdyenPaymentAccounting(),
    StripePayoutReconciliation(),
    StripeBalanceChange(),
    PayPalStl(),
    PayPalTrr(),
    CheckoutcomSettlementBreakdown(),
    CheckoutcomFinancialActions(),
    CheckoutcomPayouts(),
    Camt053(),
    Camt054(),
    Mt940(),
    Mt942(),
    Bai2(),
    NachaReturns(),
    NativeCsv(),
)
# Reports that come beside the one that a source names as its format: what they claim, or evidence of how payments stand.
BESIDE: Mapping[str, frozenset[str]] = {
    "adyen_payment_accounting": frozenset({"adyen_settlement_details"}),
    "stripe_balance_change": frozenset({"stripe_payout_reconciliation"}),
    "paypal_trr": frozenset({"paypal_stl"}),
    "checkoutcom_financial_actions": frozenset({"checkoutcom_settlement_breakdown"}),
    "checkoutcom_payouts": frozenset({"checkoutcom_settlement_breakdown", "checkoutcom_financial_actions"}),
}


def read(blocks: Iterable[bytes], source: ReadFrom, name: str = "") -> Iterator[Chunk | Control]:
    """Chunks, then one control. Blocks may have any size; `name` is the file's. Errors: Refusal."""
    _, found = opened(blocks, source, name)
    return found


def opened(blocks: Iterable[bytes], source: ReadFrom, name: str = "") -> tuple[Reader, Iterator[Chunk | Control]]:
    """The file's reader, and what it reads. Errors: Refusal `empty`, `binary`, `wrong_format`; later those of the reader."""
    rest = sized(blocks)
    head = next(rest, b"")
    reader = chosen(head, source, name)
    return reader, reader.read(chain((head,), rest), source)


def chosen(head: bytes, source: ReadFrom, name: str = "") -> Reader:
    """The source's reader, or the one that is surest of these first bytes."""
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise Refusal("empty", "the file is empty")
    refuse_binary(head)
    sure = {reader.name: reader.sniff(head, name) for reader in READERS}
    likely = max(READERS, key=lambda reader: sure[reader.name])
    looks = f"it looks like {likely.name}" if sure[likely.name] else "it is in no format that is known"
    for reader in (likely, *READERS) if source.format else (likely,):
        named = source.format in ("", reader.name, *BESIDE.get(reader.name, ()))
        if named and source.kind in ("any", reader.of) and sure[reader.name]:
            return reader
    wanted = {"any": "", "psp": "a PSP's files, and ", "bank": "a bank's files, and "}[source.kind]
    wanted = f"{source.format}, and " if source.format else wanted
    raise Refusal("wrong_format", f"{wanted and 'its source has '}{wanted}{looks} (`tally settlement formats`)", 1)


def reads_from(source: SettlementSource, released: Collection[RefusalCode] = ()) -> ReadFrom:
    """What readers must know of an account of the settings; `released`: what two persons have released the file from."""
    return ReadFrom(
        source.name,
        source.psp if source.kind == "psp" else source.bank_account,
        source.format,
        source.accounts,
        source.timezone,
        source.references,
        source.kind,
        frozenset(released),
    )
