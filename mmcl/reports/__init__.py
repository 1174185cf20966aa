"""Tables and figures from recorded rows. Reads files, never tensors."""
