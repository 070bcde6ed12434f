"""What is learned from views, one objective a file; the public address is `ssltok.training`."""
