"""pyarrow as it is where pandas is not installed.

pyarrow asks of the first list that it is given whether it is one of pandas, and imports pandas for
that: a tenth of a second of every stage, and memory, for a package that nothing here uses.
"""

from __future__ import annotations

from pipeline.system.importing import absent

with absent("pandas"):
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    pyarrow.array([])  # asks now, and never again

__all__ = ["pyarrow"]
