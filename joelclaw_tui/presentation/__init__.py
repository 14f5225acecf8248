"""What the command line and the console both show, said once: words, values, conditions, text laid out.

In: rows of the snapshot. Out: clean text with tones. Imports neither front end, and no Textual.
"""
