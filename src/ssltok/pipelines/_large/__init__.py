"""What training asks of series that are not in memory."""
