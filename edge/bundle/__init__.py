"""The `*.ccnvr` file and its manifest."""
