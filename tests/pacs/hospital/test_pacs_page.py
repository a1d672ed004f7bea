"""The page beside a real Orthanc: a study is searched and opened, and its report and picture are found by DICOMweb."""

import re

import pytest
from dicomweb_client.api import DICOMwebClient
from playwright.sync_api import expect

from dicom_objects import written
from films import ROOT, film, pictures
from pneumoscope.pacs.answers import read_report
from serving.conftest import browser, running  # noqa: F401
from serving.test_page_reading import opened

SECONDS = 60_000


@pytest.fixture
def service(orthanc, tmp_path):
    """The service with the detector that ships, beside Orthanc with two studies of a patient and one of another."""
    patient = {"PatientID": "P 1", "PatientName": "Müster^Anna", "SpecificCharacterSet": "ISO_IR 192"}
    dates = {1: "20230506", 2: "20240506"}
    for number, picture in enumerate(pictures(3), 1):
        known = patient | {"StudyDate": dates[number]} if number in dates else {}
        orthanc.upload(written(film(picture, number, computed=number == 1, **known)))
    settings = tmp_path / "node.toml"
    settings.write_text(f'[dicomweb]\nurl = "{orthanc.dicomweb_url}"\n')
    with running(node=settings, workers=1) as client:
        yield client


def test_a_study_is_searched_opened_and_answered(browser, service, orthanc):  # noqa: F811
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    with opened(context, service) as page:
        page.click("#open-pacs")
        for wanted in ({"patient_id": "P 1"}, {"patient_id": "", "patient_name": "müster a"}, {"since": "2023-01-01"}):
            for name, value in wanted.items():
                page.fill(f"#pacs-dialog [name={name}]", value)
            page.click("#pacs-dialog form.wanted button")
            expect(page.locator("#pacs-status")).to_have_text(re.compile("2 studies"), timeout=20_000)
        rows = page.locator(".studies tbody tr")
        expect(rows.first).to_contain_text(re.compile(r"May 6, 2024.*Müster, Anna.*P 1.*ACC2.*1", re.DOTALL))
        rows.first.locator("button").click()
        expect(page.locator(".stage .caption")).to_have_text(["ACC2 2024-05-06 DX AP", "ACC1 2023-05-06 CR AP"])
        expect(page.locator("#progress")).to_be_hidden(timeout=20_000)
        for _ in range(2):
            page.click("#send")
            page.locator("#send-dialog button[value=send]").click()
            expect(page.locator("#pacs-film")).to_contain_text(
                re.compile("Sent to the PACS|had them already"), timeout=SECONDS
            )
            page.evaluate(
                "async () => { const { allFilms, changed } = await import('/page/films.js'); for (const film of allFilms()) film.sent = null; changed(); }"
            )
            expect(page.locator("#send")).to_be_enabled()
        said = page.locator("#verdict .decision").inner_text()
    context.close()

    client = DICOMwebClient(orthanc.dicomweb_url)
    study = f"{ROOT}.1.2"
    series = client.search_for_series(study_instance_uid=study, fields=["Modality"])
    assert sorted(each["00080060"]["Value"][0] for each in series) == ["DX", "OT", "SR"]
    instances = client.search_for_instances(study_instance_uid=study)
    assert len(instances) == 3
    [report] = [each for each in client.retrieve_study(study) if each.Modality == "SR"]
    found = read_report(report)
    assert found["source"] == f"{ROOT}.3.2"
    assert {"answered": found["decision"], "outside": "refer", "no_answer": "rejected"}[found["status"]] == said
    assert len(client.search_for_series(study_instance_uid=f"{ROOT}.1.1")) == 1
