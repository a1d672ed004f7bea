import html
import re

from pneumoscope.reporting.page import Section, write_page


def page(tmp_path, *sections):
    write_page(tmp_path / "page.html", "Title", "AUC 0.981 (0.971-0.988)", sections, synthetic=False)
    return (tmp_path / "page.html").read_text()


def test_intervals_and_units_stay_on_one_line(tmp_path):
    text = "With AUC 0.2 (-0.1 to 0.4), 3 % of 339 images of 512 x 512 in IM-0001-0001.jpeg, 5.0 % (2.6-13.2)."
    written = page(tmp_path, Section("Section", text=[text]))
    assert re.findall(r'<span class="figure">(.*?)</span>', written) == [
        "(0.971-0.988)", "(-0.1 to 0.4)", "3 %", "512 x 512", "5.0 %", "(2.6-13.2)",
    ]  # fmt: skip
    assert text in html.unescape(re.sub(r"</?span[^>]*>", "", written))


def test_backticks_become_code_and_all_else_is_escaped(tmp_path):
    written = page(tmp_path, Section("Section", header=["a"], rows=[["see `pneumoscope stress`, not <b>`<i>`</b>"]]))
    assert "<code>pneumoscope stress</code>" in written
    assert "<code>&lt;i&gt;</code>" in written
    assert "<b>" not in written


def test_a_long_cell_is_text_and_one_of_figures_is_not(tmp_path):
    written = page(tmp_path, Section("Section", header=["a", "b"], rows=[[50 * "w", "0.1 (0.0-0.2)"]]))
    assert f'<td class="text">{50 * "w"}</td><td class="figure">' in written
