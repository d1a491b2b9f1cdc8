"""Which files of a folder are data, in training and in scoring, and what is said of the others."""

import os
import warnings

import numpy as np
import pytest
from PIL import Image

from drifting import pictures
from input_pipeline.sources import DataError, load, load_unresized


def put(path, value=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path, **options)


def trained(root, split="train"):
    return load(f"folder:{root}", split, image_size=4, channels=1, on_corrupt="error")


@pytest.fixture(autouse=True)
def always_own_cache(own_cache):
    """Every test decodes for itself."""


@pytest.fixture
def root(tmp_path):
    """Two classes of two images."""
    for name, value in {"cat/1": 10, "cat/2": 20, "dog/1": 30, "dog/2": 40}.items():
        put(tmp_path / "set" / f"{name}.png", value)
    return tmp_path / "set"


def both(root):
    """The values of the images that are trained on, which are those that are scored."""
    found = trained(root)
    np.testing.assert_array_equal(found.images.repeat(3, -1), load_unresized(root).images)
    return found.class_names, found.images[:, 0, 0, 0].tolist()


def test_names_with_a_dot_and_macosx_are_no_data(root, recwarn):
    put(root / ".ipynb_checkpoints" / "1.png", 99)
    put(root / "cat" / ".ipynb_checkpoints" / "1.png", 99)
    put(root / "__MACOSX" / "deeper" / "1.png", 99)
    for name in ("._1.png", "cat/._1.png", "__MACOSX/._1.png", ".DS_Store"):
        (root / name).write_bytes(b"\0\5\x16\7" + bytes(100))
    assert both(root) == (("cat", "dog"), [10, 20, 30, 40])
    assert not recwarn


def test_everything_else_that_is_left_out_is_counted_in_one_warning(root):
    for i in range(3):
        put(root / "cat" / "more" / "and more" / f"{i}.PNG", 99)
        (root / "dog" / f"{i}.txt").write_text("no image")
    put(root / "extra.jpg", 99)
    (root / "fox").mkdir()
    (root / "cat" / "3.png").symlink_to("/nowhere/3.png")
    (root / "cat" / "4.png").symlink_to("4.png")
    os.mkfifo(root / "cat" / "5.png")
    with pytest.warns(UserWarning, match="left out of") as found:
        assert both(root) == (("cat", "dog"), [10, 20, 30, 40])
    texts = {str(w.message) for w in found}
    assert len(found) == 2 and len(texts) == 1  # one of training, one of scoring
    (text,) = texts
    assert text.startswith(f"left out of {root}: ")
    for part in (
        "images in deeper folders: 3 (such as cat/more/and more/0.PNG)",
        "files without the extension of a readable image: 3 (such as dog/0.txt)",
        "images next to the class folders: 1 (such as extra.jpg)",
        "class folders without images: 1 (such as fox)",
        "links that lead nowhere, and other irregular files: 3 (such as cat/3.png)",
    ):
        assert part in text
    assert text.count(";") == 4


def test_a_flat_folder_reports_images_in_deeper_folders(tmp_path):
    put(tmp_path / "1.png", 5)
    put(tmp_path / "a" / "b" / "2.png")
    with pytest.warns(UserWarning, match=r"deeper folders: 1 \(such as a/b/2.png\)$"):
        assert both(tmp_path) == (("all",), [5])


def test_a_folder_whose_images_all_lie_deeper_is_refused(tmp_path):
    for split in ("train", "test"):
        put(tmp_path / "data" / split / "cat" / "1.png")
    message = r"no images in .*data or .*deeper folders: 2 \(such as test/cat/1.png\)\); name a fo"
    with pytest.raises(DataError, match=message):
        load_unresized(tmp_path / "data")
    put(tmp_path / "parts" / "cat" / "part1" / "1.png")
    with pytest.raises(DataError, match=r"no images .*1 \(such as cat/part1/1.png\)\)"):
        trained(tmp_path / "parts")


def test_all_extensions_that_pillow_reads_are_images(tmp_path):
    names = ["1.jfif", "2.JPG", "3.jpe", "4.jp2", "5.ppm", "6.pgm", "7.TIFF", "8.bmp", "9.webp"]
    names += ["10.avif"] if "AVIF" in Image.SAVE else []
    for i, name in enumerate(names):
        put(tmp_path / name, 20 * (i + 1), **({"format": "JPEG"} if name == "1.jfif" else {}))
    values = both(tmp_path)[1]
    assert np.abs(np.subtract(values, 20 * np.arange(1, len(names) + 1))).max() <= 2


def test_the_order_depends_on_names_alone(tmp_path):
    names = ["01", "1", "\u0661", "2", "2²", "10", "A", "a", "²z"]
    values = list(range(len(names)))
    for folder, created in (("up", values), ("down", values[::-1])):
        for value in created:
            put(tmp_path / folder / "²" / f"{names[value]}.png", value)
        assert both(tmp_path / folder) == (("²",), values)


def test_class_names_that_are_no_utf_8_can_be_printed_and_drawn(root):
    os.rename(root / "dog", os.fsencode(root) + b"/d\xf6g")
    names, _ = both(root)
    assert names == ("cat", "d\\xf6g")
    "".join(names).encode()
    pictures.plot_confusion(np.eye(2, dtype=int), names, root.parent / "confusion.png")
    images = np.zeros((1, 2, 4, 4, 1), np.uint8)
    pictures.save_grid(images, root.parent / "grid.png", column_headings=names)


def test_a_folder_that_cannot_be_read_is_named(root, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataError, match=f"cannot read the folder {root}: Permission denied"):
        trained(root)


def test_nothing_is_said_of_a_clean_folder(root):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both(root)
