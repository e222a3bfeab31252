"""CCNVR in torch, and how it learns."""
