"""The protocols of the app that the deployment test ships are those of the other tests too."""

import os
import sys
from pathlib import Path

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
sys.path.insert(0, str(Path(__file__).parent / "app"))
