"""Every system's smallest protocol on Flower's simulation; only where Ray is installed, by the extra federation-ray."""

import os

import pytest

pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("flwr")
from pathlib import Path

from smallest.agreement import assert_agrees
from smallest.counting import Exact
from smallest.protocols import PROTOCOLS, data_of

from sfumato.errors import TooFewParties
from sfumato.federation import InProcess
from sfumato.federation.flower import Simulation

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _path_of_the_app(monkeypatch):
    """For Ray's processes, which import the protocols."""
    app = str(Path(__file__).parent.parent / "app")
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{app}")


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_ray_agrees_with_one_process(protocol):
    data = [data_of(protocol.name, silo) for silo in range(2)]
    assert_agrees(protocol.name, Simulation().run(protocol, data), InProcess().run(protocol, data))


def test_an_error_of_the_run_comes_out():
    with pytest.raises(TooFewParties, match="silo 1"):
        Simulation().run(Exact(), [[1, 10], ["text"], [3, 30]])
