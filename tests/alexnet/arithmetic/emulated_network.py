"""Updates of narrow nets, and the first ten of the sample, Python and PyTorch and all, on
processors that this machine lacks.

`python -m tests.alexnet.arithmetic.emulated_network` runs itself under QEMU (Debian's `qemu-user`)
and compares the weights with `runs.json`, the sample's pictures, weights and momentum with those of
`benchmarks/gpu_digests.json`. A processor takes some minutes; what is not there is not compared.
`aarch64.sh` does the same on aarch64, with Debian's Python and other versions of PyTorch and NumPy.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

INSIDE = "--inside"
# Without AVX neither NumPy's nor PyTorch's packages run; emulated.py compares the operators there.
PROCESSORS = ("Haswell", "EPYC")
CASES = ("source", "paper", "cifar")
UPDATES = 10  # of the sample


def inside() -> int:
    """Compare the cases on this processor, and print the verdicts."""
    import numpy as np
    import torch

    from alexnet.arithmetic import library
    from alexnet.arithmetic.portable import Portable
    from tests.alexnet.arithmetic.narrow_nets import DIGESTS, advanced, digest

    print(f"offers {', '.join(library.offered())}; {library.chosen()} is used; "
          f"PyTorch {torch.__version__}, NumPy {np.__version__}")
    wrong = 0
    for case in CASES:
        same = digest(advanced(case, Portable())) == DIGESTS[case]
        print(f"{case}: {'identical' if same else 'differs'}", flush=True)
        wrong += not same
    for what, same in sample():
        print(f"{what}: {'identical' if same else 'differs'}", flush=True)
        wrong += not same
    return 1 if wrong else 0


def sample() -> Iterator[tuple[str, bool]]:
    """Yield what of the sample's pictures and first updates is compared, and whether it is the
    same."""
    from alexnet.arithmetic.portable import Portable
    from alexnet.placement import Placement
    from benchmarks.gpu_sample import (
        SAMPLE,
        digest_of_pictures,
        pictures,
        state_digest,
        stored,
        training,
    )

    images, expected = pictures(SAMPLE.pictures), stored(SAMPLE)
    yield "pictures of the sample", digest_of_pictures(images) == expected["pictures"]
    run = training(SAMPLE, images, Portable(), Placement())
    for update in range(1, UPDATES + 1):
        run.advance()
        if str(update) in expected["updates"]:
            wanted = expected["updates"][str(update)]["state"]
            yield f"{update} updates of the sample", state_digest(run) == wanted
    run.finish()


def main() -> int:
    """Compare on every processor; 1 when one of them differs or could not."""
    emulator = shutil.which("qemu-x86_64")
    worst = 0
    for processor in PROCESSORS:
        if not emulator:
            print(f"{processor}: not compared: qemu-x86_64 not found")
            continue
        start = time.perf_counter()
        done = subprocess.run([emulator, "-cpu", processor, sys.executable, "-m",
                               __spec__.name, INSIDE], capture_output=True, text=True)
        lines = [line for line in done.stderr.splitlines() if "TCG doesn't support" not in line]
        print(f"{processor} ({time.perf_counter() - start:.0f} s): {done.stdout.strip()}",
              *(lines[-5:] if done.returncode else ()), sep="\n  ", flush=True)
        worst |= done.returncode != 0
    return worst


if __name__ == "__main__":
    sys.exit(inside() if INSIDE in sys.argv else main())
