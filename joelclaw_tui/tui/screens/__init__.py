"""Whole screens: the panes, what lies below them, findings, audit, help, and the dialogs.
In come ids to look up and frozen previews to confirm; look-ups go through the app's port.
Out go decisions: a dialog answers, a screen asks the app to act; none changes anything itself.
"""
