"""The PACS of the tests itself."""

from pydicom import dcmread

from orthanc import storescu
from radiographs import radiograph, write_dicom

IDENTITY = {
    "PatientID": "1",
    "PatientName": "Test^One",
    "StudyInstanceUID": "1.2.3.1",
    "SeriesInstanceUID": "1.2.3.1.1",
    "Modality": "DX",
    "BodyPartExamined": "CHEST",
}


def test_image_that_storescu_sends_is_found_by_qido_and_survives_a_stop(orthanc, tmp_path):
    film = tmp_path / "film.dcm"
    write_dicom(film, radiograph("normal", 14), **IDENTITY)
    sent = storescu(film, port=orthanc.dicom_port)
    assert sent.returncode == 0, sent.stderr
    [found] = orthanc.qido("studies/1.2.3.1/instances")
    assert (found["Modality"], found["SOPInstanceUID"]) == ("DX", "1.2.3")
    orthanc.stop()
    assert storescu(film, port=orthanc.dicom_port).returncode != 0
    orthanc.start()
    [instance] = orthanc.instances(PatientID="1")
    (tmp_path / "back.dcm").write_bytes(orthanc.file(instance["ID"]))
    assert dcmread(tmp_path / "back.dcm").PixelData == dcmread(film).PixelData
    assert orthanc.picture(instance["ID"]).startswith(b"\x89PNG")
    assert not orthanc.qido("series", Modality="SR")
