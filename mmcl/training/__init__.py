"""Training: the LightningModule, optimizers and schedules, callbacks, resuming."""
