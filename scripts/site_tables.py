"""Hook of mkdocs: short cells of tables, such as an estimate with its interval, stay on one line of the site."""

import re
from typing import Any

_SHORT_CELL = re.compile(r"<td>(?=[^<]{1,24}</td>)")


def on_page_content(html: str, **_: Any) -> str:
    """Mark short cells, which docs/assets/site.css keeps whole."""
    return _SHORT_CELL.sub('<td class="short">', html)
