"""Where PyTorch is not installed."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_one_line_says_how_to_install_it(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch')")
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/reference_torch/train.py",
         "--config", "configs/classifier_digits.py", "--workdir", tmp_path / "run"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: PyTorch is not installed: pip install -e '.[torch]'\n"
    assert not (tmp_path / "run").exists()
