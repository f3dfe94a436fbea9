"""What becomes of the platform's fee when money goes back, and who bears a PSP's own. Apart, since settings name them too."""

from __future__ import annotations

from typing import Literal

FeeRule = Literal["none", "proportional", "full"]
FeeBearer = Literal["seller", "platform"]
