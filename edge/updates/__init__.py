"""Updates of the model: two slots, signatures, and the trial of a new bundle."""
