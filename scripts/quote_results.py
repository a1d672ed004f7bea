"""Write what `results/` says into README and docs, between their markers, and the command-line reference.

.venv/bin/python scripts/quote_results.py [--check]

With --check nothing is written, and a stale page is an error; a test runs it, so that every page says what a file says.
"""

import sys

from quoting.pages import rendered_pages
from quoting.results import ROOT


def main() -> None:
    pages = rendered_pages()
    stale = [page for page, text in pages.items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        if stale:
            names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
            sys.exit(
                f"error: expected pages that quote results/, found stale ones: {names}: run scripts/quote_results.py"
            )
        return
    for page in stale:
        page.write_text(pages[page], encoding="utf-8")
        print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
