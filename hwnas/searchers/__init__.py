"""Searchers, one file each; the file's name is the searcher's name."""
