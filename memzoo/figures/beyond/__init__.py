"""Make figures that the paper does not have, one a file, in the same form as those of the paper."""
