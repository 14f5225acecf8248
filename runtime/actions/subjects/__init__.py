"""What several verbs on the same kind of thing have in common."""
