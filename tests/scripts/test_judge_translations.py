"""Distances of translations to the truth and to each other, and what a classifier calls them."""

import itertools
import types

import jax.numpy as jnp
import numpy as np
import pytest
import script_modules

from drifting.runs.workdir import WorkdirError

judge_translations = script_modules.load("judge_translations")


def test_the_mean_distance_of_all_pairs():
    images = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), np.uint8)
    pairs = [
        np.mean(np.abs(a.astype(float) - b)) / 127.5 for a, b in itertools.permutations(images, 2)
    ]
    np.testing.assert_allclose(judge_translations.between(images), np.mean(pairs), rtol=1e-6)
    assert judge_translations.between(np.repeat(images[:1], 3, axis=0)) == 0.0
    assert judge_translations.distance(np.zeros_like(images), np.full_like(images, 255)) == 2.0


class Brightness:
    """A classifier of dark (0), grey (1) and bright (2) images."""

    facts = types.SimpleNamespace(class_names=("dark", "grey", "bright"))
    workdir = "runs/brightness"
    method = types.SimpleNamespace(
        encoder=lambda state: state["classes"],
        encode=lambda classes, images: types.SimpleNamespace(
            logits=-jnp.abs(jnp.mean(images, axis=(1, 2, 3))[:, None] - classes[None])
        ),
    )

    def restore_best(self):
        return {"classes": jnp.asarray([-1.0, 0.0, 1.0])}, {}, 7


def test_the_share_that_a_classifier_gives_a_class():
    images = np.full((250, 2, 2, 3), 255, np.uint8)
    images[:150] = 0
    assert judge_translations.share_labelled(Brightness(), images, "bright") == pytest.approx(0.4)
    assert judge_translations.share_labelled(Brightness(), images, "grey") == 0.0
    with pytest.raises(WorkdirError, match="no class 'brigt', .*dark, grey, bright.*'bright'"):
        judge_translations.share_labelled(Brightness(), images, "brigt")
