"""Rules of fees: what is returned of the platform's fee with a refund or chargeback, and who bears the PSP's dispute fee."""

from __future__ import annotations

from typing import Literal

FeeRule = Literal["none", "proportional", "full"]
FeeBearer = Literal["seller", "platform"]
