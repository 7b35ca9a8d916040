"""Profilers: measure networks on a device."""
