"""The same on Flower's simulation; only where Ray is installed, by the extra federation-ray."""

import os

import pytest

pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("flwr")
from pathlib import Path

from smallest.counting import Exact

from sfumato.errors import TooFewParties
from sfumato.federation import InProcess
from sfumato.federation.flower import Simulation

DATA = [[1, 10], [2, 20], [3, 30]]


def test_ray_gives_the_same_state_byte_for_byte(monkeypatch):
    app = str(Path(__file__).parent.parent / "app")  # for Ray's processes
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{app}")
    outcome = Simulation().run(Exact(), DATA)
    plain = InProcess().run(Exact(), DATA)
    assert outcome.state.to_bytes() == plain.state.to_bytes()
    assert outcome.payload_bytes == plain.payload_bytes


def test_an_error_of_the_run_comes_out(monkeypatch):
    app = str(Path(__file__).parent.parent / "app")
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{app}")
    with pytest.raises(TooFewParties, match="silo 1"):
        Simulation().run(Exact(), [DATA[0], ["text"], DATA[2]])
