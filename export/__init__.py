"""The step from a finished training run to a bundle: model files, their proof, and the manifest."""
