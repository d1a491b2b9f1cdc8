"""How far the translations of a run are of its target domain, and differ from each other.

    python scripts/judge_translations.py --workdir runs/cut_toy
    python scripts/judge_translations.py --workdir runs/cut_cifar10_nano --classifier runs/resnet18

Translates the source images of the test split and prints JSON. With --classifier, a run of method
classifier one of whose classes has the name of the target domain: the share of inputs and of
translations that it gives this class. For the source `styles`, whose translation is known: the mean
distance to it, of inputs and of translations. Distances are mean absolute differences of values in
[-1, 1]; `between` is that of all pairs of images, which is 0 if all are the same picture.
"""

import json

import numpy as np
from absl import flags

from drifting import cli
from drifting.core.errors import did_you_mean
from drifting.core.method import SOURCE, TARGET
from drifting.evaluation import translation
from drifting.runs.build import load_images
from drifting.runs.workdir import Run, WorkdirError
from drifting.training import backend
from input_pipeline.pixels import to_unit
from input_pipeline.sources import styles

WORKDIR = flags.DEFINE_string("workdir", None, "Workdir of a run of a translator", required=True)
CHECKPOINT = flags.DEFINE_string("checkpoint", "last", "last, best, or a step")
CLASSIFIER = flags.DEFINE_string("classifier", None, "Workdir of a classifier of the target domain")
PAIRED = 500  # images whose pairs are compared


def distance(x, y):
    """The mean absolute difference of uint8 images, in [-1, 1]."""
    return float(np.mean(np.abs(x.astype(np.float32) - y.astype(np.float32)))) / 127.5


def between(images):
    """The mean distance of all pairs of different images."""
    images = images[:PAIRED]
    total = sum(distance(images, image[None]) * len(images) for image in images)
    return total / (len(images) * (len(images) - 1))


def share_labelled(run, images, name):
    """The share of images that a classifier gives the class `name`."""
    names = run.facts.class_names
    if name not in names:
        raise WorkdirError(
            f"--classifier {run.workdir} has no class {name!r}, the run's target domain; it has "
            f"{', '.join(names)}{did_you_mean(name, names)}"
        )
    state, _, _ = run.restore_best()
    parameters, labels = run.method.encoder(state), []
    for start in range(0, len(images), 100):
        found = run.method.encode(parameters, to_unit(images[start : start + 100]))
        labels.append(np.asarray(found.logits).argmax(axis=-1))
    return float(np.mean(np.concatenate(labels) == names.index(name)))


def main(_):
    backend.configure(large_maps=True)
    run = Run(WORKDIR.value)
    run.require_translator()
    state, step = run.chosen(CHECKPOINT.value)
    images = load_images(run.config, run.config.data.test_split, run.facts.class_names)
    inputs = images.images[images.labels == SOURCE]
    translations = translation.translate_images(run.at(step).method, state, inputs)
    result = {
        "workdir": str(run.workdir),
        "step": step,
        "images": len(inputs),
        "distance_to_input": distance(inputs, translations),
        "between_inputs": between(inputs),
        "between_translations": between(translations),
    }
    if images.source == "styles":
        truth = styles.restyle(inputs)
        result["inputs_to_truth"] = distance(inputs, truth)
        result["translations_to_truth"] = distance(translations, truth)
    if CLASSIFIER.value:
        classifier, target = Run(CLASSIFIER.value), run.facts.class_names[TARGET]
        result["target"] = target
        result["inputs_labelled_as_target"] = share_labelled(classifier, inputs, target)
        result["translations_labelled_as_target"] = share_labelled(classifier, translations, target)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    cli.run(main)
