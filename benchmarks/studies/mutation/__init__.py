"""Do the tests notice a broken line? A seeded sample of mutants, each against the tests it meets."""
