"""Benchmarks: this toolkit beside what others would use for the same job, and its growth and cost.

`make bench` runs `benchmarks.run`. docs/performance.md has the figures and says what they mean.
"""

import os

# All figures are of one thread. Libraries read these when they are imported, which is later.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
