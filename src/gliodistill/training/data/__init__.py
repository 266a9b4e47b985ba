"""Training data: patches, augmentation, artefacts, pseudo-labelled studies."""
