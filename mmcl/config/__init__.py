"""From overrides to objects: composing, validating, and the only caller of Hydra's instantiate."""
