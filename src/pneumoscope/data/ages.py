"""Ages of patients, as tables and DICOM objects write them."""

import math
import re
from datetime import date

# Age String (PS3.5, section 6.2), its zeros optional, and how many of each unit a year has.
_AGE_STRING = re.compile(r"(\d{1,3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
_OLDEST = 150


def age_in_years(text: str) -> float | None:
    """Age in years from a number of years or an age string such as 004Y or 18M; None where it is neither."""
    if stated := _AGE_STRING.fullmatch(text.strip().upper()):
        return int(stated[1]) / _PER_YEAR[stated[2]]
    try:
        years = float(text.replace(",", "."))
    except ValueError:
        return None
    return years if math.isfinite(years) and 0 <= years <= _OLDEST else None


def age_on(born: date, day: date) -> float | None:
    """Age in years on a day, whole on birthdays; None before the birth."""
    if day < born:
        return None
    years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    last = _birthday(born, born.year + years)
    return years + (day - last).days / (_birthday(born, born.year + years + 1) - last).days


def _birthday(born: date, year: int) -> date:
    """Birthday in a year; the first of March for the 29th of February of a common year."""
    try:
        return born.replace(year=year)
    except ValueError:
        return date(year, 3, 1)
