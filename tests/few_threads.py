"""Tells the libraries that the tests compare with to start no threads of their own: pytest-xdist has a process for each core already, and threads that
spin while they wait (OpenMP's, OpenBLAS's) take a tenth of the other processes' time. To be imported before they are; what is set stays."""
from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
