"""The command line: ``--once`` and every subcommand. Never imports Textual.

In: arguments, and what the runtime answers. Out: data on stdout, everything else on stderr
(`output` alone writes there), an exit code of the contract, and intents for the action layer.
"""
