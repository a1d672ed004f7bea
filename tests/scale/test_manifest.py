import pyarrow as arrow
import pytest
from pyarrow import parquet

from pneumoscope.errors import DataError, StorageError
from pneumoscope.scale.images import ImageReader
from pneumoscope.scale.manifest import open_manifest
from pneumoscope.scale.storage import StoragePath
from pneumoscope.types import NamedImage, UnreadImage


def walked(address):
    walk = open_manifest(str(address))
    first = list(walk())
    assert list(walk()) == first
    return first


@pytest.fixture
def memory():
    """A store in memory, behind a protocol as any other."""
    import fsspec

    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_folders_give_images_and_archives(tmp_path):
    for name in ("b.jpeg", "a/2.png", "a/1.dcm", "a/notes.txt", ".hidden.png", "c.tar", "d.TGZ"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [address[len(str(tmp_path)) + 1 :] for address in walked(tmp_path)] == [
        *("a/1.dcm", "a/2.png", "b.jpeg", "c.tar", "d.TGZ")
    ]
    assert walked(tmp_path / "*.tar") == [str(tmp_path / "c.tar")]
    assert walked(tmp_path / "c.tar") == [str(tmp_path / "c.tar")]


def test_a_folder_in_a_store_gives_the_same(memory):
    for name in ("b.jpeg", "a/2.png", "a/1.dcm", "a/notes.txt", ".hidden.png", "c.tar"):
        memory.pipe_file(f"/films/{name}", b"")
    assert walked("memory://films") == [f"memory:///films/{name}" for name in ("b.jpeg", "c.tar", "a/1.dcm", "a/2.png")]
    assert walked("memory://films/*.tar") == ["memory:///films/c.tar"]
    assert walked("memory://films/c.tar") == ["memory://films/c.tar"]
    with pytest.raises(DataError, match="expected a folder, a table, a tar archive or a pattern"):
        open_manifest("memory://none")


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_tables_name_paths_addresses_and_archives(tmp_path, memory, ending):
    names = ["a.jpeg", "/films/b.png", "s3://films/c.dcm", "x/d.tar"]
    file = tmp_path / f"films.{ending}"
    if ending == "parquet":
        parquet.write_table(arrow.table({"other": [1] * 4, "image": names}), file)
    else:
        tab = "\t" if ending == "tsv" else ","
        file.write_text(f"other{tab}image\n" + "".join(f"1{tab}{name}\n" for name in [*names, ""]))
    here = str(tmp_path)
    assert walked(file) == [f"{here}/a.jpeg", "/films/b.png", "s3://films/c.dcm", f"{here}/x/d.tar"]
    memory.pipe_file(f"/lists/films.{ending}", file.read_bytes())
    assert walked(f"memory://lists/films.{ending}") == [
        *("memory://lists/a.jpeg", "/films/b.png", "s3://films/c.dcm", "memory://lists/x/d.tar")
    ]


def test_a_table_without_a_column_for_files_is_told(tmp_path, memory):
    (tmp_path / "films.csv").write_text("name\na.jpeg\n")
    memory.pipe_file("/films.csv", b"name\na.jpeg\n")
    for address in (str(tmp_path / "films.csv"), "memory://films.csv"):
        with pytest.raises(DataError, match="expected a column path"):
            open_manifest(address)


def read(*addresses):
    with ImageReader() as reader:
        return list(reader.images(map(str, addresses)))


def test_archives_give_their_images(tarred, archive):
    image = (archive / "000.jpeg").read_bytes()
    dicom = b"\0" * 128 + b"DICM and more"
    members = {
        "a/1.jpeg": image,
        "a/1.json": b"{}",
        "b/.hidden.png": image,
        "b/2.PNG": b"",
        "1.2.3": dicom,
        "4": b"text",
    }
    for name in ("films.tar", "films.tgz"):
        file = tarred(name, members)
        assert read(file) == [
            NamedImage(f"{file}#a/1.jpeg", image),
            NamedImage(f"{file}#b/2.PNG", b""),
            NamedImage(f"{file}#1.2.3", dicom),
        ]


def test_a_damaged_archive_gives_what_comes_before_the_damage(tarred, archive, tmp_path):
    image = (archive / "000.jpeg").read_bytes()
    whole = tarred("films.tar", {"1.jpeg": image, "2.jpeg": image})
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[: 1024 + len(image)])
    first, second = read(cut)
    assert first == NamedImage(f"{cut}#1.jpeg", image)
    assert isinstance(second, UnreadImage)
    assert "a damaged archive" in second.cause
    cut.write_bytes(b"no archive at all, but long enough to hold a header" * 40)
    (only,) = read(cut)
    assert isinstance(only, UnreadImage)
    with pytest.raises(StorageError, match="expected a file at"):
        read(tmp_path / "gone.tar")


def test_images_arrive_in_the_order_of_their_addresses(memory, tarred):
    for number in range(40):
        memory.pipe_file(f"/films/{number}.jpeg", bytes([number]))
    addresses = [f"memory://films/{number}.jpeg" for number in range(40)]
    shard = tarred("shard.tar", {"x.jpeg": b"x"})
    addresses[20:20] = ["/somewhere/else.jpeg", str(shard), "memory://films/none.jpeg"]
    found = read(*addresses)
    assert [image.content[0] for image in found if isinstance(image, NamedImage) and "#" not in image.name] == list(
        range(40)
    )
    assert found[20:23] == [
        "/somewhere/else.jpeg",
        NamedImage(f"{shard}#x.jpeg", b"x"),
        UnreadImage("memory://films/none.jpeg", "no such file"),
    ]


def test_what_is_written_elsewhere_is_there_whole(memory):
    path = StoragePath("memory://out") / "a" / "b.json"
    assert not path.exists()
    path.write(b"{}")
    assert path.read() == b"{}"
    assert path.read(1) == b"{"
    assert (StoragePath("memory://out") / "a").names() == ["b.json"]
    assert StoragePath("memory://out/none").names() == []
    assert path.parent == StoragePath("memory://out/a")


def test_where_objects_are_not_atomic_they_are_moved_to_their_names(tmp_path):
    """As over sftp or hdfs: what is half written has another name."""
    path = StoragePath(f"file://{tmp_path}/x/b.json")
    path.write(b"{}")
    assert [file.name for file in (tmp_path / "x").iterdir()] == ["b.json"]
    assert path.read() == b"{}"
