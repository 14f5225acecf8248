"""Actions on a selection of the backlog: asked for, frozen, carried out in batches, gone on with."""
