"""Where stages leave what they make, relative to the project; dvc.yaml names the same places."""

from pathlib import Path

DOWNLOAD = Path("data/download")
LISTING = DOWNLOAD / "listing.json"
INDEX = DOWNLOAD / "index.parquet"  # every picture, and where it lies
FILES_LEFT_OUT = Path("data/left_out.json")  # of the data set, and why
ARCHIVES = Path("archives")  # where downloads go that dataset.location gives no other place
STORE = Path("data/store")
MEAN = Path("data/mean.npy")
MEAN_PICTURE = Path("data/mean.png")
PCA = Path("data/pca.json")
WEIGHTS = Path("models/model.safetensors")
TRACE = Path("models/trace.jsonl")
PROVENANCE = Path("models/provenance.json")  # what made the weights
PREDICTIONS = Path("models/predictions.safetensors")
LEARNING = Path("plots/learning.csv")
KEPT = Path("models/checkpoints")  # of the last training, for an audit: its record has them
REPORT = Path("report/index.html")
FIGURES = Path("report/figures")
EXPERIMENTS = Path("experiments")
GOLDEN = Path("golden")  # evidence, too: stored metrics of earlier runs
MATRIX = EXPERIMENTS / "matrix.json"  # evidence, to be committed: how this stack reproduces
VERIFIED = EXPERIMENTS / "verified.json"  # evidence, too: the last `alexnet verify`
METRICS = Path("metrics")
WORK = Path("work")  # unfinished work that survives a kill; no stage's output, so DVC leaves it
CHECKPOINTS = WORK / "checkpoints"


def metrics_of(stage: str) -> Path:
    """Return the file in which a stage leaves its metrics."""
    return METRICS / f"{stage}.json"
