"""A run: its folder, its id, and how its checkpoints are written and gone on from."""
