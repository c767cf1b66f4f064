"""Figures beyond the paper, one a file."""
