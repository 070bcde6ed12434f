"""Studies: scripts whose results take hours; ratios against peers stand one folder up."""
