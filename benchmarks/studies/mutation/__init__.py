"""Do the tests notice a broken line? A seeded sample of mutants, and the tests that meet them."""
