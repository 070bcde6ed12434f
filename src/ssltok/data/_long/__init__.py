"""One long series: its times, windows of it, splits of them, and tables of what follows it."""
