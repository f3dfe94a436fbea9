"""Excerpts of list files in their authorities' formats, with invented people."""

# ruff: noqa: E501 (the formats have long lines)

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from topics.runtime.shape.consumer import AnyConsumer
from topics.runtime.shape.store import Store
from topics.settings import Settings

SDN = """\
1001,"AL-KHATIRI, Mohammed Nasir","individual","SDGT] [IRAQ2","-0- ","-0- ","-0- ","-0- ","-0- ","-0- ","-0- ","DOB 19 Jun 1951; POB Basra; nationality Iraq; Passport H1."
1002,"ZARYA NEFT TRADING LLC","-0- ","UKRAINE-EO13661","-0- ","-0- ","-0- ","-0- ","-0- ","-0- ","-0- ","-0- "
1003,"OCEAN PEARL","vessel","DPRK","-0- ","H9XX","Tanker","-0- ","-0- ","Panama","-0- ","IMO 9999999."
1004,"PETROVSKY, Sergei Ivanovich","individual","RUSSIA-EO14024","Director","-0- ","-0- ","-0- ","-0- ","-0- ","-0- ","DOB 1960 to 1962; alt. DOB circa 1970."
\x1a
"""
ALT = """\
1001,501,"aka","AL KHATERI, Muhammad","-0- "
1002,502,"fka","ZARYA OIL","-0- "
1003,503,"aka","PEARL OF THE OCEAN","-0- "
\x1a
"""
ADD = """\
1001,901,"-0- ","Basra","Iraq","-0- "
1004,902,"1 Main St","Moscow 101000","Russia","-0- "
\x1a
"""
EU = """\
\ufefffileGenerationDate;Entity_LogicalId;Entity_EU_ReferenceNumber;Entity_SubjectType;Entity_Regulation_Programme;NameAlias_LastName;NameAlias_FirstName;NameAlias_WholeName;BirthDate_BirthDate;BirthDate_Year;Address_CountryDescription
28/11/2026;13;EU.27.28;person;IRQ;Al-Khatiri;Mohammed;Mohammed Nasir Al-Khatiri;;;
28/11/2026;13;EU.27.28;person;IRQ;;;محمد;;;
28/11/2026;13;EU.27.28;person;IRQ;;;;1951-06-19;1951;
28/11/2026;13;EU.27.28;person;IRQ;;;;;;IRAQ
28/11/2026;14;EU.27.29;enterprise;RUS;;;"Zarya ""Neft"" Trading";;;RUSSIA
"""
UN = """\
<?xml version="1.0" encoding="utf-8"?>
<CONSOLIDATED_LIST dateGenerated="2026-11-27T10:00:00Z">
  <INDIVIDUALS>
    <INDIVIDUAL>
      <DATAID>6908555</DATAID>
      <FIRST_NAME>MOHAMMED</FIRST_NAME><SECOND_NAME>NASIR</SECOND_NAME><THIRD_NAME>AL-KHATIRI</THIRD_NAME>
      <UN_LIST_TYPE>Al-Qaida</UN_LIST_TYPE>
      <NATIONALITY><VALUE>Iraq</VALUE></NATIONALITY>
      <INDIVIDUAL_ALIAS><QUALITY>Good</QUALITY><ALIAS_NAME>Muhammad al-Khateri</ALIAS_NAME></INDIVIDUAL_ALIAS>
      <INDIVIDUAL_ALIAS><QUALITY/><ALIAS_NAME/></INDIVIDUAL_ALIAS>
      <INDIVIDUAL_DATE_OF_BIRTH><TYPE_OF_DATE>EXACT</TYPE_OF_DATE><DATE>1951-06-19</DATE></INDIVIDUAL_DATE_OF_BIRTH>
      <INDIVIDUAL_DATE_OF_BIRTH><TYPE_OF_DATE>BETWEEN</TYPE_OF_DATE><FROM_YEAR>1950</FROM_YEAR><TO_YEAR>1952</TO_YEAR></INDIVIDUAL_DATE_OF_BIRTH>
    </INDIVIDUAL>
  </INDIVIDUALS>
  <ENTITIES>
    <ENTITY>
      <DATAID>110500</DATAID>
      <FIRST_NAME>ZARYA FOUNDATION</FIRST_NAME>
      <UN_LIST_TYPE>Al-Qaida</UN_LIST_TYPE>
      <ENTITY_ADDRESS><COUNTRY>Somalia</COUNTRY></ENTITY_ADDRESS>
    </ENTITY>
  </ENTITIES>
</CONSOLIDATED_LIST>
"""


def ofac(folder: Path, sdn: str = SDN, alt: str = ALT, add: str = ADD) -> list[Path]:
    """→ the three files."""
    files = [folder / name for name in ("sdn.csv", "alt.csv", "add.csv")]
    for file, text in zip(files, (sdn, alt, add), strict=True):
        file.write_text(text)
    return files


def one(folder: Path, text: str, name: str = "list") -> list[Path]:
    file = folder / name
    file.write_text(text)
    return [file]


def screen_known(settings: Settings, risk: AnyConsumer, now: datetime | None = None) -> int:
    """→ how many known parties a whole round of upkeep screened."""
    assert risk.sum_up is not None
    store, done = Store(settings, risk.name), 0
    try:
        while True:
            with store.transaction() as conn:
                screened = risk.sum_up(conn, settings.retention, now or datetime.now(UTC))
            if not screened:
                return done
            done += screened
    finally:
        store.close()
