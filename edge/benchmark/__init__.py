"""The measurements of `ccnvr bench`.

What is compared takes turns round by round, so that a busy machine slows all of it alike. Compare
ratios from one run, not the milliseconds of two machines.
"""
