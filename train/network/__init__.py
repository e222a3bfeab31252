"""CCNVR in torch, its teachers, and how they are trained."""
