"""The write side: intent -> preview (a frozen list of ids, made by looking only) -> apply -> receipt.

In: intents and previews from every front end. Out: receipts, each one in the audit trail.
The only place where read-only mode, ceilings and confirmations' freshness are enforced.
"""
