"""Make the figures and tables of the paper, one a file.

Each file says what the paper shows, then has the functions that measure, that draw, and that compare with the paper.
"""
