"""The examples run as a new user would run them, and do what the README says."""
from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cltorch

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(p for p in (ROOT / "examples").glob("*.py"))
for package in ("matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="the extra cltorch[examples]")


def run(name: str, folder: Path, *options: str) -> str:
    """What an example prints. It is started in an empty folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, str(ROOT / "examples" / name), *options], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "100%" in done.stderr, "no progress bar"
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_shape_of_an_example(path: Path) -> None:
    text = path.read_text()
    assert 60 <= text.count("\n") <= 150
    for expected in ("import cltorch as torch", "tqdm", '"--device"', '"--epochs"', '"--seed"', "torch.manual_seed(args.seed)", '__name__ == "__main__"'):
        assert expected in text
    assert "sys.path" not in text


def test_train_digits(tmp_path: Path) -> None:
    out = run("train_digits.py", tmp_path)
    accuracies = {name: float(percent) for name, percent in re.findall(r"(\w+): test loss .*, test accuracy ([\d.]+)%", out)}
    assert set(accuracies) == {"mlp", "cnn"}
    assert min(accuracies.values()) >= 97.0
    folder = tmp_path / "outputs" / "train_digits"
    assert (folder / "digits.png").read_bytes().startswith(b"\x89PNG")
    state = cltorch.load(folder / "cnn.pt")
    assert state["features.0.weight"].shape == (32, 1, 3, 3)


def test_train_digits_repeats_itself(tmp_path: Path) -> None:
    options = ("--models", "mlp", "--epochs", "2", "--seed", "5", "--device", "cpu")
    assert run("train_digits.py", tmp_path, *options) == run("train_digits.py", tmp_path, *options)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_regression_csv(workers: str, tmp_path: Path) -> None:
    out = run("regression_csv.py", tmp_path, "--epochs", "25", "--workers", workers)
    match = re.search(r"error ([\d.]+); predicting the mean would give ([\d.]+)", out)
    assert match is not None
    assert float(match[1]) < 0.9 * float(match[2])
    folder = tmp_path / "outputs" / "regression_csv"
    with open(folder / "predictions.csv", newline="") as stream:
        rows = list(csv.reader(stream))
    assert (rows[0], len(rows)) == (["measured", "predicted"], 90)
    assert (folder / "regression.png").exists()


def test_char_gpt(tmp_path: Path) -> None:
    out = run("char_gpt.py", tmp_path, "--epochs", "2", "--steps", "40", "--length", "60")
    losses = [float(loss) for loss in re.findall(r"validation loss ([\d.]+)", out)]
    assert len(losses) == 2
    assert losses[1] < losses[0] < 4.0
    assert "Return " in out
    assert {p.name for p in (tmp_path / "outputs" / "char_gpt").iterdir()} == {"char_gpt.pt", "loss.png"}


def test_tensor_basics(tmp_path: Path) -> None:
    out = run("tensor_basics.py", tmp_path)
    for line in (">>> x.transpose(0, 1).shape\ntorch.Size([3, 2])", ">>> x @ y\ntensor(32.)", ">>> x.grad\ntensor([[ 2.,  0.],\n        [-2.,  2.]])",
                 "dim=1).shape\ntorch.Size([2, 6, 3])", "found: y = "):
        assert line in out
    assert "None" not in out
