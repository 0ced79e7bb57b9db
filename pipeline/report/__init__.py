"""The report: one HTML page, complete in itself, and its figures as files of their own.

`inputs` gathers what the other stages left, and checks that it belongs together; `figures` draws; `sections` finds what
each part of the page says; `page` puts them into page.html.j2. The stage is pipeline/stages/report.py.
"""
