"""What Python source says of itself, read without importing it: modules, constructors, registered entries."""
