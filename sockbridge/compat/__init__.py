"""Faces of other packages over our engine: an application changes an import and runs on."""
