"""Currency code → number of decimals: ISO 4217's list one, with additions for withdrawn codes and corrections."""

from __future__ import annotations

import iso4217

# ISO 4217 list three (historic denominations) gives no decimals; these are as in OpenJDK's currency.properties and
# Unicode CLDR's supplementalData (currencyData/fractions). Old files and late refunds still name these currencies.
_WITHDRAWN: dict[int, str] = {
    0: (
        "ADP BEF BYB BYR ESP GRD ITL LUF MGF PTE TPE TRL"  # no cents in use: the euro's forerunners, Belarus 2016, …
    ),
    2: (
        "ANG "  # 2025-03: Curaçao and Sint Maarten, now XCG
        "ATS DEM FIM FRF IEP NLG "  # 2002: the euro
        "AYM AZM BGL CSD CUC CYP EEK GHC GWP HRK LTL LVL MRO MTL MZM ROL RUR SDD SIT SKK SLL SRG STD TMM "
        "BGN "  # 2026-01: Bulgaria, the euro
        "USS VEB VEF XFO YUM ZMK ZWD ZWL ZWN ZWR"
    ),
}

# Codes of list one in which nobody charges: units of account without decimals ("N.A." there: gold, SDRs, bond market units,
# XTS for tests, XXX for none) are unknown here.
_NO_MINOR_UNIT = "N.A."


def _listed() -> dict[str, int]:
    """List one of the standard, from the iso4217 package."""
    rows = iso4217.raw_table.values()
    return {
        str(row["Ccy"]): int(str(row["CcyMnrUnts"]))
        for row in rows
        if row["Ccy"] is not None and row["CcyMnrUnts"] not in (None, _NO_MINOR_UNIT)
    }


def _withdrawn() -> dict[str, int]:
    return {code: decimals for decimals, codes in _WITHDRAWN.items() for code in codes.split()}


# Listed codes take precedence. MGA and MRU keep the standard's 2 decimals, though their subunit is a fifth.
DECIMALS: dict[str, int] = _withdrawn() | _listed()
