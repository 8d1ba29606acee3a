"""One thread for each worker: pytest-xdist has one a core already, and threads that wait for each other spin."""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
