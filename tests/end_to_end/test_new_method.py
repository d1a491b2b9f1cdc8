"""A new method is a class and one line, as docs/extend.md describes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import workdirs

import drifting
from drifting import methods
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError
from drifting.core.method import Grid, Method
from drifting.core.state import TrainState
from drifting.methods.batches import BatchSettings
from models.conditions import Condition


@dataclasses.dataclass(frozen=True)
class Settings(BatchSettings):
    noise: float = 0.5  # standard deviation of the noise, in units of the images

    def check(self, facts):
        super().check(facts)
        if self.noise < 0:
            raise ConfigError(f"config.method.noise = {self.noise} is negative")

    @property
    def needs(self):
        return {"label": "method 'denoise'"}


@dataclasses.dataclass(frozen=True, eq=False)
class Denoise(Method):
    """A network that removes noise."""

    settings_type = Settings
    family = "generator"
    default_network = "cnn"
    network_name = "denoiser"

    def init(self, key):
        condition = Condition(label=jnp.zeros(1, jnp.int32))
        variables = self.network.init(key, jnp.zeros((1, *self.space.shape)), condition)
        return TrainState.create({"denoiser": variables["params"]}, self.optimizers, self.decays)

    def train_step(self, state, data, key, frozen):
        x, labels = data.next_batch(jax.random.key(self.seed), state.step, self.batch_size)
        noisy = x + self.settings.noise * jax.random.normal(key, x.shape)

        def loss(params):
            found = self.network.apply({"params": params}, noisy, Condition(label=labels))
            return jnp.mean(jnp.square(found - x))

        value, grads = jax.value_and_grad(loss)(state.params["denoiser"])
        state = state_lib.optimize(state, {"denoiser": grads}, self.optimizers)
        state = state_lib.count(state_lib.average(state, self.decays))
        return state, {"loss": value, "grad_norm": optax.tree.norm(grads)}

    def summaries(self, state, key, data, frozen):
        images, _ = data.draw(key, 4)
        return {"images": Grid(images[None])}


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setitem(methods.METHODS, "denoise", f"{__name__}:Denoise")
    config = drifting.of("denoise")
    config.method.batch_size = 32
    config.model.update(width=16, depth=1)
    config.mesh.data = 1
    config.train.update(total_steps=6, log_steps=1, tensorboard=False)
    return config


def test_a_new_method_is_trained_and_opened(config, tmp_path):
    drifting.train(config, tmp_path)
    rows = workdirs.rows(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert np.isfinite([row["loss"] for row in rows]).all()
    assert (tmp_path / "figures" / "step_0000006_images.png").exists()
    run = drifting.load(tmp_path)
    assert run.method.settings == Settings(batch_size=32)
    with pytest.raises(drifting.UserError, match="'denoise', which generates no images"):
        run.sample([0])


def test_it_checks_its_own_keys_and_the_base_class_checks_the_shared_ones(config):
    config.method.noise = -1.0
    with pytest.raises(ConfigError, match="noise = -1.0 is negative"):
        drifting.build(config)
    with pytest.raises(AttributeError, match="noise"):
        config.method.nose = 1.0
    config.method.noise, config.data.source, config.data.flip = 0.5, "toy2d:moons", True
    with pytest.raises(ConfigError, match="points have no left and right"):
        drifting.build(config)
