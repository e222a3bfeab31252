"""The experiments of the paper: comparisons of CCNVR with its rivals."""
