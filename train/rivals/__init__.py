"""The methods that CCNVR is compared with."""
