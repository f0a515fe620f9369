"""Modules, constructors and registered entries, read from Python source without importing it."""
