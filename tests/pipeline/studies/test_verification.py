"""Two pages of the report are the same page but for what MLflow's store alone knows."""

from __future__ import annotations

from pipeline.studies.rerun.verification import same_page


def test_time_and_cost_may_be_absent_and_nothing_else() -> None:
    page = """<dl>
<dt>Trained</dt><dd>2026-11-27 19:15 UTC, 14 min</dd>
<dt>Cost</dt><dd>0.46 core-hours</dd>
<dt>Machine</dt><dd>AMD EPYC</dd>
</dl>"""
    trained, cost = "2026-11-27 19:15 UTC, 14 min", "<dt>Cost</dt><dd>0.46 core-hours</dd>\n"
    without = page.replace(trained, "at a time that the store does not have").replace(cost, "")
    assert "Cost" not in without
    assert same_page(page, without)
    assert not same_page(page, without.replace("AMD EPYC", "another"))
    assert not same_page(page, page.replace("<dt>Cost</dt>", "<dt>Price</dt>"))
