"""Series drawn by published formulas: to train on, and to try things with a known answer."""
