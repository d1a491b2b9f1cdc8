"""Settings of CUT that cannot be, each refused by the name of its key."""

import facts
import pytest
from small_cut import COUNTS, FACTS, SPACE, make

from drifting.core.errors import ConfigError
from input_pipeline.space import Pixels


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"method.batch_size": 0}, "method.batch_size = 0 is less than 1"),
        ({"method.loss": "hinges"}, "hinge"),
        ({"method.diff_augment": ("colour",)}, "method.diff_augment"),
        ({"method.crop_scale": 1.5}, r"method.crop_scale = 1.5 is not in \(0, 1\]"),
        ({"method.color_jitter": 1.5}, r"method.color_jitter = 1.5 is not in \[0, 1\]"),
        ({"method.temperature": 0.0}, "method.temperature = 0.0 is not positive"),
        ({"method.identity_weight": -0.1}, "method.identity_weight = -0.1 is negative"),
        ({"method.taps": ()}, "method.taps is empty"),
        ({"method.taps": ("pad", "block_5")}, "method.taps = .* no tap block_5"),
        ({"method.repulsion_weight": 1.0}, "no effect without each other"),
        ({"method.encoder": "runs/encoder"}, "no effect without each other"),
        (
            {"method.repulsion_weight": 1.0, "method.encoder": "x",
             "method.repulsion_neighbours": 2},
            "method.repulsion_neighbours = 2 is not from 1 to 1",
        ),
        ({"discriminator.layers": 3}, "discriminator: 3 layers need images of at least 24 pixels"),
        ({"discriminator.resampling": "none"}, "discriminator: "),
        ({"discriminator_optimizer.schedule": "none"}, "discriminator_optimizer.schedule"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_names_its_key(changed, message):
    with pytest.raises(ConfigError, match=message):
        make(**changed)


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"class_names": ("a", "b", "c")}, "has 3 classes, .* 'unpaired:<A>,<B>'"),
        ({"class_counts": (8, 0)}, r"leaves \(8, 0\) images of the two domains"),
        ({"streamed": True}, "cannot train on streamed data"),
        ({"space": Pixels((16, 24, 3))}, "method.diff_augment is for square images"),
    ],
)
def test_data_that_are_not_two_domains_are_refused(changed, message):
    values = {"class_counts": COUNTS, **changed}
    space = values.pop("space", SPACE)
    with pytest.raises(ConfigError, match=message):
        make(facts.make(space, 2, sum(COUNTS), **values))


def test_colours_of_grey_images_are_refused():
    grey = facts.make(Pixels((16, 16, 1)), 2, sum(COUNTS), class_counts=COUNTS)
    with pytest.raises(ConfigError, match="method.palette_weight = 0.5 is for colour images"):
        make(grey, **{"method.palette_weight": 0.5})


def test_real_images_of_a_step_and_target_images_in_the_generator():
    assert make().images_per_step == 4  # two of each domain
    assert make().settings.translates_targets
    assert not make(FACTS, **{"method.identity_weight": 0.0}).settings.translates_targets
    both = {"method.identity_weight": 0.0, "method.nce_idt": True}
    assert make(FACTS, **both).settings.translates_targets
