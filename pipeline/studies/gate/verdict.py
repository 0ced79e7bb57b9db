"""One line on the run in this folder: whether it is, to the bit, the run that a golden stores.

Only portable arithmetic allows that question on every machine; of native runs `alexnet check` says
more. Trace and weights are held to the digests in the metrics first.
"""

from __future__ import annotations

from alexnet.arithmetic import NUMBER
from pipeline.config.parameters import Parameters
from pipeline.records import environment
from pipeline.studies import run_sets
from pipeline.studies.gate import checking, golden
from pipeline.system.errors import UserError
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED, Verdict


def golden_verdict(parameters: Parameters) -> tuple[Verdict, str]:
    """Return the verdict on what `dvc repro` left here, and the line that says it."""
    seed = parameters.train.seed
    stored = [run_set for run_set in golden.of_configuration(parameters) if run_set.run_of(seed)]
    if parameters.train.arithmetic != "portable":
        return _not_compared("in native arithmetic bits differ between machines; see "
                             "`alexnet check`")
    if not stored:
        return _not_compared(f"none has this configuration with seed {seed}")
    try:
        run = golden.run_here(parameters)
    except UserError as error:
        return _not_compared(str(error))
    here = environment.fingerprint(with_torch=False) | golden.arithmetic_of(parameters)
    deciding = run_sets.deciding(here)
    if not any(run_sets.deciding(run_set.environment) == deciding for run_set in stored):
        numbers = {run_set.environment.get(run_sets.ARITHMETIC) for run_set in stored}
        return _not_compared(f"it was computed by arithmetic {', '.join(map(str, numbers))}, and "
                             f"this run by {NUMBER}")
    name = f"golden {parameters.dataset.source}, seed {seed}"
    differing = [str(judgement) for judgement in checking.exact(run, here, stored)
                 if judgement.verdict == "falls"]
    if differing:
        return DIFFERS, f"{DIFFERS} from {name}: {differing[0]}; `alexnet check` says more"
    if not checking.stored_here(run, here, stored):
        return _not_compared(f"the pixels are not those of {name}, as another decoder made them")
    weights = run.metrics["train"]["weights_digest"]
    return IDENTICAL, f"{IDENTICAL} to the bit with {name}: weights {weights[:16]}..."


def _not_compared(reason: str) -> tuple[Verdict, str]:
    return NOT_COMPARED, f"{NOT_COMPARED} with a golden: {reason}"
