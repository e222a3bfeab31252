"""Members beside the network: PLSR, a Gaussian process and support vector regression."""
