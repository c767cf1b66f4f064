"""Closed forms of the paper, one result a file."""
