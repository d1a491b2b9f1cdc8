"""Folders of images, translated by a method whose translations are known."""

import logging
import os

import inverting_translator
import jax
import numpy as np
import pytest
from inverting_translator import Invert, expected
from picture_files import pixels
from PIL import Image

import drifting
from drifting import methods
from drifting.core import files
from drifting.core.errors import UserError
from drifting.evaluation import generation, translation
from drifting.runs.folder import WorkdirError
from input_pipeline import picture
from input_pipeline.decoding import DataError
from models.resnet_generator import ResNetGenerator

SIZES = [(1, 1), (2, 3), (3, 8), (4, 4), (9, 7), (12, 8), (10, 5), (13, 17)]  # height, width


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(methods.METHODS, inverting_translator.NAME, inverting_translator.CLASS)
    monkeypatch.setattr(Invert, "traces", [])


@pytest.fixture
def run(train_once):
    """Read-only workdir of a translator of images in colour."""
    return train_once(inverting_translator.config())


@pytest.fixture
def photos(tmp_path):
    """Eight PNGs in colour of several sizes, 0.png to 7.png."""
    return save(tmp_path / "photos", *(drawn(*size, seed=i) for i, size in enumerate(SIZES)))


def drawn(height, width, channels=3, seed=0):
    shape = (height, width, channels)[: 2 + (channels > 1)]
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(folder, *images):
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def names(folder):
    return sorted(os.listdir(folder))


# --- values --------------------------------------------------------------------------------------


def test_images_of_any_size_keep_name_and_size_and_each_padded_size_compiles_once(
    run, photos, tmp_path, caplog
):
    with caplog.at_level(logging.INFO, logger="drifting"):
        out = drifting.translate(run, photos, tmp_path / "out")
    assert names(out) == names(photos)
    for i in range(len(SIZES)):
        np.testing.assert_array_equal(
            pixels(out / f"{i}.png"), expected(pixels(photos / f"{i}.png"))
        )
    # The largest first: 13x17; 9x7, 12x8 and 10x5; 1x1, 2x3, 3x8 and 4x4.
    assert Invert.traces == [(1, 16, 20, 3), (3, 12, 8, 3), (4, 8, 8, 3)]
    assert "8 of 8 images to translate, 0 are done; compilations: 3, one per" in caplog.text
    assert f"translating by step 1 of {run}, averaged weights (EMA)" in caplog.text


def test_batches_of_one_size_are_even_and_the_last_one_is_padded(run, tmp_path):
    photos = save(tmp_path / "photos", *(drawn(8, 8, seed=i) for i in range(7)))
    out = drifting.translate(run, photos, tmp_path / "out", batch_size=3)
    assert Invert.traces == [(3, 8, 8, 3)]
    for name in names(photos):
        np.testing.assert_array_equal(pixels(out / name), expected(pixels(photos / name)))
    assert [translation.even_batch(7, most) for most in (1, 3, 4, 6, 7, 99)] == [1, 3, 4, 4, 7, 7]


def test_a_batch_has_the_pixels_of_a_training_batch(run):
    method = drifting.load(run).method
    assert (method.batch_size, method.space.shape) == (16, (8, 8, 3))
    sizes = [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64)]
    assert [translation.default_batch(method, *s) for s in sizes] == [64, 16, 4, 1, 1]


def test_the_raw_weights(run, photos, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="drifting"):
        out = drifting.translate(run, photos, tmp_path / "out", ema=False)
    for name in names(photos):
        inverted = 255 - pixels(photos / name)
        np.testing.assert_array_equal(pixels(out / name), expected(inverted))
    assert "raw weights, no average" in caplog.text and "EMA" not in caplog.text


def test_files_of_every_kind_are_decoded_as_for_training(run, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    colour = Image.fromarray(drawn(5, 6))
    colour.convert("L").save(folder / "grey.png")
    colour.quantize(8).save(folder / "palette.gif")
    clear = Image.fromarray(drawn(5, 6, 4))
    clear.save(folder / "clear.png")
    Image.fromarray(drawn(5, 6, 1).astype(np.uint16) * 200).save(folder / "deep.tif")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    for name in ("turned.jpg", "turned_too.png", "turned_as_well.tif"):
        colour.save(folder / name, exif=exif)
    out = drifting.translate(run, folder, tmp_path / "out")
    assert pixels(out / "turned.png").shape == (6, 5, 3)
    for path in folder.iterdir():
        read = np.asarray(picture.read(path).convert("RGB"))
        np.testing.assert_array_equal(pixels(out / f"{path.stem}.png"), expected(read))


def test_a_run_on_grey_images_writes_grey_ones(train_once, tmp_path):
    run = train_once(inverting_translator.config(channels=1))
    photos = save(tmp_path / "photos", drawn(5, 6, 1), drawn(5, 6))
    out = drifting.translate(run, photos, tmp_path / "out")
    for name in names(photos):
        with Image.open(photos / name) as image:
            grey = np.asarray(image.convert("L"))
        np.testing.assert_array_equal(pixels(out / name), expected(grey))
    drifting.translate(run, photos, tmp_path / "jpg", format="jpg")
    with Image.open(tmp_path / "jpg" / "1.jpg") as image:
        assert image.mode == "L"


def test_jpg_has_quality_95(run, tmp_path):
    smooth = np.add.outer(np.arange(40), np.arange(24)).astype(np.uint8)[..., None].repeat(3, 2)
    photos = save(tmp_path / "photos", smooth)
    out = drifting.translate(run, photos, tmp_path / "out", format="jpg")
    assert names(out) == ["0.jpg"]
    Image.fromarray(smooth).save(tmp_path / "95.jpg", quality=95)
    with Image.open(out / "0.jpg") as found, Image.open(tmp_path / "95.jpg") as wanted:
        assert found.quantization == wanted.quantization
    inside = np.s_[:-1, :-1]
    difference = pixels(out / "0.jpg")[inside].astype(int) - expected(smooth)[inside]
    assert np.abs(difference).max() < 20 and np.abs(difference).mean() < 2


def test_max_side_scales_larger_images_down_and_says_so(run, tmp_path, caplog):
    photos = save(tmp_path / "photos", drawn(30, 20), drawn(12, 12), drawn(7, 60))
    with caplog.at_level(logging.INFO, logger="drifting"):
        out = drifting.translate(run, photos, tmp_path / "out", max_side=12)
    sizes = {"0.png": (8, 12), "1.png": (12, 12), "2.png": (12, 1)}  # width, height
    for name, size in sizes.items():
        with Image.open(photos / name) as image:
            scaled = image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(pixels(out / name), expected(np.asarray(scaled)))
    assert "2 images were scaled down to --max_side 12" in caplog.text


def test_arrays_are_translated_by_an_open_run(run):
    images = np.stack([drawn(5, 6, seed=i) for i in range(7)])
    opened = drifting.load(run)
    found = opened.translate(images, batch_size=3)
    np.testing.assert_array_equal(found, [expected(image) for image in images])
    np.testing.assert_array_equal(found, 255 - opened.translate(images, ema=False))
    with pytest.raises(UserError, match=r"are float64 \(7, 5, 6, 3\); this run takes uint8 \[N"):
        opened.translate(images / 255)
    with pytest.raises(UserError, match="no images to translate"):
        opened.translate(images[:0])
    with pytest.raises(UserError, match="batch_size 0: must be 1 or more"):
        opened.translate(images, batch_size=0)


def test_the_network_takes_every_padded_size():
    network = ResNetGenerator(channels=3, width=4, blocks=1)
    for side in range(1, 14):
        width, height = translation.padded_size(side, 8)
        images = jax.ShapeDtypeStruct((1, height, width, 3), np.float32)
        found, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
        assert found.shape == images.shape
        assert translation.pad(drawn(8, side)).shape == images.shape[1:]


# --- files that fail -----------------------------------------------------------------------------


def test_unreadable_files_are_named_after_all_others_are_done(run, photos, tmp_path, caplog):
    (photos / "1.png").write_bytes(b"no picture")
    half = (photos / "4.png").read_bytes()
    (photos / "4.png").write_bytes(half[: len(half) // 2])
    with pytest.raises(
        UserError, match=r"^2 of 8 images were skipped: .*/1\.png, .*/4\.png; .* other 6 are trans"
    ):
        drifting.translate(run, photos, tmp_path / "out")
    assert names(tmp_path / "out") == [f"{i}.png" for i in (0, 2, 3, 5, 6, 7)]
    assert "skipped: cannot read image" in caplog.text


def test_a_file_that_changes_after_its_size_was_read(run, photos, tmp_path, monkeypatch):
    def change(method, width, height):
        Image.fromarray(drawn(9, 9)).save(photos / "3.png")
        (photos / "5.png").unlink(missing_ok=True)
        return 4

    monkeypatch.setattr(translation, "default_batch", change)
    with pytest.raises(UserError, match=r"2 of 8 .*/3\.png, .*/5\.png; .* other 6 are translated"):
        drifting.translate(run, photos, tmp_path / "out")
    assert names(tmp_path / "out") == [f"{i}.png" for i in (0, 1, 2, 4, 6, 7)]


def test_an_image_that_is_too_large_for_jpg(run, tmp_path):
    photos = save(tmp_path / "photos", drawn(1, 65536), drawn(4, 4))
    with pytest.raises(UserError, match=r"1 of 2 images were skipped: .*/0\.png"):
        drifting.translate(run, photos, tmp_path / "out", format="jpg")
    assert names(tmp_path / "out") == ["1.jpg"]


def test_translations_that_are_not_finite_are_not_written(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Invert, "translate", lambda self, state, images, ema: images / 0.0)
    with pytest.raises(generation.NonFiniteSamples, match="NaN or infinite values: this checkpoi"):
        drifting.translate(run, photos, tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_too_little_memory_is_one_line(run, photos, tmp_path, monkeypatch):
    def start(self, images, batch_size):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    monkeypatch.setattr(translation.TranslateProgram, "start", start)
    with pytest.raises(
        UserError, match="memory for 1 images of 20x16 at a time; set a smaller --ba"
    ):
        drifting.translate(run, photos, tmp_path / "out")


# --- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["png", "jpg"])
def test_only_what_is_missing_is_translated(run, photos, tmp_path, caplog, form):
    out = drifting.translate(run, photos, tmp_path / "out", format=form, limit=5)
    assert names(out) == [f"{i}.{form}" for i in range(5)]
    (out / f"2.{form}").unlink()
    (out / f".2.{form}.4711.tmp").write_bytes(b"half")
    before = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    Invert.traces.clear()
    with caplog.at_level(logging.INFO, logger="drifting"):
        drifting.translate(run, photos, out, format=form)
    assert names(out) == [f"{i}.{form}" for i in range(8)]
    kept = {name: (out / name).stat().st_mtime_ns for name in before if name[0] in "0134"}
    assert kept.items() <= before.items() and len(kept) == 4
    assert "4 of 8 images to translate, 4 are done; compilations: 3" in caplog.text
    assert "8 translations, 4 of them new" in caplog.text
    Invert.traces.clear()
    drifting.translate(run, photos, out, format=form)
    drifting.translate(run, photos, out, format=form, limit=3)
    assert not Invert.traces


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda photos, out: dict(ema=False), "0.png, 1.png, 2.png"),
        (lambda photos, out: dict(max_side=4), "0.png, 1.png, 2.png"),
        (lambda photos, out: dict(format="jpg"), "0.png, 1.png, 2.png"),
        (lambda photos, out: (out / "2.png").write_bytes(b"half") and {}, "2.png"),
        (lambda photos, out: Image.new("RGB", (3, 8)).save(out / "2.png") or {}, "2.png"),
        (lambda photos, out: (out / "more").mkdir() or {}, "more"),
        (lambda photos, out: Image.fromarray(drawn(1, 1, seed=9)).save(photos / "0.png") or {},
         "0.png"),
    ],
)  # fmt: skip
def test_a_folder_with_other_files_is_refused_and_kept(run, photos, tmp_path, change, named):
    out = drifting.translate(run, photos, tmp_path / "out", limit=3)
    changed = change(photos, out)
    before = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    with pytest.raises(WorkdirError, match=f"out holds {named}: no translations of these images"):
        drifting.translate(run, photos, out, **changed)
    assert {name: (out / name).stat().st_mtime_ns for name in names(out)} == before


def test_one_process_at_a_time(run, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    descriptor = os.open(out, os.O_RDONLY)
    files.lock(descriptor)
    with pytest.raises(WorkdirError, match="another process is translating to --out"):
        drifting.translate(run, photos, out)
    os.close(descriptor)
    assert names(drifting.translate(run, photos, out)) == names(photos)


# --- what is refused -----------------------------------------------------------------------------


def test_two_images_of_one_name(run, photos, tmp_path):
    Image.fromarray(drawn(4, 4)).save(photos / "3.jpg")
    with pytest.raises(DataError, match=r"/3\.jpg and .*/3\.png would both become .*out/3\.png; r"):
        drifting.translate(run, photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", [".", "out", "out/deeper", "../photos/out", "../link"])
def test_out_in_the_folder_of_the_images(run, photos, tmp_path, inside):
    (tmp_path / "link").symlink_to(photos)
    with pytest.raises(WorkdirError, match="is the folder of the images or in it"):
        drifting.translate(run, photos, photos / inside)
    assert names(photos) == [f"{i}.png" for i in range(8)]


def test_sub_folders_are_read_as_for_training(run, photos, tmp_path):
    save(photos / "more", drawn(4, 4)).joinpath("0.png").rename(photos / "more" / "x.png")
    with pytest.warns(UserWarning, match="images next to the class folders: 8"):
        out = drifting.translate(run, photos, tmp_path / "out")
    assert names(out) == ["x.png"]


def test_settings_that_are_refused(run, finished_run, photos, tmp_path):
    def refuse(message, workdir=run, folder=photos, out=tmp_path / "out", **given):
        with pytest.raises(UserError, match=message):
            drifting.translate(workdir, folder, out, **given)

    refuse("'drifting', which translates no images; name the workdir of a run", finished_run)
    (tmp_path / "file").touch()
    refuse("no such folder; name a folder of images", folder=tmp_path / "nowhere")
    refuse("cannot write to --out", out=tmp_path / "file" / "x")
    for name in ("limit", "batch_size", "max_side"):
        refuse(f"--{name} 0: must be 1 or more", **{name: 0})
    refuse("--format gif: choose one of png, jpg", format="gif")


def test_a_translator_makes_no_samples(run, tmp_path):
    with pytest.raises(WorkdirError, match="'invert', which translates images: give it a folder"):
        drifting.sample(run, 4, tmp_path / "x.png")
