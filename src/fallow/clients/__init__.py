"""Thin wrappers of what is foreign: the only modules that load vendor libraries or speak to the kernel directly."""
"""The doors to vendors' libraries, programs and servers: no component imports or calls them any other way."""
