import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import script_modules
from PIL import Image

toy_field = script_modules.load("toy_field")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(toy_field, "POINTS", 12)
    monkeypatch.setattr(toy_field, "FRESH_POINTS", 200)
    monkeypatch.setattr(toy_field, "LOOKAHEADS", 1)
    monkeypatch.setattr(toy_field, "DRIFT_STEPS", 6)
    places = toy_field.grid()[::10]
    monkeypatch.setattr(toy_field, "grid", lambda: places)


@pytest.mark.slow
def test_both_fields_bring_points_to_the_target(small, tmp_path, capsys):
    out = tmp_path / "runs" / "toy"
    results = toy_field.run(["rings"], steps=60, seed=0, out=out)
    assert json.loads((out / "energy.json").read_text()) == results
    assert sorted(path.name for path in out.iterdir()) == [
        "drift_rings.gif",
        "energy.json",
        "field_rings.png",
    ]
    for name in ("learned", "kernel"):
        begun = {begin: e["start"] for begin, e in results["rings"][name].items()}
        assert begun == {begin: e["start"] for begin, e in results["rings"]["kernel"].items()}
        for ends in results["rings"][name].values():
            assert ends["end"] < 0.5 * ends["start"]
    with Image.open(out / "drift_rings.gif") as picture:
        assert picture.n_frames == 7
    with Image.open(out / "field_rings.png") as picture:
        assert min(picture.size) > 300
    far = results["rings"]["learned"]["far"]
    row = f"| rings | learned | far | {far['start']:.4f} | {far['end']:.4f} |"
    assert row in capsys.readouterr().out


def test_a_field_around_a_set_is_the_step_of_one_more_point():
    draw = np.random.default_rng(0).standard_normal
    x, positives, places = (jnp.asarray(draw((n, 2), np.float32)) for n in (5, 6, 3))
    step = jax.jit(toy_field.kernel_step)
    arrows = toy_field.around(step, x, positives, places)
    more = [jnp.concatenate([x, place[None]])[None] for place in places]
    expected = [step(points, positives[None])[0, -1] for points in more]
    np.testing.assert_allclose(arrows, expected, atol=1e-5)
