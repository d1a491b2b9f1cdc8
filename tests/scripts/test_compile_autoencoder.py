"""The memory of an autoencoder that is compiled and not run."""

import pytest
import script_modules

from models import autoencoder_kl

compile_autoencoder = script_modules.load("compile_autoencoder")


def test_the_memory_of_both_programs(monkeypatch):
    tiny = dict(widths=(8,), middle_attention=False, latent_channels=2, inner_channels=2)
    monkeypatch.setitem(autoencoder_kl.VARIANTS, "nano", tiny)
    found = compile_autoencoder.report("nano", (4, 4, 3), 2, "float32")
    images = 2 * 4 * 4 * 3 * 4  # bytes
    assert found["parameter_bytes"] == 4 * found["parameters"]
    forward, gradient = found["forward_bytes"], found["gradient_bytes"]
    assert forward["results"] == images
    assert forward["arguments"] == found["parameter_bytes"] + images
    assert gradient["results"] == pytest.approx(found["parameter_bytes"], rel=0.1)
    assert gradient["temporary"] > forward["temporary"] > 0
