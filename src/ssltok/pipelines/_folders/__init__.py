"""What stands on the disk: a saved model, and the folder of a run, safe to read and to write."""
