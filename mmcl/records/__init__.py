"""What a run leaves behind: its key, its manifest, its files, written atomically. Knows nothing of the rest."""
