"""The report: one HTML page, complete in itself, and its figures as files of their own.

`inputs` gathers what the other stages left, and checks that it belongs together. `results`,
`evidence`, `learning`, `pictures`, `predictions`, `confusion` and `record` each find what a part of
the page says and draw its figures, with `figures` (charts, pictures) and `sheets` (pictures with
words). `page` puts them into page.html.j2; the stage is pipeline/stages/report.py. `comparison` has
several recorded runs side by side, on a page of its own.
"""
