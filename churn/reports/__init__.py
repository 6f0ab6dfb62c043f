"""The monthly report, on a page for people, in Markdown and HTML: generated from records alone."""
