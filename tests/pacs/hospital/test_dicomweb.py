"""DICOMweb against Orthanc: search, retrieval, storing and polling; dicomweb-client reads the same."""

import time
from datetime import date, timedelta

import pytest
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, RLELossless

from orthanc import storescu
from pneumoscope.errors import DataError, StorageError
from pneumoscope.pacs.dicomweb import DicomWeb, DicomWebSettings, Instance, Poller, StoreResult
from radiographs import radiograph, write_dicom

TODAY, YESTERDAY, LONG_AGO = (f"{date.today() - timedelta(days=days):%Y%m%d}" for days in (0, 1, 30))


@pytest.fixture
def web(orthanc):
    with DicomWeb(DicomWebSettings(orthanc.dicomweb_url)) as client:
        yield client


def write_film(folder, number, **elements):
    """File of the instance 1.2.3.NUMBER.1.1 in a study of its own."""
    path = folder / f"{number}.dcm"
    identity = {
        "PatientID": str(number),
        "PatientName": f"Test^Number {number}",
        "StudyInstanceUID": f"1.2.3.{number}",
        "SeriesInstanceUID": f"1.2.3.{number}.1",
        "SOPInstanceUID": f"1.2.3.{number}.1.1",
        "StudyDate": TODAY,
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "Manufacturer": "Acme",
    }
    write_dicom(path, radiograph("normal", 14, 64), **(identity | elements))
    return path


def instance(number):
    return Instance(f"1.2.3.{number}", f"1.2.3.{number}.1", f"1.2.3.{number}.1.1")


def test_images_that_storescu_sent_are_found_by_modality_body_part_and_day(orthanc, web, tmp_path):
    films = [
        write_film(tmp_path, 1),
        write_film(tmp_path, 2, Modality="CR", StudyDate=YESTERDAY),
        write_film(tmp_path, 3, StudyDate=LONG_AGO),
        write_film(tmp_path, 4, BodyPartExamined="LEFT HAND"),
        write_film(tmp_path, 5, Modality="OT"),
        write_film(tmp_path, 6, Manufacturer="The pneumoscope maintainers"),
    ]
    sent = storescu(*films, port=orthanc.dicom_port)
    assert sent.returncode == 0, sent.stderr
    assert set(web.find()) == {instance(number) for number in (1, 2, 4)}
    chest = DicomWebSettings(orthanc.dicomweb_url, body_part=("CHEST",), days=60)
    with DicomWeb(chest) as other:
        assert set(other.find()) == {instance(number) for number in (1, 2, 3)}
    with DicomWeb(DicomWebSettings(orthanc.dicomweb_url, body_part=("LEFT HAND",))) as other:
        assert set(other.find()) == {instance(4)}
    web.ping()


def test_search_goes_through_all_pages_and_finds_what_dicomweb_client_finds(orthanc, web, tmp_path, monkeypatch):
    monkeypatch.setattr("pneumoscope.pacs.dicomweb._PAGE", 7)
    for number in range(20):
        orthanc.upload(write_film(tmp_path, number).read_bytes())
    found = {record["SOPInstanceUID"]: record for record in web.search("instances", {"StudyDate": f"{YESTERDAY}-"})}
    reference = DICOMwebClient(orthanc.dicomweb_url).search_for_instances(search_filters={"StudyDate": f"{YESTERDAY}-"})
    assert set(found) == {record["00080018"]["Value"][0] for record in reference}
    assert len(found) == 20
    [patient] = web.search("studies", {"PatientName": "*Number?7"}, ["BodyPartExamined"])
    assert (patient["PatientID"], patient["ModalitiesInStudy"], patient["BodyPartExamined"]) == ("7", "DX", "CHEST")
    assert len(list(web.search("series", {"Modality": "DX"}, most=3))) == 3


def test_instance_comes_as_orthanc_has_it_in_every_transfer_syntax(orthanc, web, tmp_path):
    for number, syntax in enumerate((None, RLELossless, JPEG2000Lossless), start=1):
        film = write_film(tmp_path, number)
        if syntax:
            dataset = dcmread(film)
            if syntax == JPEG2000Lossless:
                _compress_to_jpeg_2000(dataset)
            else:
                dataset.compress(syntax, generate_instance_uid=False)
            dataset.save_as(film)
        orthanc.upload(film.read_bytes())
        assert web.retrieve(instance(number)) == film.read_bytes()
    with pytest.raises(DataError, match=r"found status 404"):
        web.retrieve(instance(9))


def _compress_to_jpeg_2000(dataset):
    import imagecodecs
    from pydicom.encaps import encapsulate

    dataset.PixelData = encapsulate([imagecodecs.jpeg2k_encode(dataset.pixel_array, codecformat="j2k", level=0)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless


def test_what_is_stored_is_there_once_however_often(orthanc, web, tmp_path):
    films = [write_film(tmp_path, 1), write_film(tmp_path, 2)]
    for _ in range(2):
        assert web.store(films) == [StoreResult(f"1.2.3.{number}.1.1", True) for number in (1, 2)]
    assert len(orthanc.instances()) == 2
    back = DICOMwebClient(orthanc.dicomweb_url).retrieve_instance("1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.1")
    assert back.PixelData == dcmread(films[0]).PixelData
    # Whose study nobody can tell is refused by Orthanc, which takes the other.
    write_dicom(tmp_path / "nobody.dcm", radiograph("normal", 14, 64))
    refused, stored = web.store([tmp_path / "nobody.dcm", write_film(tmp_path, 3)])
    assert refused == StoreResult("1.2.3", False, "0xC000 (the object cannot be understood)")
    assert stored == StoreResult("1.2.3.3.1.1", True)


def test_poller_takes_each_image_once_while_orthanc_comes_and_goes(orthanc, tmp_path):
    taken = {}

    def take(content):
        path = tmp_path / f"taken-{len(taken)}.dcm"
        path.write_bytes(content)
        dataset = dcmread(path)
        assert dataset.SOPInstanceUID not in taken
        taken[dataset.SOPInstanceUID] = dataset.PixelData
        return ""

    films = [write_film(tmp_path, number) for number in range(12)]
    answer = write_film(tmp_path, 12, Manufacturer="The pneumoscope maintainers")
    client = DicomWeb(DicomWebSettings(orthanc.dicomweb_url, every_seconds=0.05))
    poller = Poller(client, taken.__contains__, take)
    poller.start()
    storescu(*films[:6], port=orthanc.dicom_port)
    _until(lambda: len(taken) == 6)
    orthanc.stop()
    _until(lambda: poller.failures)
    assert "Connection refused" in poller.error
    orthanc.start()
    storescu(*films[6:], answer, port=orthanc.dicom_port)
    _until(lambda: len(taken) == 12)
    _until(lambda: not poller.error)
    orthanc.kill()
    _until(lambda: poller.failures)
    assert poller.stop()
    assert taken == {f"1.2.3.{number}.1.1": dcmread(film).PixelData for number, film in enumerate(films)}


def test_orthanc_that_is_down_is_an_error_that_passes(orthanc, web, tmp_path):
    orthanc.stop()
    with pytest.raises(StorageError, match=r"Connection refused"):
        web.store([write_film(tmp_path, 1)])
    orthanc.start()
    assert web.store([write_film(tmp_path, 1)])[0].stored


def _until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
