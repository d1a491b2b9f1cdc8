"""Runs in the latents of an autoencoder: what they generate, show and score are images.

The autoencoder is exact and the generator makes the mean latents of each class, so a sample of a
class is the mean of its images.
"""

import shutil

import exact_latents
import jax
import numpy as np
import pytest
from PIL import Image

import drifting
from drifting.core.errors import ConfigError
from drifting.evaluation import generation, record
from drifting.evaluation.metrics.neighbours import knn_label_accuracy, nearest_distance
from drifting.runs import build, encode, frozen
from drifting.runs.workdir import WorkdirError
from drifting.training import program
from input_pipeline.decoding import DataError
from input_pipeline.sources import load
from input_pipeline.space import Latents, Pixels
from input_pipeline.splits import apportion

LATENTS = {"data.image_size": 4, "data.channels": 4}
SCORED = {"eval.num_samples": 100, "eval.batch_size": 32, "eval.metrics": ("fid", "neighbours")}


@pytest.fixture(scope="module", autouse=True)
def known_methods():
    with pytest.MonkeyPatch.context() as patch:
        exact_latents.register(patch)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, known_methods):
    """The autoencoders `one` and `two`, the `latents` of one, and a run `known` in them."""
    folder = tmp_path_factory.mktemp("latent_runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        drifting.train(exact_latents.config("linear"), "one")
        drifting.train(exact_latents.config("linear", seed=1), "two")
        encode.encode("one", "latents")
        drifting.train(config_of("latents"), "known")
    return folder


@pytest.fixture
def runs(made, tmp_path, monkeypatch):
    """A copy of them as the current folder, so that their names of one another are right."""
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return tmp_path / "runs"


def config_of(folder="latents", **changed):
    source = {"data.source": f"latents:{folder}"}
    return exact_latents.config("known", **source | LATENTS | SCORED | changed)


def replace_autoencoder(folder):
    shutil.rmtree(folder / "one")
    shutil.copytree(folder / "two", folder / "one")


def mean_digits(split="train"):
    """The mean image of each class of the digits, float64 [10, 8, 8, 1]."""
    images = load("digits", split, image_size=8, channels=1)
    return np.stack([images.images[images.labels == k].mean(axis=0) for k in range(10)])


def test_samples_are_decoded_images(runs, tmp_path):
    run = drifting.load(runs / "known")
    assert run.space.shown == Pixels((8, 8, 1)) and isinstance(run.facts.space, Latents)
    samples = run.sample([3, 1, 4, 1, 5], batch_size=2)
    assert samples.dtype == np.uint8
    assert np.abs(samples - mean_digits()[[3, 1, 4, 1, 5]]).max() <= 0.51
    drifting.sample(runs / "known", 20, tmp_path / "samples.npz")
    saved = np.load(tmp_path / "samples.npz")
    assert np.abs(saved["images"] - mean_digits()[saved["labels"]]).max() <= 0.51
    drifting.sample(runs / "known", 3, tmp_path / "folder", labels=[7])
    picture = np.asarray(Image.open(tmp_path / "folder" / "000002_7.png"))
    np.testing.assert_array_equal(picture, samples_of(7)[..., 0])


def samples_of(label):
    return np.asarray(mean_digits()[label].round(), np.uint8)


def test_scores_compare_with_the_images_that_were_encoded(runs):
    drifting.evaluate("known", "0,2")
    first, last = record.read(runs / "known")
    assert last["data_set"] == "digits" and last["split"] == "train"
    real = load("digits", "train", image_size=8, channels=1)
    decoded = np.stack([samples_of(label) for label in range(10)])
    accuracy = knn_label_accuracy(real.images, real.labels, decoded, range(10))
    assert last["knn_accuracy"] == accuracy == 1.0 > first["knn_accuracy"]
    shares = apportion(100, real.class_counts)
    distances = np.repeat(nearest_distance(decoded, real.images), shares)
    assert last["nn_distance_samples"] == pytest.approx(np.median(distances))
    held_out = load("digits", "test", image_size=8, channels=1)
    distances = nearest_distance(held_out.images, real.images)
    assert last["nn_distance_heldout"] == pytest.approx(np.median(distances), rel=0.2)
    # At step 0 all latents are 0, which stands for the mean of all images.
    assert last["frechet_distance"] < first["frechet_distance"]
    assert len(list((runs / "known" / "eval" / "artifacts").glob("*step2_*/preview.png"))) == 1

    during = {"train.evaluate": True, "train.total_steps": 1, "train.sample_steps": 1}
    drifting.train(config_of(**during), "trained")
    scores = ("frechet_distance", "knn_accuracy", "nn_distance_samples")
    for row, expected in zip(record.read(runs / "trained"), (first, last), strict=True):
        assert [row[name] for name in scores] == pytest.approx(
            [expected[name] for name in scores], rel=1e-3
        )


def test_previews_are_decoded(runs):
    parts = build.build(config_of())
    data, key = parts.data.to_device(), jax.random.key(0)
    state, _ = parts.method.train_step(parts.method.init(key), data, key, parts.parameters)
    shown, _ = program.make_summary(parts.method)(state, key, data, parts.parameters)
    assert shown["samples"].images.shape == (8, 10, 8, 8, 1)
    assert np.abs(np.asarray(shown["samples"].images) - mean_digits()[None]).max() <= 0.51
    drawn = [path.read_bytes() for path in sorted((runs / "known" / "samples").iterdir())]
    assert len(set(drawn)) == 2  # by the training loop, at steps 0 and 2


def test_the_decoder_is_an_argument_of_the_program(runs):
    """One program serves all checkpoints, and would serve any parameters of the decoder."""
    run, traces = frozen.open_run("known"), []

    def counted(parameters, latents):
        traces.append(latents.shape)
        return run.decoder.space.decoder(parameters, latents)

    given = {"autoencoder": run.decoder.parameters}
    space = Latents(run.facts.space.shape, counted, run.space.shown)
    compiled = generation.SampleProgram(run.sampler(1.0, False), space, frozen=given)
    labels = np.arange(4, dtype=np.int32)

    def samples(step):
        batches = compiled.batches(run.restore(step)[0], jax.random.key(0), labels, 4)
        return np.concatenate([batch.images for batch in batches])

    first, last = samples(0), samples(2)
    assert np.abs(last - mean_digits()[:4]).max() <= 0.51 < np.abs(first - mean_digits()[:4]).max()
    compiled._frozen = jax.tree.map(lambda x: x + 1.0, given)
    assert np.any(samples(2) != last) and traces == [(4, 4, 4, 4)]


@pytest.mark.parametrize("act", ["train", "evaluate", "sample", "load"])
@pytest.mark.parametrize("change", ["missing", "changed"])
def test_without_its_autoencoder_a_run_is_refused_in_one_line(runs, act, change):
    if change == "missing":
        shutil.rmtree(runs / "one")
    else:
        replace_autoencoder(runs)
    before = sorted((p, p.stat().st_mtime_ns) for p in (runs / "known").rglob("*"))
    said = {
        "missing": "no autoencoder at one: .* moved to with --config.data.autoencoder",
        "changed": "the autoencoder one is not the one whose .*: its hash is .*; restore",
    }
    calls = {
        "train": lambda: drifting.train(config_of(), runs / "known"),
        "evaluate": lambda: drifting.evaluate(runs / "known"),
        "sample": lambda: drifting.sample(runs / "known", 4, runs / "out.png"),
        "load": lambda: drifting.load(runs / "known"),
    }  # fmt: skip
    with pytest.raises(ConfigError, match=said[change]) as error:
        calls[act]()
    assert "\n" not in str(error.value) and not (runs / "out.png").exists()
    after = sorted((p, p.stat().st_mtime_ns) for p in (runs / "known").rglob("*"))
    assert [x for x in after if x[0].name != ".lock"] == [x for x in before if x[0].name != ".lock"]


def test_an_autoencoder_may_move(runs):
    (runs / "one").rename(runs / "elsewhere")
    moved = {"data.autoencoder": "elsewhere"}
    drifting.train(config_of(**moved), runs / "known")  # already at its end
    samples = drifting.load(runs / "known").sample([2, 9])
    assert np.abs(samples - mean_digits()[[2, 9]]).max() <= 0.51
    drifting.evaluate(runs / "known", "0,2")


def test_latents_of_another_autoencoder_are_not_trained_on(runs, tmp_path):
    other = {"data.autoencoder": "two"}
    with pytest.raises(ConfigError, match="autoencoder .*two is not the one whose latents"):
        drifting.train(config_of(**other), tmp_path / "new")
    assert not (tmp_path / "new" / "config.json").exists()


# --- npy files, which do not say where they come from -------------------------------------------


@pytest.fixture
def npy(runs, tmp_path):
    """A folder of npy latents of the digits by autoencoder `one`, as it makes them."""
    codec = frozen.load_autoencoder("one")
    images = load("digits", "train", image_size=8, channels=1)
    moments = codec.moments(codec.parameters, exact_latents.digit_pictures(images.images))
    np.save(tmp_path / "train_latents.npy", np.asarray(moments)[..., :4])
    np.save(tmp_path / "train_labels.npy", images.labels)
    return {"data.source": f"latents:{tmp_path}"} | LATENTS


def test_npy_latents_are_decoded_where_an_autoencoder_is_named(runs, npy, tmp_path):
    workdir = tmp_path / "run"
    drifting.train(exact_latents.config("known", **npy), workdir)
    with pytest.raises(WorkdirError, match="no autoencoder decodes: .*--config.data.autoencoder="):
        drifting.sample(workdir, 4)
    named = npy | {"data.autoencoder": "one"}
    drifting.train(exact_latents.config("known", **named), workdir)  # already at its end
    samples = drifting.load(workdir).sample([6, 0])
    assert np.abs(samples - mean_digits()[[6, 0]]).max() <= 0.51
    with pytest.raises(DataError, match="does not say which images its latents are of"):
        drifting.evaluate(workdir)
    with pytest.raises(ConfigError, match="none is named now: set config.data.autoencoder="):
        drifting.train(exact_latents.config("known", **npy), workdir)
    named["data.autoencoder"] = "two"
    with pytest.raises(ConfigError, match="latents of another autoencoder than .*two is now"):
        drifting.train(exact_latents.config("known", **named), workdir)


def test_latents_drawn_from_npy_moments_are_unscaled(runs, npy, tmp_path):
    latents = np.load(tmp_path / "train_latents.npy")
    np.save(tmp_path / "train_moments.npy", np.concatenate([latents, latents * 0 - 30], axis=-1))
    (tmp_path / "train_latents.npy").unlink()
    more = {"data.streaming": True, "data.latent_scale": 0.25, "method.batch_size": 8,
            "data.autoencoder": "one"}  # fmt: skip
    config = exact_latents.config("known", **npy | more)
    decoder = frozen.load_decoder(drifting.core.config.resolve(config), Latents((4, 4, 4)))
    assert decoder.latents.std == (4.0,) * 4 and decoder.latents.mean == (0.0,) * 4
    shown = decoder.space.to_picture(0.25 * latents[:9], {"autoencoder": decoder.parameters})
    images = load("digits", "train", image_size=8, channels=1).images[:9]
    np.testing.assert_allclose(shown, exact_latents.digit_pictures(images), atol=1e-4)


def test_an_autoencoder_for_images_is_refused(runs):
    config = exact_latents.config("known", **{"data.autoencoder": "one"})
    with pytest.raises(ConfigError, match="decodes latents, which digits does not hold"):
        drifting.build(config)


def test_latents_of_another_shape_are_refused(runs):
    codec = frozen.load_autoencoder("one")
    latents = drifting.core.facts.LatentFacts("one", codec.identity, (0.0,), (1.0,))
    with pytest.raises(ConfigError, match=r"latents of shape \(4, 4, 4\), not \(2, 2, 4\)"):
        frozen.decoder_of(codec, Latents((2, 2, 4)), latents)
