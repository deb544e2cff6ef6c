"""Figures and parts of figures that several reports share."""
