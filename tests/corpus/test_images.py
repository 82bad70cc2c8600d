"""Is each file seen as a person would see it, or named?  And is a collection the same, however it lies there?"""

import io
import json
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from corpus.images.chapters import StoredChapters
from corpus.images.decoding import Unreadable, decode, read_header
from corpus.images.source import PictureSource
from corpus.images.store import StoredPictures, prepare

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def drawn(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Red above, blue below; a green square at the left end of the upper half."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (0, size[1] // 2, *size))
    picture.paste(GREEN, (0, 0, size[0] // 4, size[1] // 4))
    return picture.convert(mode)


def saved(picture: Image.Image, form: str, **how) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **how)
    return file.getvalue()


def photo(seed: int, size: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def close(pixel, colour, slack: int = 12) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= slack)


# What a person sees


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_a_picture_of_any_format_is_seen(form):
    found = decode(saved(drawn(), form))
    assert found.shape == (40, 60, 3)
    assert close(found[15, 40], RED)
    assert close(found[30, 40], BLUE)


def test_cmyk_grey_and_palettes_become_rgb():
    assert close(decode(saved(drawn("CMYK"), "JPEG", quality=95))[30, 40], BLUE, 40)
    grey = decode(saved(drawn("L"), "JPEG"))
    assert (grey[..., 0] == grey[..., 2]).all()
    assert close(decode(saved(drawn("P"), "PNG"))[30, 40], BLUE)
    assert close(decode(saved(drawn("1"), "PNG"))[0, 0] // 255 * 255, decode(saved(drawn("1"), "PNG"))[0, 0])


def test_what_is_transparent_lies_on_white():
    picture = drawn("RGBA")
    picture.putalpha(Image.new("L", picture.size, 0))
    picture.paste((*BLUE, 255), (0, 20, 60, 40))
    found = decode(saved(picture, "PNG"))
    assert close(found[5, 40], WHITE)
    assert close(found[30, 40], BLUE)
    palette = drawn("P")
    assert close(decode(saved(palette, "PNG", transparency=palette.getpixel((40, 5))))[5, 40], WHITE)


def test_sixteen_bits_are_scaled_to_eight():
    values = np.full((20, 30), 0x8042, np.uint16)
    for form in ("PNG", "TIFF"):
        assert (decode(saved(Image.fromarray(values), form)) == 0x80).all()


def test_pixels_of_32_bits_are_refused():
    with pytest.raises(Unreadable, match="pixels of 32 bits"):
        decode(saved(Image.fromarray(np.ones((20, 30), np.float32)), "TIFF"))


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_picture_is_turned_as_exif_says(turned):
    exif = Image.Exif()
    exif[274] = turned
    undo = {5: 5, 6: 2, 7: 6, 8: 4, 2: 0, 3: 3, 4: 1}  # the transposition that a camera held so makes
    picture = drawn() if turned == 1 else drawn().transpose(undo[turned])
    content = saved(picture, "JPEG", exif=exif, quality=95, subsampling=0)
    header, found = read_header(content), decode(content)
    assert (header.height, header.width) == found.shape[:2] == (40, 60)
    assert close(found[3, 5], GREEN, 40)
    assert close(found[15, 40], RED, 40)
    assert decode(content, 20).shape[:2] == (20, 30)


def test_of_an_animation_the_first_frame_is_taken_and_that_is_said():
    content = saved(drawn(), "GIF", save_all=True, append_images=[Image.new("RGB", (60, 40), BLUE)])
    assert close(decode(content)[5, 40], RED)
    assert "animated or of several pages, of which the first is taken" in read_header(content).remarks


def test_a_jpeg_is_decoded_as_small_as_its_shorter_side_allows():
    content = saved(drawn(size=(400, 300)), "JPEG")
    assert [min(decode(content, least).shape[:2]) for least in (0, 300, 151, 150, 76, 75, 37, 8)] == [
        300, 300, 300, 150, 150, 75, 38, 38,
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_whatever_is_damaged_in_a_file_it_is_a_picture_or_unreadable(form):
    several = {"save_all": True, "append_images": [drawn().rotate(90)]} if form in ("GIF", "WEBP", "TIFF") else {}
    whole, chance = saved(drawn(), form, **several), np.random.default_rng(0)
    for number in range(120):
        content = bytearray(whole[: chance.integers(1, len(whole))] if number % 3 == 0 else whole)
        for place in chance.integers(min(len(content), 400 if number % 3 == 1 else len(content)), size=4):
            content[place] = chance.integers(256)
        for look in (read_header, decode):
            try:
                look(bytes(content))
            except Unreadable:
                continue


def test_how_often_a_jpeg_has_colour_is_known():
    forms = [read_header(saved(drawn(), "JPEG", subsampling=often)).form for often in ("4:4:4", "4:2:2", "4:2:0")]
    assert forms == ["JPEG 4:4:4", "JPEG 4:2:2", "JPEG 4:2:0"]


# What is no picture


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that says it has side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


STRANGE = {
    "broken.jpg": (saved(drawn(size=(200, 200)), "JPEG")[:-700], "truncated or damaged"),
    "broken.png": (saved(Image.fromarray(photo(0, 200)), "PNG")[:-9000], "truncated or damaged"),
    "empty.jpg": (b"", "empty"),
    "letter.jpg": (b"Dear Sir, this is no picture", "no picture of a known format"),
    "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no picture of a known format"),
    "bomb.png": (bomb(9000), "more pixels than max_megapixels allows"),
    "larger_bomb.png": (bomb(60000), "more pixels than max_megapixels allows"),
    "dot.gif": (saved(Image.new("L", (1, 1)), "GIF"), "smaller than 8 pixels"),
}


@pytest.fixture
def strange(tmp_path) -> Path:
    """Good pictures of every kind, among them what is none."""
    folder = tmp_path / "strange"
    folder.mkdir()
    for name, (content, _) in STRANGE.items():
        (folder / name).write_bytes(content)
    for number, mode in enumerate(("RGB", "L", "CMYK")):
        (folder / f"good-{number}.JPG").write_bytes(saved(drawn(mode), "JPEG"))
    (folder / "large.jpeg").write_bytes(saved(drawn(size=(300, 200)), "JPEG"))
    (folder / "notes.txt").write_text("beside them")
    (folder / "._good-0.JPG").write_bytes(b"of macOS")
    return folder


def test_what_is_no_picture_is_left_out_counted_and_named(strange, tmp_path):
    found = prepare([PictureSource("folder", str(strange))], tmp_path / "stores", 0.3, 96).manifest
    assert dict(found["named"]) == {name: reason for name, (_, reason) in STRANGE.items()}
    assert found["skipped"]["truncated or damaged"] == 2
    assert found["others"] == {"files .txt": 1, "hidden files": 1}
    assert found["remarks"] == {"CMYK, made RGB without a colour profile": 1, "grey": 1}


def test_it_ends_the_run_where_that_is_asked_and_the_advice_helps(strange, tmp_path):
    source = PictureSource("folder", str(strange), on_error="raise")
    with pytest.raises(ValueError, match=r"strange`: bomb.png: more pixels than .*\(.*: on_error: skip\)"):
        prepare([source], tmp_path / "stores", 0.3, 96)
    assert not list((tmp_path / "stores").glob("*/"))  # whole or not at all


# A collection


@pytest.fixture
def animals(tmp_path) -> Path:
    """A folder of 30 pictures in two classes, two of them alike."""
    folder = tmp_path / "animals"
    for number in range(30):
        place = folder / ("cat" if number % 3 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        content = saved(Image.fromarray(photo(0 if number == 7 else number)), "PNG")
        (place / f"{number:02}.png").write_bytes(content)
    return folder


def all_of(pictures: StoredPictures) -> set[tuple[bytes, str]]:
    """Every picture with its class."""
    pixels = pictures.load(np.arange(len(pictures)))
    return {(found.tobytes(), pictures.classes[label]) for found, label in zip(pixels, pictures.labels, strict=True)}


def rows_of(animals: Path) -> list[dict]:
    names = ["cat", "dog"]
    return [{"image": {"bytes": path.read_bytes(), "path": path.name}, "label": names.index(path.parent.name)}
            for path in sorted(animals.rglob("*.png"))]  # fmt: skip


def as_parquet(animals: Path, folder: Path) -> PictureSource:
    folder.mkdir()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    datasets.Dataset.from_list(rows_of(animals), features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    return PictureSource("parquet", str(folder))


def as_hub(animals: Path, folder: Path) -> PictureSource:
    return PictureSource("hub", as_parquet(animals, folder).path, revision="a" * 40)


def as_tar(animals: Path, folder: Path) -> PictureSource:
    """As webdataset writes it."""
    folder.mkdir()
    for shard, rows in enumerate((rows_of(animals)[:12], rows_of(animals)[12:])):
        with tarfile.open(folder / f"{shard:05}.tar", "w") as archive:
            for number, row in enumerate(rows):
                label = ["cat", "dog"][row["label"]]
                beside = {"cls": label.encode()} if shard else {"json": json.dumps({"label": label}).encode()}
                for suffix, content in {"png": row["image"]["bytes"], **beside, "txt": b"a caption"}.items():
                    member = tarfile.TarInfo(f"{number:04}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return PictureSource("shards", str(folder))


def as_zip(animals: Path, folder: Path) -> PictureSource:
    folder.mkdir()
    with zipfile.ZipFile(folder / "animals.zip", "w") as archive:
        for path in sorted(animals.rglob("*.png")):
            archive.write(path, f"train/{path.parent.name}/{path.name}")
    return PictureSource("shards", str(folder / "animals.zip"))


@pytest.mark.parametrize("packed", [as_parquet, as_hub, as_tar, as_zip])
def test_a_collection_is_the_same_in_files_tables_and_archives(animals, tmp_path, packed):
    stores = tmp_path / "stores"
    plain = prepare([PictureSource("folder", str(animals))], stores, 0.2, 96)
    other = prepare([packed(animals, tmp_path / "packed")], stores, 0.2, 96)
    assert other.classes == plain.classes == ["cat", "dog"]
    assert all_of(other) == all_of(plain)
    held_out = [{found.tobytes() for found in one.load(one.held_out.array)} for one in (plain, other)]
    assert held_out[0] == held_out[1]
    assert 1 <= len(held_out[0]) < 15


def test_the_first_pictures_of_a_hub_data_set_are_enough_where_that_is_asked(animals, tmp_path):
    source = as_hub(animals, tmp_path / "hub")
    few = prepare([PictureSource("hub", source.path, limit=10, revision=source.revision)], tmp_path / "stores", 0.2, 96)
    assert len(few) == 10


def test_equal_pictures_and_those_of_a_group_are_on_one_side(animals, tmp_path):
    rows = [{**row, "patient": number % 6} for number, row in enumerate(rows_of(animals))]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    source = PictureSource("parquet", str(tmp_path / "rows.parquet"), group="patient")
    found = prepare([source], tmp_path / "stores", 0.4, 96)
    assert not set(found.held_out.array % 6) & set(found.train.array % 6)
    plain = prepare([PictureSource("folder", str(animals))], tmp_path / "stores", 0.5, 96)
    pixels = [pixels.tobytes() for pixels in plain.load(np.arange(len(plain)))]
    (one, other) = (number for number, found in enumerate(pixels) if found == photo(0).tobytes())
    assert (one in plain.held_out.array) == (other in plain.held_out.array)


def test_how_many_processes_build_it_changes_nothing(strange, animals, tmp_path):
    sources = [PictureSource("folder", str(place)) for place in (strange, animals)]
    one, two = (prepare(sources, tmp_path / str(number), 0.2, 20, processes=number) for number in (1, 2))
    assert (one.folder / "manifest.json").read_bytes() == (two.folder / "manifest.json").read_bytes()
    assert (one.folder / "content.bin").read_bytes() == (two.folder / "content.bin").read_bytes()


def test_large_pictures_keep_their_bytes_and_small_ones_their_pixels(strange, tmp_path):
    found = prepare([PictureSource("folder", str(strange))], tmp_path / "stores", 0.3, 96)
    content = (found.folder / "content.bin").read_bytes()
    assert content.count((strange / "large.jpeg").read_bytes()) == 1
    sizes = found.sizes(np.arange(len(found))).tolist()
    assert sizes == [[40, 60], [40, 60], [40, 60], [200, 300]]
    assert found.load(np.array([3]), least=50)[0].shape == (50, 75, 3)
    assert found.load(np.array([0]), least=10)[0].shape == (40, 60, 3)


def test_pictures_are_made_smaller_once_where_that_is_asked(strange, tmp_path):
    found = prepare([PictureSource("folder", str(strange), shorter_side=30)], tmp_path / "stores", 0.3, 96)
    assert found.sizes(np.arange(len(found))).tolist() == [[30, 45]] * 4
    assert close(found.load(np.array([0]))[0][25, 30], BLUE, 40)


def test_photos_are_cut_into_tiles_and_no_photo_is_on_both_sides(tmp_path):
    found = prepare([PictureSource("photos")], tmp_path, 0.2, 96)
    assert {pixels.shape for pixels in found.load(np.arange(len(found)))} == {(64, 64, 3)}
    assert len(found) > 500
    assert 0.05 < len(found.held_out.array) / len(found) < 0.5


def test_a_changed_byte_is_found(animals, tmp_path):
    found = prepare([PictureSource("folder", str(animals))], tmp_path / "stores", 0.2, 96)
    path = found.folder / "content.bin"
    content = bytearray(path.read_bytes())
    content[30 * 24 * 24] ^= 1
    path.write_bytes(content)
    damaged = StoredPictures(found.folder)
    with pytest.raises(ValueError, match=r"content.bin: damaged: its bytes .* have changed .*; delete .* and give the"):
        damaged.load(np.arange(len(damaged)))


def test_an_epoch_has_every_picture_once_in_an_order_of_its_own(animals, tmp_path):
    found = prepare([PictureSource("folder", str(animals))], tmp_path / "stores", 0.2, 96)
    chapters = StoredChapters(found, found.train, seed=1, chapter_images=7)
    epochs = []
    for epoch in (0, 1, 0):
        number, members, last = 0, [], False
        while not last:
            chapter = chapters.chapter(epoch, number, {})
            members, last, number = [*members, *chapter.members], chapter.is_last, number + 1
        epochs.append(members)
    assert number > 2
    assert sorted(epochs[0]) == sorted(epochs[1]) == found.train.array.tolist()
    assert epochs[0] == epochs[2] != epochs[1]


# What is refused, in one line


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"kind": "folder"}, "the folder source has no path: a folder source is a file, or a folder or glob that has"),
        ({"kind": "folder", "path": "x", "label": "class"}, "label: class does nothing in a folder source; it is for"),
        ({"kind": "photos", "path": "x"}, "path: x does nothing in a photos source"),
        ({"kind": "photos", "tile": 4}, "tile is 4; it must be 8 or more"),
        ({"kind": "photos", "max_megapixels": 1000}, "max_megapixels is 1000; it must be 178 or less"),
    ],
)
def test_an_impossible_source_is_refused(source, complaint):
    with pytest.raises(ValueError, match=complaint):
        PictureSource(**source)


def test_folders_that_hold_nothing_or_parts_of_a_data_set_are_refused(animals, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("no picture")
    with pytest.raises(FileNotFoundError, match=r"nothing to read in .*notes.* but 1 files .txt: a folder source is"):
        prepare([PictureSource("folder", str(tmp_path / "notes"))], tmp_path / "stores", 0.2, 96)
    (tmp_path / "parts").mkdir()
    animals.rename(tmp_path / "parts/train")
    with pytest.raises(ValueError, match=r"its folders train are parts of a data set, no classes: name one of "):
        prepare([PictureSource("folder", str(tmp_path / "parts"))], tmp_path / "stores", 0.2, 96)
    assert len(prepare([PictureSource("folder", str(tmp_path / "parts/train"))], tmp_path / "stores", 0.2, 96)) == 30


def test_a_column_must_be_named_where_there_are_several(animals, tmp_path):
    rows = [{"left": row["image"]["bytes"], "right": row["image"]["bytes"]} for row in rows_of(animals)]
    path = tmp_path / "pairs.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(ValueError, match=r"pictures may be in left, right; name one by `column`"):
        prepare([PictureSource("parquet", str(path))], tmp_path / "stores", 0.2, 96)
    assert len(prepare([PictureSource("parquet", str(path), column="right")], tmp_path / "stores", 0.2, 96)) == 30
    with pytest.raises(ValueError, match=r"no column 'class'; its columns are left, right"):
        prepare([PictureSource("parquet", str(path), column="right", label="class")], tmp_path / "stores", 0.2, 96)


def test_what_is_in_a_column_is_said_where_it_is_no_picture_or_no_class(animals, tmp_path):
    more = {"numbers": [[1, 2], [3, 4]], "name": "a.jpg"}
    rows = [{**row, **more, "raw": [b"cat", b"dog"][row["label"]]} for row in rows_of(animals)]
    path = tmp_path / "rows.parquet"

    def opened(schema_of=lambda table: table, **settings):
        pyarrow.parquet.write_table(schema_of(pyarrow.Table.from_pylist(rows)), path)
        return prepare([PictureSource("parquet", str(path), **settings)], tmp_path / "stores", 0.2, 64, 1)

    for column, kind in (("numbers", "list"), ("name", "string")):
        with pytest.raises(ValueError, match=f"rows.parquet: the column '{column}' is of {kind}; a picture is a file"):
            opened(column=column)
    with pytest.raises(ValueError, match="the column 'numbers' is of list; a class or a group is one number or text"):
        opened(label="numbers", column="image")
    assert opened(label="raw").classes == ["cat", "dog"]  # bytes are read as text
    broken = {b"huggingface": b"{broken"}
    assert opened(lambda table: table.replace_schema_metadata(broken), label="raw").classes == ["cat", "dog"]


def test_an_archive_of_a_whole_folder_and_samples_that_are_not_whole(animals, tmp_path):
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(animals, ".")  # as  tar cf all.tar .
    found = prepare([PictureSource("shards", str(tmp_path / "all.tar"))], tmp_path / "stores", 0.2, 64, 1)
    assert found.manifest["classes"] == ["cat", "dog"]
    pictures = sorted(animals.rglob("*.png"))[:4]
    with zipfile.ZipFile(tmp_path / "apart.zip", "w") as archive:
        for number, picture in enumerate(pictures):
            archive.write(picture, f"{number}.png")
        archive.writestr("3.json", "{broken")
        archive.writestr("0.cls", "1")
    about = prepare([PictureSource("shards", str(tmp_path / "apart.zip"))], tmp_path / "stores", 0.2, 64, 1).manifest
    assert about["named"] == [
        ["apart.zip: 3.png", "samples whose .json is none"],
        ["apart.zip: 0.cls", ".cls without a picture: those of one sample must stand one behind the other"],
    ]


def test_a_member_that_is_damaged_by_any_packing_is_named(tmp_path):
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", saved(Image.fromarray(photo(number)), "PNG"))
    content = bytearray(packed.read_bytes())
    content[100:160] = b"z" * 60
    packed.write_bytes(content)
    ((name, reason),) = prepare([PictureSource("shards", str(packed))], tmp_path / "stores", 0.2, 64, 1).manifest[
        "named"
    ]
    assert name == "packed.zip: 0.png"
    assert reason.startswith("damaged in its archive")


def test_a_link_to_nothing_matters_where_it_is_a_picture(animals, tmp_path):
    (animals / ".#lock.png").symlink_to("nowhere")
    (animals / "notes.txt").symlink_to("nowhere")
    prepare([PictureSource("folder", str(animals))], tmp_path / "stores", 0.2, 64, 1)
    (animals / "lost.png").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=r"lost.png is a link to nothing"):
        prepare([PictureSource("folder", str(animals))], tmp_path / "stores", 0.2, 64, 1)


def test_a_source_with_too_few_pictures_is_named(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.jpg").write_text("hello")
    with pytest.raises(ValueError, match=r"folder `.*texts`: 0 pictures are too few .*format, such as a.jpg\)"):
        prepare([PictureSource("folder", str(tmp_path / "texts"))], tmp_path / "stores", 0.2, 64, 1)


def test_a_broken_archive_gives_what_is_before_the_damage_and_is_named(animals, tmp_path):
    source = as_tar(animals, tmp_path / "tar")
    shard = tmp_path / "tar/00001.tar"
    shard.write_bytes(shard.read_bytes()[:9000])
    found = prepare([source], tmp_path / "stores", 0.2, 96)
    assert 12 <= len(found) < 30
    ((name, reason),) = found.manifest["named"]
    assert name.startswith("00001.tar, behind ")
    assert reason.startswith("damaged, and so all behind it in this file")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    rows = [{"image": saved(Image.fromarray(photo(seed, 32)), "BMP"), "label": seed} for seed in range(100)]
    table = pyarrow.Table.from_pylist(rows)
    with pyarrow.parquet.ParquetWriter(tmp_path / "rows.parquet", table.schema) as file:
        for _ in range(2000):
            file.write_table(table)
    found = prepare([PictureSource("parquet", str(tmp_path / "rows.parquet"))], tmp_path / "stores", 0.1, 96)
    assert (found.folder / "content.bin").stat().st_size > 600e6
    script = f"""
import numpy as np
from pathlib import Path
from corpus.images.store import StoredPictures

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile")))

before, most = held(), 0
pictures = StoredPictures(Path({str(found.folder)!r}))
everything = np.random.default_rng(0).permutation(len(pictures))
for start in range(0, len(everything), 256):
    pictures.load(everything[start : start + 256])
    most = max(most, held() - before)
print(most)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(said) < 320_000  # KB
