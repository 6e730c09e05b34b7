"""Shared by the notebooks of the MQG workbench. Importing this package imports nothing heavy."""

__version__ = "0.1.0"
