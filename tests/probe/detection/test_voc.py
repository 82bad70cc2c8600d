"""Is a folder in VOC's layout read as it says, and are its faults named, with the file?"""

import re

import numpy as np
import pytest
from PIL import Image

from engine.run.recipe import read
from probe.detection.voc import choose_classes, hash_of, read_voc, refuse_shared
from probe.recipe import ProbeRecipe

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><part><name>head</name><bndbox><xmin>1</xmin>
<ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax>
<ymax>{3}</ymax></bndbox></object>"""
SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def boxed(name, *box, difficult=0):
    return OBJECT.format(*box, name=name, difficult=difficult)


@pytest.fixture
def folder(tmp_path):
    """Three training pictures and one test picture."""
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nb\nc\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("d 1\n")
    for name in "abcd":
        Image.new("RGB", (40, 30), (200, 100, 50)).save(tmp_path / f"JPEGImages/{name}.jpg")
        annotate(tmp_path, name, boxed("cat", 1, 2, 10, 12), boxed("dog", 5, 5, 40, 30, difficult=1))
    annotate(tmp_path, "c", boxed("dog", 3, 3, 9, 9))
    return tmp_path


def annotate(folder, name, *objects, size=SIZE):
    (folder / f"Annotations/{name}.xml").write_text(f"<annotation>{size}{''.join(objects)}</annotation>")


def test_pictures_and_objects(folder):
    first, *_ = photos = read_voc(folder, "train")
    assert [photo.name for photo in photos] == ["a", "b", "c"]
    assert first.boxes.tolist() == [[1, 2, 10, 12], [5, 5, 40, 30]]  # parts of objects are none
    assert first.classes == ("cat", "dog")
    assert first.difficult.tolist() == [False, True]
    assert first.load().shape == (30, 40, 3)
    assert [photo.name for photo in read_voc(folder, "val")] == ["d"]
    some = [photo.name for photo in read_voc(folder, "train", 2)]
    assert some in (["a", "b"], ["a", "c"], ["b", "c"])
    assert some == [photo.name for photo in read_voc(folder, "train", 2)]


@pytest.mark.parametrize(
    "size",
    ["", "<size><width>0</width><height>0</height></size>", "<size><width>40.0</width><height>30</height></size>"],
)
def test_what_programs_write_of_the_size_is_no_fault(folder, size):
    annotate(folder, "a", boxed("cat", 1.5, 2, 10.25, 12), size=size)
    assert read_voc(folder, "train")[0].boxes.tolist() == [[1.5, 2, 10.25, 12]]


@pytest.mark.parametrize("content", ["\ufeffa\r\nmy photo\r\n", "a.jpg\nmy photo.bmp\n", "a  1\n\nmy photo -1"])
def test_names_in_lists_are_found_as_they_are_written(folder, content):
    Image.new("RGB", (40, 30)).save(folder / "JPEGImages/my photo.BMP", "BMP")
    annotate(folder, "my photo", boxed("cat", 1, 2, 10, 12))
    if content.endswith("-1"):
        for name in ("JPEGImages/my photo.BMP", "Annotations/my photo.xml"):
            (folder / name).rename(folder / name.replace("my photo", "my"))
    (folder / "ImageSets/Main/train.txt").write_bytes(content.encode())
    assert [photo.name for photo in read_voc(folder, "train")] == ["a", "my" if content.endswith("-1") else "my photo"]


def test_classes_are_those_of_training_and_others_can_be_left_out(folder):
    train, test = read_voc(folder, "train"), read_voc(folder, "val")
    assert choose_classes(train, test, ())[0] == ("cat", "dog")
    classes, train, test = choose_classes(train, test, ("dog",))
    assert classes == ("dog",)
    assert [photo.classes for photo in train] == [("dog",), ("dog",), ("dog",)]
    assert test[0].boxes.tolist() == [[5, 5, 40, 30]]


def test_boxes_over_the_edge_are_cut_off_and_counted(folder):
    annotate(folder, "a", boxed("cat", 0, 0, 40, 30), boxed("cat", 4, 4.5, 60, 20), boxed("cat", 1, 1, 40, 30))
    photo = read_voc(folder, "train")[0]
    assert photo.boxes.tolist() == [[1, 1, 40, 30], [4, 4.5, 40, 20], [1, 1, 40, 30]]
    assert photo.clipped == 2


def test_other_files_are_other_pictures(folder):
    before = hash_of(read_voc(folder, "train"))
    assert hash_of(read_voc(folder, "train")) == before
    annotate(folder, "b", boxed("cat", 1, 2, 10, 13))
    assert hash_of(read_voc(folder, "train")) != before


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([boxed("cat", 9, 1, 3, 2)], ", object 1 (cat): xmin 9, xmax 3, ymin 1, ymax 2; the smaller number must come"),
        (
            [boxed("dog", 1, 1, 2, 2), boxed("cat", 50, 1, 60, 9)],
            ", object 2 (cat): its box [50.0, 1.0, 60.0, 9.0] lies",
        ),
        ([boxed("cat", 1, 1, 3, "nan")], ", object 1: bndbox/ymax is 'nan'; a number of pixels is expected"),
        (["<object><name>cat</name></object>"], ", object 1: bndbox/xmin is ''; a number of pixels is expected"),
        ([boxed("", 1, 1, 3, 3)], ", object 1 has no name"),
        (["<object>"], " is damaged XML ("),
        ([SIZE.replace("40", "41")], " says that its picture has 41 x 30 pixels, and "),
    ],
)
def test_faults_of_an_annotation_are_named(folder, objects, said):
    annotate(folder, "a", *objects, size="")
    refused(folder, f"Annotations/a.xml{said}")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("Annotations/c.xml", None, " is not there; "),
        ("JPEGImages/c.jpg", None, " is not there; "),
        ("JPEGImages/c.jpg", "no", ": no picture of a known format"),
        ("ImageSets/Main/train.txt", "a\nb\na\n", " names a twice"),
        ("ImageSets/Main/train.txt", "\n", " names no pictures"),
        ("ImageSets/Main/train.txt", "a\nb\udcff\n", " is not UTF-8 (byte 3)"),
        ("ImageSets/Main/train.txt", None, " is not there (lists in this folder: val)"),
    ],
)
def test_files_that_are_missing_or_damaged_are_named(folder, name, content, said):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content.encode(errors="surrogateescape"))
    refused(folder, f"{name}{said}")


def refused(folder, said):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(f"{folder}/{said}")) as error:
        read_voc(folder, "train")
    assert "\n" not in str(error.value)


def test_a_damaged_picture_is_named_when_it_is_decoded(folder):
    drawn = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    path = folder / "JPEGImages/a.jpg"
    Image.fromarray(drawn).save(path)
    path.write_bytes(path.read_bytes()[:900])
    photo = read_voc(folder, "train")[0]
    with pytest.raises(ValueError, match=r"JPEGImages/a\.jpg: truncated or damaged; restore it"):
        photo.load()


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder in the layout of VOC: it has no ImageSets/Main"):
        read_voc(tmp_path, "train")


def test_strange_classes_are_named(folder):
    annotate(folder, "d", boxed("zebra", 1, 1, 5, 5))
    train, test = read_voc(folder, "train"), read_voc(folder, "val")
    with pytest.raises(ValueError, match=r"d\.xml has the class 'zebra', which no .* --probes\.0\.classes cat dog"):
        choose_classes(train, test, ())
    recipe = folder / "recipe.yaml"
    recipe.write_text("name: a\nprobes: [{name: detection, path: b}]\n")
    (probe,) = read(ProbeRecipe, [str(recipe), "--probes.0.classes", "cat", "dog"]).probes
    assert choose_classes(train, test, probe.classes)[2][0].classes == ()
    with pytest.raises(ValueError, match="classes has 'dgo', which no training picture has; did you mean 'dog'"):
        choose_classes(train, test, ("dgo",))


def test_classes_that_differ_in_capitals_and_test_pictures_without_objects_are_refused(folder):
    annotate(folder, "b", boxed("Cat", 1, 1, 5, 5))
    train, test = read_voc(folder, "train"), read_voc(folder, "val")
    with pytest.raises(
        ValueError, match=r"'Cat' and 'cat' differ in capitals alone.* --probes\.0\.classes Cat cat dog"
    ):
        choose_classes(train, test, ())
    assert choose_classes(train, test, ("Cat", "cat", "dog"))[0] == ("Cat", "cat", "dog")
    annotate(folder, "d", boxed("cat", 1, 1, 5, 5, difficult=1))
    with pytest.raises(ValueError, match=r"no object is boxed in the 1 pictures to be scored on, such as .*d\.xml"):
        choose_classes(train, read_voc(folder, "val"), ())


def test_a_picture_that_exif_turns_is_told(folder):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (40, 30)).save(folder / "JPEGImages/a.jpg", exif=exif)
    with pytest.raises(ValueError, match=r"has 30 x 40 as EXIF turns it; .* take the Orientation out of its EXIF"):
        read_voc(folder, "train")


def test_a_picture_in_both_lists_is_refused(folder):
    (folder / "ImageSets/Main/val.txt").write_text("d\nb\n")
    with pytest.raises(ValueError, match="b is both a training and a test picture"):
        refuse_shared(read_voc(folder, "train"), read_voc(folder, "val"))
