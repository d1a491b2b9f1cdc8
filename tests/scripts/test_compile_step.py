"""What a step that is compiled and not run would need."""

import json
import subprocess
import sys

import pytest
import script_modules

compile_step = script_modules.load("compile_step")

PROGRAM = """
  %a = f32[8,16]{1,0} all-reduce(f32[8,16]{1,0} %x), channel_id=1
  %b = (f32[10]{0}, bf16[2,3]{1,0}) all-reduce(f32[10]{0} %y, bf16[2,3]{1,0} %z), channel_id=2
  %c = s32[4]{0} all-gather-start(s32[1]{0} %w), channel_id=3
  %d = f32[8,16]{1,0} add(f32[8,16]{1,0} %a, f32[8,16]{1,0} %all-reduce.1)
"""


def test_operations_and_bytes_of_what_is_communicated():
    assert compile_step.communicated(PROGRAM) == {
        "all-reduce": {"operations": 2, "bytes": 4 * 128 + 4 * 10 + 2 * 6},
        "all-gather": {"operations": 1, "bytes": 16},
    }


@pytest.mark.slow
def test_the_gradient_is_what_devices_of_many_classes_communicate():
    command = [
        sys.executable, "scripts/compile_step.py", "--classes", "20", "--devices", "4",
        "--config", "configs/drifting_imagenet_latent.py:nano",
        "--encoder", "configs/mae_imagenet_latent.py:nano",
    ]  # fmt: skip
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(printed)
    assert found["parameters"] == {"generator": 484_418, "encoder": 309_972}
    gradient = 4 * 484_418
    reduced = found["communicated"].pop("all-reduce")["bytes"]
    assert gradient <= reduced < 1.01 * gradient
    assert sum(kind["bytes"] for kind in found["communicated"].values()) < 0.01 * gradient
