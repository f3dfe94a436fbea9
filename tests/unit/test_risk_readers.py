"""Sanctions lists in their authorities' formats: read whole, or not at all with the line that is wrong."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from consumers.risk.entries import Entry
from consumers.risk.readers import LINE_MAX, BadList, ListFile, read_list
from tests.sanctions import ADD, ALT, EU, SDN, UN, ofac, one


def by_id(file: ListFile) -> dict[str, Entry]:
    return {entry.entry_id: entry for entry in file.entries}


def test_ofacs_three_files_are_one_list(tmp_path: Path) -> None:
    file = read_list(ofac(tmp_path))
    entries = by_id(file)
    assert (file.name, file.published, sorted(entries)) == ("ofac-sdn", None, ["1001", "1002", "1004"])
    assert entries["1001"].names == ("AL-KHATIRI, Mohammed Nasir", "AL KHATERI, Muhammad")
    assert (entries["1001"].births, entries["1001"].countries) == (("1951-06-19",), ("Iraq",))
    assert entries["1001"].programmes == ("SDGT", "IRAQ2")
    assert entries["1002"].names == ("ZARYA NEFT TRADING LLC", "ZARYA OIL")
    assert entries["1004"].births == ("1960", "1961", "1962", "1970")


def test_the_files_may_be_named_in_any_order_and_are_the_same_version(tmp_path: Path) -> None:
    files = ofac(tmp_path)
    assert read_list(files) == read_list(files[::-1])


def test_the_eus_lines_of_one_entity_are_one_entry(tmp_path: Path) -> None:
    file = read_list(one(tmp_path, EU))
    entries = by_id(file)
    assert (file.name, file.published) == ("eu-consolidated", date(2026, 11, 28))
    assert entries["13"].names == ("Mohammed Nasir Al-Khatiri", "محمد")
    assert (entries["13"].births, entries["13"].countries) == (("1951-06-19",), ("IRAQ",))
    assert entries["14"].names == ('Zarya "Neft" Trading',)


def test_the_uns_individuals_and_entities_are_entries(tmp_path: Path) -> None:
    file = read_list(one(tmp_path, UN))
    entries = by_id(file)
    assert (file.name, file.published) == ("un-consolidated", date(2026, 11, 27))
    assert entries["6908555"].names == ("MOHAMMED NASIR AL-KHATIRI", "Muhammad al-Khateri")
    assert entries["6908555"].births == ("1950", "1951", "1951-06-19", "1952")
    assert (entries["110500"].names, entries["110500"].countries) == (("ZARYA FOUNDATION",), ("Somalia",))


def test_an_entrys_content_is_another_once_anything_of_it_is(tmp_path: Path) -> None:
    before = by_id(read_list(ofac(tmp_path)))
    after = by_id(read_list(ofac(tmp_path, alt=ALT.replace("KHATERI", "KHATEERI"))))
    assert before["1001"].content != after["1001"].content
    assert before["1004"].content == after["1004"].content


BROKEN_OFAC = [
    ({"sdn": SDN[:300]}, r"sdn.csv, line \d: .*"),
    ({"sdn": SDN.replace('"individual","SDGT', '"individual,"SDGT')}, r"sdn.csv, line 1: "),
    ({"sdn": SDN.replace("1002,", "1001,")}, "sdn.csv, line 2: entry 1001 stands there twice"),
    ({"sdn": SDN.replace("1002,", "x,")}, "sdn.csv, line 2: 'x' is no number"),
    ({"sdn": SDN.replace(',"IMO 9999999."', "")}, "sdn.csv, line 3: 11 columns, not 12"),
    ({"sdn": SDN.replace('"ZARYA NEFT TRADING LLC"', '"-0- "')}, "sdn.csv, line 2: SDN_Name is empty"),
    ({"sdn": SDN.replace("Basra", "Bas\0ra")}, "sdn.csv, line 1: holds NUL"),
    ({"alt": ALT + '4711,9,"aka","X","-0- "\n'.replace("\x1a", "")}, None),
    ({"alt": ALT.replace("1002,", "1009,")}, "alt.csv, line 2: entry 1009 is not in sdn.csv"),
    ({"add": ADD.replace("1004,", "1009,")}, "add.csv, line 2: entry 1009 is not in sdn.csv"),
    ({"add": ADD.replace(',"Russia","-0- "', "")}, "add.csv, line 2: 4 columns, not 6"),
    ({"sdn": "\x1a\n", "alt": "", "add": ""}, "holds no entry"),
    ({"sdn": "", "alt": "", "add": ""}, "holds no entry"),
]


@pytest.mark.parametrize(("changed", "why"), BROKEN_OFAC)
def test_a_broken_file_of_ofac_gives_nothing_and_names_its_line(
    tmp_path: Path, changed: dict[str, str], why: str | None
) -> None:
    files = ofac(tmp_path, **changed)
    if why is None:  # what stands behind the end of the file is not read
        assert len(read_list(files).entries) == 3
        return
    with pytest.raises(BadList, match=why):
        read_list(files)


def test_each_place_at_which_ofacs_main_file_is_cut_off_within_a_line_is_found(tmp_path: Path) -> None:
    """But for a cut at the end of a line, which the other two files tell where they name an entry that is gone."""
    whole = SDN.replace("\x1a\n", "")
    for cut in range(1, len(whole)):
        if whole[cut - 1] != "\n":
            with pytest.raises(BadList):
                read_list(ofac(tmp_path, sdn=whole[:cut]))


def test_ofacs_list_needs_all_three_files(tmp_path: Path) -> None:
    sdn, alt, _ = ofac(tmp_path)
    with pytest.raises(BadList, match=r"missing: add.csv"):
        read_list([sdn, alt])


def test_a_file_in_another_encoding_is_refused_by_line_and_byte(tmp_path: Path) -> None:
    for name, text in (
        ("latin", EU.replace("Zarya", "Zaryä").encode("latin-1", "replace")),
        ("wide", EU.encode("utf-16")),
    ):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(BadList, match=r"line \d"):
            read_list([tmp_path / name])


def test_a_line_without_end_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    """100 MB in one line: no more than a megabyte of it is held."""
    file = tmp_path / "long"
    with file.open("wb") as out:
        out.write(EU.encode() + b"28/11/2026;15;x;person;")
        out.truncate(100 * 1024 * 1024)  # zeros that take no space
    with pytest.raises(BadList, match=rf"line 7: longer than {LINE_MAX >> 20} MiB"):
        read_list([file])


BROKEN_EU = [
    (EU.replace("Entity_LogicalId", "Entity_Id"), "line 1: no list that is known"),
    (EU[:-20], r"line 6: "),
    (EU[:-3], "line 6: has no end, so the file is cut off"),
    (
        EU.replace(";13;EU.27.28;person;IRQ;;;;1951", ";;EU.27.28;person;IRQ;;;;1951"),
        "line 4: Entity_LogicalId is empty",
    ),
    (EU.replace('"Zarya ""Neft"" Trading"', '"Zarya ""Neft"" Trading'), r"line \d+: unexpected end of data"),
    (EU.replace(";RUSSIA", ";RUSSIA;more"), "line 6: 12 columns, not 11"),
    ("", "line 1: no list that is known"),
    ("a,b,c\n1,2,3\n", "line 1: no list that is known"),
]


@pytest.mark.parametrize(("text", "why"), BROKEN_EU)
def test_a_broken_file_of_the_eu_gives_nothing_and_names_its_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(BadList, match=why):
        read_list(one(tmp_path, text))


LAUGHS = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "lol">]><CONSOLIDATED_LIST>&x;</CONSOLIDATED_LIST>'
BROKEN_UN = [
    (UN[:800], r"line \d+: "),
    (UN.replace("</INDIVIDUAL>", ""), r"line \d+: mismatched tag"),
    (UN.replace("<DATAID>110500</DATAID>", "<DATAID>6908555</DATAID>"), "no DATAID of its own: '6908555'"),
    (UN.replace("<DATAID>110500</DATAID>", ""), "no DATAID of its own: 'ZARYA FOUNDATION'"),
    (UN.replace("<FIRST_NAME>ZARYA FOUNDATION</FIRST_NAME>", ""), "entry 110500 has no name"),
    (UN.replace("CONSOLIDATED_LIST", "LIST"), "the root is LIST"),
    (UN.replace("ZARYA", "Z" * 100_001), "FIRST_NAME has 1000"),
    (LAUGHS, "no DTD"),
    ("<", r"line 1: "),
]


@pytest.mark.parametrize(("text", "why"), BROKEN_UN)
def test_a_broken_file_of_the_un_gives_nothing_and_says_where(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(BadList, match=why):
        read_list(one(tmp_path, text))


def test_two_files_that_are_no_list_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadList, match="give the one file"):
        read_list([*one(tmp_path, EU, "a"), *one(tmp_path, UN, "b")])
