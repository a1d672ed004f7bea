"""Privacy of an audit: which columns of a table, words and dates may name a person, and what is shown of them."""

import re
from collections.abc import Sequence

# Words, or beginnings of words, in the names of columns that say who a person is.
_IDENTITY = frozenset({"name", "names", "surname", "mrn", "id", "ids", "identifier", "identity", "accession", "uid", "guid", "uuid", "dob",
                       "phone", "telephone", "telefon", "fax", "address", "adresse", "street", "strasse", "straße", "zip", "postcode",
                       "postal", "email", "mail", "insurance", "versicherung", "ssn", "nhs", "pid", "initials", "passport", "iban",
                       "patientid", "studyid", "caseid", "patientnumber", "casenumber", "hospitalnumber", "patnr", "fallnummer"})  # fmt: skip
_IDENTITY_PARTS = ("birth", "geburt")
_IDENTITY_ENDS = ("name", "birth", "mrn", "patientid", "instanceuid", "studyuid", "seriesuid")
# Things whose name or number says nothing of a patient, and people for whom that does not hold.
_THINGS = frozenset({"device", "station", "scanner", "machine", "model", "manufacturer", "detector", "protocol", "site", "ward", "department",
                     "hospital", "institution", "room"})  # fmt: skip
_PEOPLE = frozenset({"patient", "person", "subject", "physician", "doctor", "radiologist", "reader", "operator", "technologist", "technician",
                     "mother", "father", "parent", "nurse"})  # fmt: skip
_MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mär|mai|okt|dez)[a-zä]*\.?"
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"((?:18|19|20|21)\d\d)"
_TIME = r"(?:[T ]+\d{1,2}:\d\d\S*)?"
_DATES = [
    re.compile(rf"(?<!\d){pattern}{_TIME}(?!\d)", re.IGNORECASE)
    for pattern in (
        rf"{_YEAR}[-/._]{_MONTH}(?:[-/._]{_DAY})?",
        rf"{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{{4}}(?:\d\d)?)?",
        rf"(?:{_DAY}[-/. ]+)?{_DAY}[-/. ]+{_YEAR}",
        rf"(?:{_DAY}[-/. ]+)?{_MONTHS}[-/, ]*(?:{_DAY}(?:st|nd|rd|th)?[-/., ]+)?{_YEAR}",
        rf"{_DAY}[-/.]{_DAY}[-/.](\d\d)",
    )
]
# A column with more different words, or one of more characters or parts, is free text.
MANY_WORDS, _LONGEST, _MOST_PARTS = 12, 24, 3
# Patients of a word that is shown; images, where patients are not known.
FEWEST_PATIENTS, FEWEST_IMAGES = 5, 10
# Words of the names of manufacturers.
_VENDORS = frozenset({"agfa", "gevaert", "canon", "carestream", "drgem", "dms", "fuji", "fujifilm", "photo", "film", "ge", "general", "electric",
                      "gmm", "hologic", "idc", "kodak", "eastman", "konica", "minolta", "lodox", "lumenis", "mindray", "philips", "samsung",
                      "shimadzu", "siemens", "healthineers", "swissray", "toshiba", "trixell", "vieworks", "villa", "varian", "varex", "rayence",
                      "imaging", "dynamics", "medical", "systems", "system", "healthcare", "health", "care", "corporation", "corp", "inc", "co",
                      "ltd", "llc", "gmbh", "ag", "nv", "kg", "company", "electronics", "x", "ray", "and", "of"})  # fmt: skip


def may_identify(column: str) -> bool:
    """Whether a table's column, by the words of its name, may say who a person is."""
    words = _words(column) | {column.lower()}
    found = any(
        word in _IDENTITY or word.endswith(_IDENTITY_ENDS) or word.startswith(_IDENTITY_PARTS) for word in words
    )
    return found and (bool(words & _PEOPLE) or not words & _THINGS)


def is_of_people(column: str) -> bool:
    """Whether a table's column, by the words of its name, names people, such as readers."""
    return bool(_words(column) & _PEOPLE)


def without_dates(cell: str) -> str:
    """Cell of a table with the year in place of each date."""
    for pattern in _DATES:
        cell = pattern.sub(lambda found: found[1], cell)
    return cell


def are_plain(words: Sequence[str], frequent: bool) -> bool:
    """Whether the different words of a column may be shown: few, short, and, as `frequent` says, each of many patients."""
    short = all(len(word) <= _LONGEST and len(word.split()) <= _MOST_PARTS for word in words)
    return frequent and short and len(words) <= MANY_WORDS


def is_vendor(manufacturer: str) -> bool:
    """Whether the name of a manufacturer has the words of known ones alone."""
    words = _words(manufacturer)
    return bool(words) and words <= _VENDORS


def _words(name: str) -> set[str]:
    """Words of a name, lower case: `PatientName`, `patient_name` and `Patient name` have two."""
    parted = re.sub(r"(?<=[a-zäöü])(?=[A-ZÄÖÜ])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d])(?=\d)", " ", name)
    return {word.lower() for word in re.split(r"[\W_]+", parted) if word}
