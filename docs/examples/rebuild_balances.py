"""ledger-entries.v1 alone → the balance of every account, checked against account-balances.v1. Needs confluent-kafka.

python rebuild_balances.py 127.0.0.1:9092 [--prefix PREFIX] [--wait SECONDS]
"""

import argparse
import json
import sys
from collections import defaultdict
from decimal import Decimal

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

seen = set()  # ids of the events counted: delivery is at least once, so any of them may come again
rebuilt = defaultdict(lambda: dict.fromkeys(("debit", "credit"), Decimal(0)))  # (account, currency) → its totals
said = {}  # (account, currency) → (version, totals) as the ledger itself says


def hear(record):
    headers, event = dict(record.headers()), json.loads(record.value())
    if headers["ce_type"] == b"tallystick.JournalPosted.v1" and headers["ce_id"] not in seen:
        seen.add(headers["ce_id"])
        for entry in event["entries"]:
            amount = entry["amount"]  # a decimal string and a currency: never a float
            rebuilt[entry["account"], amount["currency"]][entry["direction"]] += Decimal(amount["amount"])
    elif headers["ce_type"] == b"tallystick.AccountBalance.v1":
        account, version = (event["account"], event["debits"]["currency"]), event["balance_version"]
        totals = {"debit": Decimal(event["debits"]["amount"]), "credit": Decimal(event["credits"]["amount"])}
        if version >= said.get(account, (0,))[0]:  # the highest version wins, whatever comes last
            said[account] = (version, totals)


def read(kafka, prefix, wait):
    """Read both topics from the beginning until they agree, or until nothing has helped for `wait` seconds."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "rebuild-balances", "enable.auto.commit": False})
    for name in (prefix + "ledger-entries.v1", prefix + "account-balances.v1"):
        partitions = consumer.list_topics(name, timeout=15).topics[name].partitions
        consumer.incremental_assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in partitions])
    silent_s = 0.0
    while silent_s < wait:
        records = consumer.consume(1000, timeout=0.5)
        for record in records:
            hear(record)
        silent_s = 0.0 if records else silent_s + 0.5
        if silent_s and said and rebuilt == {account: totals for account, (_, totals) in said.items()}:
            break  # at rest; while payments flow the two topics are a moment apart
    consumer.close()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("kafka")
    arguments.add_argument("--prefix", default="")
    arguments.add_argument("--wait", type=float, default=10)
    read(**vars(arguments.parse_args()))
    wrong = [a for a in rebuilt.keys() | said.keys() if a not in said or rebuilt.get(a) != said[a][1]]
    for account, totals in sorted(rebuilt.items()):
        print(*account, totals["debit"] - totals["credit"], "DIFFERS" if account in wrong else "", sep="\t")
    print(f"{len(seen)} journals, {len(rebuilt)} balances, {len(wrong)} differ", file=sys.stderr)
    sys.exit(1 if wrong or not said else 0)
