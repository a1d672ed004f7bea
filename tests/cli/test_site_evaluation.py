"""The acceptance test of a site: `evaluate --bundle --data` on images labelled normal or pneumonia."""

import csv
import json

import pytest


@pytest.fixture
def site(phantoms, tmp_path):
    """Table of 36 phantom images with age, sex and view, none of them test images, and one file that is no image."""
    files = sorted((phantoms / "train").rglob("*.jpeg"))
    chosen = [f for f in files if "NORMAL" in f.parts][:18] + [f for f in files if "PNEUMONIA" in f.parts][:18]
    (tmp_path / "bad.jpeg").write_bytes(b"no image")
    with (tmp_path / "site.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "class", "patient", "age", "sex", "view"])
        for number, file in enumerate(chosen):
            label = "normal" if "NORMAL" in file.parts else "pneumonia"
            age = ["3", "4.5", "70", ""][number % 4]
            writer.writerow([file, label, f"p{number // 2}", age, "FM"[number % 2], ["AP", "PA"][number // 2 % 2]])
        writer.writerow(["bad.jpeg", "normal", "q", "3", "F", "AP"])
    return tmp_path / "site.csv"


def test_every_image_of_a_site_is_counted_as_predicted(pneumoscope, site, phantom_bundle):
    code, out, err = pneumoscope("evaluate", "--bundle", phantom_bundle, "--data", site, "--json")
    assert code == 0, err
    report = json.loads(out)
    code, out, _ = pneumoscope("predict", site, "--bundle", phantom_bundle, "--json")
    predictions = [json.loads(line) for line in out.splitlines()]
    assert code == 3
    assert len(predictions) == 37
    flow = report["acceptance"]["flow"]
    for decision in ("normal", "pneumonia", "refer", "rejected"):
        counted = flow["normal"][decision] + flow["pneumonia"][decision]
        assert counted == sum(p["decision"] == decision for p in predictions)
    assert flow["normal"]["rejected"] == 1
    assert report["acceptance"]["reasons"]["unreadable"] == 1
    assert report["films"] == 36
    assert report["confusion_matrix"]["classes"] == ["normal", "pneumonia"]
    assert report["decisions"]["conformal"] == {}
    groups = {(each["by"], each["group"]): each["images"] for each in report["acceptance"]["groups"]}
    assert groups[("view", "AP")] + groups[("view", "PA")] == 37
    assert groups[("age", "1 to 5 years")] == 19
    assert ("age", "65 years and older") not in groups  # nine images
    assert report["provenance"]["bundle"]


def test_a_requirement_decides_the_exit_code(pneumoscope, site, phantom_bundle):
    words = ("evaluate", "--bundle", phantom_bundle, "--data", site, "--out", "report")
    code, out, err = pneumoscope(*words, "--require", "answered=0.01")
    assert code == 0
    assert "met: answered" in err
    for heading in ("near threshold", "outside population", "view", "required"):
        assert heading in out
    code, _, err = pneumoscope(*words, "--require", "sensitivity_of_all=1", "--require", "specificity_of_all=1")
    assert code == 4
    assert "not met: " in err
    code, _, err = pneumoscope(*words, "--require", "precision=1")
    assert code == 1
    assert "expected a requirement such as sensitivity=0.95" in err


def test_images_of_one_class_are_refused_in_one_line(pneumoscope, site, phantom_bundle):
    rows = site.read_text().splitlines()
    site.write_text("\n".join([rows[0], *(row for row in rows if ",normal," in row)]) + "\n")
    code, _, err = pneumoscope("evaluate", "--bundle", phantom_bundle, "--data", site)
    assert code == 1
    assert "expected images of both classes" in err
    assert not (site.parent / "evaluation").exists()


def test_a_table_away_from_its_images_is_refused_in_one_line(pneumoscope, phantom_bundle, tmp_path):
    away = tmp_path / "downloads" / "labels.csv"
    away.parent.mkdir()
    away.write_text("path,class\na/1.png,normal\na/2.png,pneumonia\n")
    code, _, err = pneumoscope("evaluate", "--bundle", phantom_bundle, "--data", away)
    assert code == 1
    assert "put the table into the folder of the images" in err


def test_a_run_takes_no_requirements(pneumoscope, tmp_path):
    code, _, err = pneumoscope("evaluate", tmp_path, "--require", "auc=0.9")
    assert code == 1
    assert "leave one out" in err


def test_where_nobody_gets_a_decision_the_requirement_is_not_met(pneumoscope, site, drawn_radiographs):
    """Phantoms are outside of the population of `nano`."""
    words = ("evaluate", "--bundle", "nano", "--data", site, "--require", "sensitivity=0.5")
    code, _, err = pneumoscope(*words)
    assert code == 4
    assert "not met: sensitivity" in err
    code, out, err = pneumoscope(*words, "--accept", "outside_population", "--json")
    assert "warning: outside_population" in err
    report = json.loads(out)
    assert report["acceptance"]["accept"] == ["outside_population"]
    assert report["acceptance"]["flow"]["normal"]["outside"] == 0


@pytest.mark.parametrize(
    ("text", "years"),
    [("3", 3), ("003Y", 3), ("18m", 1.5), ("4,5", 4.5), ("nan", None), ("-1", None), ("x", None), ("", None)],
)
def test_ages_of_tables_are_read_as_people_write_them(text, years):
    from pneumoscope.data.ages import age_in_years

    assert age_in_years(text) == years


def test_ages_are_whole_on_birthdays():
    from datetime import date

    from pneumoscope.data.ages import age_on

    assert age_on(date(2013, 3, 1), date(2019, 3, 1)) == 6
    assert 5.99 < age_on(date(2013, 3, 1), date(2019, 2, 28)) < 6
    assert age_on(date(2012, 2, 29), date(2013, 3, 1)) == 1
    assert age_on(date(2013, 3, 1), date(2013, 2, 1)) is None


def test_a_table_with_names_of_its_own_is_audited_evaluated_and_adapted_to(pneumoscope, site, phantom_bundle):
    """What a hospital physicist types, whose table has other names, semicolons and a third class."""
    rows = list(csv.DictReader(site.read_text().splitlines()))[:36]
    names = {"normal": "o. B.", "pneumonia": "Infiltrat"}
    lines = [f"{row['path']};{names[row['class']]};F{row['patient']}" for row in rows]
    table = site.with_name("ours.csv")
    table.write_text("\n".join(["Bild;Befund;Fall", *lines, f"{rows[0]['path']};Erguss;F99"]) + "\n")
    for words in (("data", "audit"), ("evaluate", "--bundle", phantom_bundle)):
        code, _, err = pneumoscope(*words, "--data", table)
        assert code == 1
        assert "error: expected the columns path and class" in err
    named = ("--data", table, "--path-column", "Bild", "--class-column", "Befund", "--patient-column", "Fall")
    mapped = (*named, "--class-map", "o. B.=normal,Infiltrat=pneumonia")
    code, _, err = pneumoscope("data", "audit", *named)  # one image has two classes
    assert "classes Erguss (1), Infiltrat (18), o. B. (18)" in err
    assert (code, "expected one label for one film, found 1 byte-identical group with two" in err) == (1, True)
    taken = "path from Bild, class from Befund, patient from Fall; infiltrat is pneumonia (18), o. b. is normal (18); left out: erguss (1)"
    for words in (("data", "audit"), ("evaluate", "--bundle", phantom_bundle, "--json")):
        code, out, err = pneumoscope(*words, *mapped)
        assert code == 0, err
        assert f"ours.csv: columns {taken}" in err
    assert json.loads(out)["films"] == 36
    own = (*named, "--class-map", "o. B.=clear,Infiltrat=infiltrate", "--positive", "infiltrate")
    code, out, err = pneumoscope("adapt", *own, "--bundle", phantom_bundle, "--out", "ours.zip", "--workers", "1")
    assert "clear" in err
    assert code in (0, 1), err
    code, _, err = pneumoscope("data", "audit", "--data", table, "--class-map", "o. B.")
    assert (code, "expected a class map NAME=CLASS,NAME=CLASS, found o. B." in err) == (1, True)
