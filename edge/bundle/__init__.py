"""The bundle: the `*.ccnvr` file and its manifest."""
