"""Times the parts of an evaluation, separately and together, and prints JSON.

    python scripts/bench_eval.py --config configs/cifar10.py

Weights are random, which does not affect the times. If PyTorch and pytorch-fid are installed (extra
`torch`), their Inception network is timed on the same batch for comparison.
"""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import timing
from absl import flags
from ml_collections import config_flags

from drifting import cli, methods
from drifting.core import config as config_lib
from drifting.core.facts import DataFacts
from drifting.evaluation import resize
from drifting.evaluation.extraction import FeatureCollector, extract
from drifting.evaluation.features import inception_features
from drifting.evaluation.generation import SampleProgram
from drifting.evaluation.metrics.frechet import Moments, frechet_distance
from drifting.pretrained import inception
from input_pipeline.space import Pixels
from models.inception import IMAGE_SIZE, POOL_FEATURES

CONFIG = config_flags.DEFINE_config_file("config", "configs/cifar10.py", "Experiment file")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images per batch", lower_bound=2)
BATCHES = flags.DEFINE_integer("batches", 3, "Timed batches", lower_bound=1)
MODE = flags.DEFINE_string("fid_mode", "clean", "How images are resized, as config.eval.fid_mode")


def rate(what, call):
    """Images per second: the median of BATCHES calls on one batch."""
    ms = timing.median_ms(call, BATCHES.value, warm_up=1)
    timing.say(f"{what}: {ms:.1f} ms per batch of {BATCH_SIZE.value}")
    return round(1000 * BATCH_SIZE.value / ms, 2)


def random_weights():
    """Random weights that keep activations of order one through the whole depth."""
    generator = np.random.default_rng(0)
    state = {}
    for key, shape in inception.state_shapes().items():
        z = generator.standard_normal(shape, np.float32)
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else 1
        state[key] = np.ones_like(z) if len(shape) == 1 else z * np.sqrt(2.0 / fan_in)
    return state


def random_moments(seed):
    """Moments of 2048 features with a decaying spectrum, as real features have."""
    generator = np.random.default_rng(seed)
    spectrum = 1.0 / np.arange(1, POOL_FEATURES + 1)
    rows = generator.standard_normal((3 * POOL_FEATURES, POOL_FEATURES)) * spectrum**0.5
    rows = rows @ np.linalg.qr(generator.standard_normal((POOL_FEATURES, POOL_FEATURES)))[0]
    return Moments(len(rows), rows.mean(0), np.cov(rows.T))


def frechet_seconds():
    """Seconds of a first comparison, of a next one that reuses the reference, and of sqrtm."""
    reference, other = random_moments(0), random_moments(1)
    began = time.perf_counter()
    distance = frechet_distance(reference, other)
    first = time.perf_counter() - began
    began = time.perf_counter()
    frechet_distance(reference, other)
    again = time.perf_counter() - began
    began = time.perf_counter()
    root = scipy.linalg.sqrtm(reference.covariance @ other.covariance)
    sqrtm = time.perf_counter() - began
    traces = np.trace(reference.covariance) + np.trace(other.covariance)
    theirs = np.sum((reference.mean - other.mean) ** 2) + traces - 2 * np.trace(root).real
    timing.say(
        f"Frechet distance {distance:.6g} in {first:.1f} s, sqrtm {theirs:.6g} in {sqrtm:.1f} s"
    )
    return {
        "first_seconds": round(first, 3),
        "next_seconds": round(again, 3),
        "sqrtm_seconds": round(sqrtm, 3),
        "times_faster_than_sqrtm": round(sqrtm / first, 2),
        "relative_difference": abs(theirs - distance) / distance,
    }


def torch_rate(state, images):
    """Images per second of pytorch-fid's network on [0, 1] images; None if not installed."""
    try:
        import torch

        try:
            import torchvision  # noqa: F401
        except RuntimeError:  # operators missing from a CPU build of PyTorch; not used here
            from torch import library as operators

            library = operators.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from pytorch_fid import inception as port
    except ImportError:
        return None
    port.load_state_dict_from_url = lambda *_, **__: {
        k: torch.from_numpy(v) for k, v in state.items()
    }
    model = port.InceptionV3([3], resize_input=False).eval()
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)) / 255.0)
    with torch.inference_mode():
        return rate("torch", lambda: model(x)[0].numpy())


def random_facts(config):
    """Facts of ten classes of images in the config's shape."""
    size, channels = config.data.image_size, config.data.channels
    return DataFacts(
        space=Pixels((size, size, channels)),
        class_names=tuple(map(str, range(10))),
        class_counts=(5000,) * 10,
        num_samples=50_000,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        source="random",
        streamed=False,
    )


def main(_):
    config, batch = config_lib.resolve(CONFIG.value), BATCH_SIZE.value
    method = methods.create(config, random_facts(config))
    state = jax.jit(method.init)(jax.random.key(0))
    weights = random_weights()
    features = inception_features(inception.to_params(weights), MODE.value)
    labels = np.arange(batch * (BATCHES.value + 1), dtype=np.int32) % 10
    program = SampleProgram(
        lambda s, key, y: method.sample(s, key, y, config.eval.cfg_scale), method.space
    )

    images = next(iter(program.batches(state, jax.random.key(0), labels[:batch], batch))).images
    resized = jax.jit(lambda x: resize.resize(x, MODE.value, IMAGE_SIZE))
    ready = resized(images).astype(jnp.uint8)  # has the network's size, so it resizes nothing

    def generate():
        return next(iter(program.batches(state, jax.random.key(0), labels[:batch], batch))).images

    rates = {
        "generation": rate("generation", generate),
        "resize": rate("resize", lambda: resized(images)),
        "inception": rate("inception", lambda: extract(features.apply, ready)),
    }
    collector = FeatureCollector(features.dimension, keep_vectors=False)
    times = []
    began = time.perf_counter()
    for generated in program.batches(state, jax.random.key(0), labels, batch, features.apply):
        collector.add(generated.features)
        jax.block_until_ready(generated)
        times.append(time.perf_counter() - began)
    together = len(times[1:]) * batch / (times[-1] - times[0])
    timing.say(f"together: {together:.1f} images/s")
    theirs = torch_rate(weights, np.asarray(resized(images), np.float32))
    frechet = frechet_seconds()
    result = {
        **timing.machine(),
        "batch_size": batch,
        "fid_mode": MODE.value,
        "images_per_second": rates | {"together": round(together, 2), "torch_inception": theirs},
        "inception_to_torch": round(rates["inception"] / theirs, 3) if theirs else None,
        "frechet": frechet,
        "seconds_for_50000": round(50_000 / together + frechet["next_seconds"], 1),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    cli.run(main)
