"""Thin wrappers of what is foreign: the only modules that load vendor libraries or speak to the kernel directly."""
