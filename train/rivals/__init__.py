"""The rivals of CCNVR, the methods that it is compared with."""
