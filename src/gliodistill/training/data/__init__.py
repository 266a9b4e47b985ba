"""What a step learns from: patches, augmentation, artefacts, the pseudo-label pool."""
