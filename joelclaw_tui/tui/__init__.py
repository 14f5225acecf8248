"""The full-screen console: it renders snapshots and emits intents.

In: `ports.ConsoleOperator`. Out: screens, and actions asked of it; no server, file or process is touched here.
"""
