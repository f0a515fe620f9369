"""What is read from Python source without importing it: modules, constructors, entries."""
