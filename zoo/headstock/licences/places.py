"""Where an operator can be established: countries by ISO 3166-1 alpha-2 code, and the European Union."""

from __future__ import annotations

from headstock.errors import InvalidInput

_MEMBERS = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA
CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA
GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS
MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS
RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW
TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""

EU = frozenset(_MEMBERS.split())
"""Member states."""

COUNTRIES = frozenset(_CODES.split())
"""Every code."""

_MEANT = {
    "EEA": "EU where you are in a member state, else the code of your country: NO, IS, LI",
    "EL": "GR",
    "EUROPE": "EU where you are in a member state, else the code of your country",
    "UK": "GB",
    "USA": "US",
}


def territory(text: str) -> str:
    """`DE` for `de`; empty for nothing. Raises `InvalidInput` for what is neither a country's code nor `EU`."""
    code = text.strip().upper()
    if not code or code == "EU" or code in COUNTRIES:
        return code
    raise InvalidInput(
        f"territory is {text!r}; expected a country as ISO 3166-1 alpha-2 code (DE, US...) or EU",
        fix=_MEANT.get(code, 'territory = "DE", or --territory DE'),
    )


def within(place: str, area: str) -> bool | None:
    """Whether whoever is established in `place` is established in `area`; None if that is not known."""
    if not place or (place == "EU" and area in EU):
        return None
    return place == area or (area == "EU" and place in EU)
