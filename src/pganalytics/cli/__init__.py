"""The commands: one module each; the only package that sees all the others."""
