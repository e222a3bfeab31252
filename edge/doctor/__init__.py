"""What `ccnvr doctor` looks at: the store, and all that a daemon with a configuration needs."""
