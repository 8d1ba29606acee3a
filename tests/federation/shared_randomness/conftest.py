"""What the tests of this package share lies in `one_byte`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
