"""The report of a study: one self-contained HTML page. `page` gathers it, page.html is its template."""
