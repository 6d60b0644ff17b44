"""The quick part: a network trains, saves and loads, on the first device and on "cpu". Under ten seconds on PoCL."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cltorch as torch
from cltorch import nn


@pytest.mark.parametrize("place", ["cuda", "cpu"])
def test_a_network_trains(place: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 4, device=place)
    y = (x[:, :1] * 2 - x[:, 1:2]).detach()
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)).to(place)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses: list[float] = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    torch.save(model.state_dict(), tmp_path / "model.pt")
    again = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)).to(place)
    again.load_state_dict(torch.load(tmp_path / "model.pt", map_location=place))
    assert torch.equal(model(x), again(x))


def test_dtypes(device: Any) -> None:
    for d in (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.complex64):
        assert (torch.ones(3, dtype=d, device=device) + 1).tolist() == [2, 2, 2]


def test_two_devices_stay_apart(device: Any) -> None:
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        torch.ones(2) + torch.ones(2, device=device)
