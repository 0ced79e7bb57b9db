"""The classes in meta.mat of ILSVRC's development kit, by scipy's reader of MATLAB's files.

That reader is C code which trusts what it reads: a few crafted bytes crash it, or have it take any
memory. A file that is not known by its checksum is therefore read in a process of its own, within
limits: `python -m pipeline.data.sources.meta_mat NUMBER <meta.mat` prints the classes as JSON.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys

MEMORY, SECONDS = 4 << 30, 60


Row = tuple[int, str, str, int]


def classes(content: bytes, number: str) -> list[Row]:
    """Return id, wnid, words and number of training pictures of each leaf of the hierarchy;
    `number` is the name of the field that holds the id.

    Raises:
        ValueError: it holds something else. Crafted bytes may end the process.
    """
    import numpy as np
    from scipy.io import loadmat

    try:
        synsets = loadmat(io.BytesIO(content), squeeze_me=True,
                          variable_names=["synsets"])["synsets"]
        return [(int(one[number]), str(one["WNID"]), str(one["words"]),
                 int(one["num_train_images"]) if "num_train_images" in synsets.dtype.names else 0)
                for one in np.atleast_1d(synsets) if int(one["num_children"]) == 0]
    except Exception as error:  # of too many kinds: scipy does not check what it reads
        raise ValueError(f"meta.mat: {type(error).__name__}: {error}") from None


def classes_apart(content: bytes, number: str) -> list[Row]:
    """Return the same, read in another process. Raises ValueError, also where that process ends by
    a signal or takes too long."""
    try:
        done = subprocess.run([sys.executable, "-m", __name__, number], input=content,
                              capture_output=True, check=False, timeout=2 * SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError("meta.mat: reading it takes for ever") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(lines[-1] if lines and done.returncode > 0
                         else "meta.mat: it crashes its reader")
    return [(place, wnid, words, count) for place, wnid, words, count in json.loads(done.stdout)]


def within_limits() -> None:
    """Limit memory and time of this process from now on."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    within_limits()
    try:
        print(json.dumps(classes(sys.stdin.buffer.read(), sys.argv[1])))
    except ValueError as problem:
        sys.exit(str(problem))
