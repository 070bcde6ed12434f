"""What two or more subpackages need: checks in one voice, and numerics. Private."""
