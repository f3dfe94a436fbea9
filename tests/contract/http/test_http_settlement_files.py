"""Settlement files over HTTP: stored whole or not at all, once, whatever is sent, and announced once."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import random
import socket
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest

from operations.cli.ingesting import ingest
from producers import recon_replies
from producers.doors import uploads
from producers.doors.settlement_files import file_name
from producers.doors.uploads import PIECE
from producers.keys import UPSTREAM_SCOPES
from producers.problems import Problem
from producers.trimming import trim
from producers.watched_folder import STEADY_S, WatchedFolder
from schemas.settlements import SettlementFileStored
from tests.commands import tally
from tests.contract.http.door import Door, Reply, wait_for
from tests.contract.running import heard
from topics.catalog import SETTLEMENT_FILES
from topics.runtime.shape.limits import Retention
from topics.runtime.shape.reading import read
from topics.settings import Settings

ROOT = "/v1/settlement-files"
MAIN = f"{ROOT}/northpay-main"


@pytest.fixture(scope="module")
def finance(door: Door) -> str:
    return door.key_for("finance", "recon:read", "recon:write")


def report(size: int) -> bytes:
    """A new file of that many bytes, which packs to about a half."""
    return random.randbytes(size // 2 + 1).hex().encode()[:size]


def send(door: Door, key: str, body: bytes | None, path: str = MAIN, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return door.send("POST", path, body, {"Content-Type": "text/csv", **named}, key)


def pieces_of(settings: Settings, file_id: str) -> list[bytes]:
    rows = read(
        settings,
        "doors",
        "SELECT b.bytes FROM settlement_file_view f JOIN settlement_bytes b ON b.upload_id = f.upload_id"
        " WHERE f.file_id = %s ORDER BY b.piece",
        [file_id],
    )
    return [zlib.decompress(row["bytes"]) for row in rows]


def announced(settings: Settings, file_id: str) -> list[SettlementFileStored]:
    said = [message.value() or b"" for message in heard(settings, SETTLEMENT_FILES.name)]
    return [SettlementFileStored.model_validate_json(value) for value in said if file_id.encode() in value]


def left_behind(settings: Settings) -> int:
    """Pieces that belong to no file."""
    with psycopg.connect(settings.dsn("tally_doors")) as conn:
        found = conn.execute(
            "SELECT count(*) FROM doors.file_chunks c WHERE NOT EXISTS"
            " (SELECT FROM doors.files f WHERE f.upload_id = c.upload_id)"
        ).fetchone()
    assert found is not None
    return int(found[0])


def test_a_file_is_stored_in_pieces_and_announced_and_the_same_again_changes_nothing(door: Door, finance: str) -> None:
    body = report(2 * PIECE + 500)
    first = send(door, finance, body, MAIN + "?name=C:%5Creports%5Cbatch-7.csv")
    file_id = hashlib.sha256(body).hexdigest()
    assert (first.status, first.replayed, first.json["file_id"]) == (202, False, file_id), first.body
    assert (first.json["name"], first.json["size"]) == ("batch-7.csv", len(body))
    assert first.headers["location"] == f"{MAIN}/{file_id}"
    again = send(door, finance, body, MAIN + "?name=other.csv")
    assert (again.status, again.replayed, again.json) == (200, True, first.json)
    pieces = pieces_of(door.settings, file_id)
    assert ([len(piece) for piece in pieces], b"".join(pieces)) == ([PIECE, PIECE, 500], body)
    wait_for(lambda: announced(door.settings, file_id))
    [event] = announced(door.settings, file_id)
    assert (event.source, event.name, event.size) == ("northpay-main", "batch-7.csv", len(body))
    assert event.stored_by == first.json["stored_by"]
    assert first.json["stored_by"].startswith("finance (key ")
    wait_for(lambda: left_behind(door.settings) == 0)


def test_a_packed_file_is_the_file_in_it(door: Door, finance: str) -> None:
    body = report(PIECE + 9)
    half = len(body) // 2
    packed = gzip.compress(body[:half]) + gzip.compress(body[half:])
    first = send(door, finance, packed, MAIN + "?name=batch.csv.gz", Content_Encoding="gzip")
    assert (first.status, first.json["file_id"]) == (202, hashlib.sha256(body).hexdigest())
    assert (first.json["name"], first.json["size"]) == ("batch.csv", len(body))
    assert b"".join(pieces_of(door.settings, first.json["file_id"])) == body
    assert send(door, finance, body).replayed, "unpacked it is the same file"


def test_two_sources_may_have_the_same_bytes(door: Door, finance: str) -> None:
    body = report(300)
    assert [send(door, finance, body, path).status for path in (MAIN, f"{ROOT}/house-bank")] == [202, 202]


def test_of_two_uploads_at_once_one_is_stored_and_the_other_is_a_replay(door: Door, finance: str) -> None:
    body = report(3 * PIECE)
    with ThreadPoolExecutor(3) as threads:
        replies = list(threads.map(lambda _: send(door, finance, body), range(3)))
    assert sorted((reply.status, reply.replayed) for reply in replies) == [(200, True), (200, True), (202, False)]
    assert b"".join(pieces_of(door.settings, replies[0].json["file_id"])) == body
    wait_for(lambda: len(announced(door.settings, replies[0].json["file_id"])) == 1)
    wait_for(lambda: left_behind(door.settings) == 0)


@cache
def bad_bodies() -> dict[str, tuple[bytes, dict[str, str], str]]:
    packed = gzip.compress(report(900))
    gz = {"Content_Encoding": "gzip"}
    return {
        "nothing": (b"", {}, "empty_file"),
        "nothing, packed": (gzip.compress(b""), gz, "empty_file"),
        "gzip that is not named": (packed, {}, "archive"),
        "gzip of gzip": (gzip.compress(packed), gz, "archive"),
        "zip": (b"PK\x03\x04" + bytes(90), {}, "archive"),
        "tar": (b"batch.csv".ljust(257, b"\0") + b"ustar\0" + bytes(249), {}, "archive"),
        "no gzip": (b"a;b\n1;2\n", gz, "broken_gzip"),
        "gzip that ends early": (packed[:-9], gz, "broken_gzip"),
        "gzip with a wrong check sum": (packed[:-8] + bytes(8), gz, "broken_gzip"),
        "gzip of zeros": (gzip.compress(bytes(8 * PIECE), 9), gz, "file_too_large"),
        "another encoding": (b"a;b\n", {"Content_Encoding": "br"}, "wrong_encoding"),
        "two encodings": (packed, {"Content_Encoding": "gzip, gzip"}, "wrong_encoding"),
        "a form": (b"--x--", {"Content_Type": "multipart/form-data; boundary=x"}, "wrong_encoding"),
    }


@pytest.mark.parametrize("case", bad_bodies())
def test_what_is_no_file_is_refused_and_nothing_of_it_stays(door: Door, finance: str, case: str) -> None:
    body, headers, code = bad_bodies()[case]
    reply = send(door, finance, body, **headers)
    assert (reply.json["code"], reply.headers["content-type"]) == (code, "application/problem+json")
    wait_for(lambda: left_behind(door.settings) == 0)


def test_a_file_beyond_the_limit_is_refused_by_its_length_or_when_it_comes_to_it(
    door: Door, finance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    conn.putrequest("POST", MAIN)
    for name, value in {"Authorization": f"Bearer {finance}", "Content-Length": str((2 << 30) + 1)}.items():
        conn.putheader(name, value)
    conn.endheaders()
    assert json.loads(conn.getresponse().read())["code"] == "file_too_large"
    conn.close()
    monkeypatch.setattr(uploads, "FILE_MAX", PIECE + 10)
    assert send(door, finance, report(PIECE + 11)).json["code"] == "file_too_large"
    assert send(door, finance, gzip.compress(report(PIECE + 11)), Content_Encoding="gzip").status == 413
    assert send(door, finance, report(PIECE + 10)).status == 202


def test_of_an_upload_that_is_broken_off_nothing_stands(door: Door, finance: str) -> None:
    body = report(2 * PIECE)
    with socket.create_connection(("127.0.0.1", door.port)) as sock:
        head = (
            f"POST {MAIN} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {finance}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        sock.sendall(head.encode() + body[:-1])
        wait_for(lambda: left_behind(door.settings) > 0)
    wait_for(lambda: left_behind(door.settings) == 0)
    assert door.get(f"{MAIN}/{hashlib.sha256(body).hexdigest()}", key=finance).status == 404
    assert send(door, finance, body).status == 202, "sent again, it is new"


def test_pieces_of_an_upload_without_an_end_are_trimmed_after_a_day(door: Door, finance: str) -> None:
    upload = uploads.Upload(door.settings, packed=False)  # of a process that dies here
    upload.feed(report(PIECE))
    kept = send(door, finance, report(PIECE)).json["file_id"]
    assert left_behind(door.settings) == 1
    with psycopg.connect(door.settings.dsn("tally_doors"), options="-c search_path=doors") as conn:
        now: Any = conn.execute("SELECT now()").fetchone()
        trim(conn, Retention(), now[0])
        conn.commit()
        assert left_behind(door.settings) == 1, "it may still go on"
        conn.execute("UPDATE uploads SET begun_at = begun_at - interval '1 day'")
        while trim(conn, Retention(), now[0]):
            conn.commit()
    assert left_behind(door.settings) == 0
    assert len(pieces_of(door.settings, kept)) == 1
    with pytest.raises(uploads.Problem):
        upload.feed(report(PIECE))
    assert left_behind(door.settings) == 0
    upload.close()


def test_an_unknown_source_or_a_key_without_the_scope_is_refused(door: Door, finance: str) -> None:
    assert send(door, finance, b"a;b\n", f"{ROOT}/eastpay").json["code"] == "unknown_source"
    reader = door.key_for("auditor", "recon:read")
    assert send(door, reader, b"a;b\n").json["code"] == "forbidden"
    assert door.get(ROOT, key=door.key_for("writer", "recon:write")).json["code"] == "forbidden"
    shop = door.key_for("shop", *UPSTREAM_SCOPES)
    assert send(door, shop, b"a;b\n").status == 403, "a shop's key has no scope of finance"


def test_files_are_listed_by_source_newest_first_and_page_by_page(door: Door, finance: str) -> None:
    sent = [send(door, finance, report(100), f"{ROOT}/house-bank").json["file_id"] for _ in range(3)]
    first = door.get(f"{ROOT}?source=house-bank&limit=2", key=finance).json
    recon_replies.SettlementFilePage.model_validate_json(json.dumps(first))
    more = door.get(f"{ROOT}?source=house-bank&limit=2&cursor={first['next_cursor']}", key=finance).json
    listed = [one["file_id"] for one in first["files"] + more["files"]]
    assert listed[:3] == sent[::-1]
    one = door.get(first["files"][0]["links"]["self"], key=finance)
    assert (one.status, one.json) == (200, first["files"][0] | {"decisions": []})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", "unnamed"),
        ("/", "unnamed"),
        ("../../etc/passwd", "passwd"),
        ("C:\\reports\\a b.csv", "a b.csv"),
        ("a\x1b[31m\u202eb.csv\n", "a[31mb.csv"),
        ("Ü.csv", "Ü.csv"),
        ("x" * 500, "x" * 128),
    ],
)
def test_a_name_is_the_last_part_of_a_path_without_what_cannot_be_seen(given: str, kept: str) -> None:
    assert file_name(given, packed=False) == kept


# ── by command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tally_settlement_ingest_stores_files_packed_or_not_and_says_what_it_had_already(
    door: Door, finance: str, environment: dict[str, str], tmp_path: Path
) -> None:
    body = report(PIECE + 3)
    plain, packed, bad = tmp_path / "one.csv", tmp_path / "two.csv.gz", tmp_path / "three.zip"
    plain.write_bytes(body)
    packed.write_bytes(gzip.compress(body + b"x"))
    bad.write_bytes(b"PK\x03\x04" + bytes(90))
    words = ("settlement", "ingest", str(plain), str(packed), str(bad), "--source", "northpay-main", "--as", "ann")
    first = tally(environment, *words, "--json")
    told = json.loads(first.stdout)["files"]
    assert (first.returncode, [one.get("code") for one in told]) == (1, [None, None, "archive"]), first.stderr
    assert [one["name"] for one in told[:2]] == ["one.csv", "two.csv"]
    assert told[0]["stored_by"] == "operator ann"
    kept = door.get(f"{MAIN}/{hashlib.sha256(body + b'x').hexdigest()}", key=finance)
    assert kept.json["size"] == len(body) + 1
    again = tally(environment, *words[:4], "--source", "northpay-main")
    assert again.returncode == 0
    assert [": as before, since " in line for line in again.stdout.splitlines()] == [True, True]
    unknown = tally(environment, "settlement", "ingest", str(plain), "--source", "eastpay")
    assert (unknown.returncode, "TALLY_SETTLEMENT_SOURCES" in unknown.stdout) == (1, True)


def test_ten_gigabytes_of_zeros_in_gzip_are_refused_early_and_in_little_memory(door: Door, tmp_path: Path) -> None:
    """Packed they are ten megabytes."""
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(bytes(100 << 20), 9) * 100)
    kept = left_behind(door.settings)
    tracemalloc.start()
    with pytest.raises(Problem, match="200 times") as refused:
        ingest(door.settings, "northpay-main", bomb, "operator ann")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.code == "file_too_large"
    assert peak < 16 * PIECE
    assert left_behind(door.settings) == kept


def test_files_of_a_watched_folder_are_taken_once_they_are_steady_and_moved_by_what_became_of_them(
    door: Door, tmp_path: Path
) -> None:
    def names(folder: str = ".") -> list[str]:
        return sorted(file.name for file in (tmp_path / folder).iterdir() if file.is_file())

    watched = WatchedFolder(tmp_path, lambda file: ingest(door.settings, "northpay-main", file, "operator ann"))
    body = report(400)
    (tmp_path / "good.csv").write_bytes(body[:200])
    (tmp_path / "bad.csv").write_bytes(b"")
    (tmp_path / "half.csv.part").write_bytes(body)
    assert list(watched.look(now=0.0)) == []
    (tmp_path / "good.csv").write_bytes(body)
    taken = list(watched.look(now=STEADY_S))
    assert [(one.file.name, one.stored) for one in taken] == [("bad.csv", None)], "the other one has just grown"
    assert (tmp_path / "refused" / "bad.csv.reason").read_text().startswith("empty_file: ")
    [good] = watched.look(now=2 * STEADY_S)
    assert good.stored is not None
    assert good.stored.row["file_id"] == hashlib.sha256(body).hexdigest()
    (tmp_path / "good.csv").write_bytes(body)
    list(watched.look(now=3 * STEADY_S))
    [again] = watched.look(now=4 * STEADY_S)
    assert (again.stored is not None and again.stored.replayed, again.file.name) == (True, "good-2.csv")
    assert (names(), names("done"), names("refused")) == (
        ["half.csv.part"],
        ["good-2.csv", "good.csv"],
        ["bad.csv", "bad.csv.reason"],
    )
