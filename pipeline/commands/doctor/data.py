"""Is the data set there, and is it whole?"""

from __future__ import annotations

from pipeline.commands.doctor.finding import Finding, ok, size, skipped
from pipeline.config.parameters import Parameters
from pipeline.system.errors import UserError


def data(parameters: Parameters) -> Finding:
    """Look at what lies in the data set's folder: files to be fetched are named, pictures counted
    and held against what the data set has."""
    from pipeline.data.sources import fetching

    dataset = parameters.dataset
    if dataset.data_set.files == "made":
        return skipped("the data set is drawn by `alexnet download`")
    try:
        plan = fetching.plan(dataset, "fast")
    except UserError as error:
        return Finding("fails", str(error), "see docs/data.md for what the folder must hold")
    if plan.fetched:
        names = ", ".join(file.name for file in plan.fetched)
        if plan.by_hand:
            return Finding("fails", f"{plan.folder} lacks {names}", "`alexnet download` says where "
                           "they are from; or set dataset.origin")
        return ok(f"{names}: {size(plan.download)} to be fetched and repacked")
    if plan.problem:
        return Finding("fails", plan.problem, "fetch it again")
    if plan.survey is None:
        return ok(f"the archives are in {plan.folder}; `alexnet download` verifies them"
                  + ", and with --dry-run counts their pictures" * (plan.count is not None))
    if not plan.survey.is_whole(dataset.source) and not dataset.incomplete:
        return Finding("fails", plan.survey.described(), "put what is missing in place; or set "
                       "dataset.incomplete to true, if it is meant to be a part")
    return ok(plan.survey.described())
