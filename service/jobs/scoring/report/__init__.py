"""`report.html` of a score job: what was found, to look at. `page` writes it."""
